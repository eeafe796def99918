"""The page of ``watch`` in a real browser: what it shows of agents other than the shipped one."""

import dataclasses

import pytest
import torch
from playwright.sync_api import expect
from support.browser import chromium, needs_chromium, page_without_errors
from support.processes import start, wait_for
from support.runs import CARTPOLE, NEVER, run_of, train
from support.watching import opened, served

from dqn.commands.watch import watched


@pytest.fixture(scope="module")
def c51(tmp_path_factory):
    """The folder of a run of CartPole whose agent predicts distributions."""
    folder = tmp_path_factory.mktemp("runs")
    return train(folder, CARTPOLE, NEVER, "--total-steps=300", "--values.kind=categorical")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def ink(page, canvas):
    """How many points of a canvas are drawn, in its left half."""
    return page.locator(canvas).first.evaluate(
        """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width / 2, canvas.height)
            .data.filter((value, i) => i % 4 === 3 && value).length"""
    )


def diverged(run):
    """The run, as if training had made its agent's weights NaN."""

    def load(which):
        agent = run.load(which)
        with torch.no_grad():
            for weight in agent.model.network.parameters():
                weight.fill_(torch.nan)
        return agent

    return dataclasses.replace(run, load=load)


@needs_chromium
@pytest.mark.slow
def test_distributions_and_the_value_over_time_are_drawn(browser, c51):
    with served(str(c51)) as port, page_without_errors(browser) as page:
        opened(page, port)
        expect(page.locator("#values-title")).to_contain_text("distribution of the return")
        expect(page.locator("#bars canvas")).to_have_count(2)
        expect(page.locator("#bars .track").first).to_be_hidden()
        assert ink(page, "#bars canvas") > 100
        page.locator("#again").click()
        expect(page.locator("#length")).to_have_text("0")
        assert ink(page, "#history") == 0
        for steps in range(1, 6):
            page.locator("#step").click()
            expect(page.locator("#length")).to_have_text(str(steps))
        assert ink(page, "#history") > 0


@needs_chromium
@pytest.mark.slow
def test_with_epsilon_1_actions_are_random(browser, c51):
    with served(str(c51)) as port, page_without_errors(browser) as page:
        opened(page, port)
        random = page.locator("#last", has_text="at random (epsilon)")
        for epsilon, name, often in (("1", "1.000", True), ("0", "0.000", False)):
            page.locator("#epsilon").fill(epsilon)
            expect(page.locator("#epsilon-name")).to_have_text(name)
            page.locator("#again").click()
            seen = []
            for steps in range(1, 9):
                page.locator("#step").click()
                expect(page.locator("#length")).to_have_text(str(steps))
                seen.append(random.count())
            assert any(seen) == often


@needs_chromium
@pytest.mark.slow
def test_checkpoints_of_a_run_that_trains_appear(browser, tmp_path):
    endless = ["--total-steps=10_000_000", "--checkpoint-minutes=0.02", "--keep=all"]
    process = start(tmp_path, CARTPOLE, *endless)
    try:
        wait_for(process, lambda: any(tmp_path.glob("*/*/step_*[0-9]")))
        with served(str(run_of(tmp_path))) as port, page_without_errors(browser) as page:
            opened(page, port)
            slider = page.locator("#checkpoint")
            before = int(slider.get_attribute("max"))
            wait_for(process, lambda: int(slider.get_attribute("max")) > before + 1)
            slider.fill(slider.get_attribute("max"))
            expect(page.locator("#notice")).to_be_hidden()
    finally:
        process.kill()
        process.communicate()


@needs_chromium
@pytest.mark.slow
def test_an_agent_that_has_diverged_is_shown_without_values(browser, c51):
    run = diverged(watched(str(c51), torch.device("cpu"), "a run"))
    with served(run) as port, page_without_errors(browser) as page:
        opened(page, port)
        expect(page.locator("#bars .number").first).to_have_text("-")
        assert ink(page, "#bars canvas") == 0
        page.locator("#again").click()  # in the game that was paused the pole may be about to fall
        expect(page.locator("#length")).to_have_text("0")
        page.locator("#step").click()
        expect(page.locator("#last")).to_have_text("▶ The agent chooses left.")
