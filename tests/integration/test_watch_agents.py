"""The page of ``watch`` in a real browser: what it shows of agents other than the shipped one."""

import dataclasses

import pytest
import torch
from playwright.sync_api import expect
from support.browser import chromium, needs_chromium, page_without_errors
from support.runs import CARTPOLE, NEVER, train
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
    """How many points of a canvas are drawn."""
    return page.locator(canvas).first.evaluate(
        """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
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
def test_an_agent_that_has_diverged_is_shown_without_values(browser, c51):
    run = diverged(watched(str(c51), torch.device("cpu"), "a run"))
    with served(run) as port, page_without_errors(browser) as page:
        opened(page, port)
        expect(page.locator("#bars .number").first).to_have_text("-")
        assert ink(page, "#bars canvas") == 0
        page.locator("#step").click()
        expect(page.locator("#last")).to_have_text("▶ The agent chooses left.")
