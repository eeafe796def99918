"""``watch`` in a real browser: moving pictures, controls, the keyboard, tabs, whom it refuses."""

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from playwright.sync_api import expect
from support.browser import chromium, needs_chromium, page_without_errors
from support.runs import CARTPOLE, NEVER, checkpoints, train
from support.watching import opened, served, unpack, wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from dqn.commands.evaluate import make_model
from dqn.config import ConfigError
from dqn.storage.saved_run import load_agent
from dqn.web.game import Game
from dqn.web.player import WatchedRun
from dqn.web.server import MAX_PLAYERS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    """A run with two checkpoints and the best, in a folder whose name is HTML."""
    folder = tmp_path_factory.mktemp("runs")
    for steps in (500, 1000):
        run = train(folder, CARTPOLE, NEVER, f"--total-steps={steps}")
    return run.rename(folder / "<img src=x onerror=alert(1)>")


@pytest.fixture(scope="module")
def port(cartpole):
    with served("pong-laptop", str(cartpole)) as port:
        yield port


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, port):
    """The page of Pong, paused on the first screen of seed 0."""
    with page_without_errors(browser) as page:
        opened(page, port)
        yield page


def screen(page):
    return page.evaluate("document.getElementById('screen').toDataURL()")


def step(page):
    expect(page.locator("#length")).not_to_be_empty()
    return int(page.locator("#length").inner_text().replace(",", ""))


def values(page):
    bars = page.locator("#bars li").all()
    return [float(bar.get_attribute("data-value")) for bar in bars]


def restart(page):
    page.locator("#again").click()
    expect(page.locator("#length")).to_have_text("0")


def seed(page, number):
    page.locator("#seed").fill(str(number))
    page.locator("#seed").press("Enter")
    page.locator("#seed").blur()
    expect(page.locator("#length")).to_have_text("0")


@needs_chromium
@pytest.mark.slow
def test_the_screen_moves_and_stands_still_while_paused(page):
    before = screen(page), step(page)
    page.locator("#pause").click()
    wait_until(lambda: step(page) > before[1] + 3 and screen(page) != before[0])
    page.locator("#pause").click()
    expect(page.locator("#pause")).to_have_text("Go on")
    page.wait_for_timeout(300)  # what has come is shown to its end
    still = screen(page), step(page)
    page.wait_for_timeout(300)
    assert (screen(page), step(page)) == still


@needs_chromium
@pytest.mark.slow
def test_the_bars_are_the_models_values_step_by_step(page):
    game = Game(load_agent(make_model, "pong-laptop", "latest", torch.device("cpu")), seed=7)
    seed(page, 7)
    for steps in range(4):
        expect(page.locator("#length")).to_have_text(str(steps))
        assert values(page) == pytest.approx(game.estimate.numbers.tolist(), abs=1e-5)
        chosen = page.locator("#bars .chosen .name").inner_text()
        assert chosen == f"▶ {game.environment.action_names[game.choice]}"
        game.step()
        page.locator("#step").click()
    game.close()


@needs_chromium
@pytest.mark.slow
def test_a_seed_is_a_game(page):
    pictures = {}
    for number in (3, 4, 3):
        seed(page, number)
        for _ in range(30):
            page.keyboard.press(".")
        expect(page.locator("#length")).to_have_text("30")
        page.wait_for_timeout(200)  # four frames of the last step
        assert pictures.setdefault(number, screen(page)) == screen(page)
    assert pictures[3] != pictures[4]


@needs_chromium
@pytest.mark.slow
def test_a_person_takes_over_and_hands_back(page):
    restart(page)
    page.locator("#human").click()
    expect(page.locator("#human")).to_have_text("Hand back")
    expect(page.locator("#help")).to_contain_text("paused: Step or Go on plays")
    page.keyboard.down("ArrowUp")
    expect(page.locator("#bars li", has_text="◆")).to_contain_text("RIGHT")
    page.keyboard.press(".")
    expect(page.locator("#last")).to_contain_text("Before: you RIGHT, the agent ")
    expect(page.locator("#agreed")).to_have_text(re.compile("^[01] of 1$"))
    page.keyboard.up("ArrowUp")
    expect(page.locator("#bars li", has_text="◆")).to_contain_text("NOOP")
    page.locator("#human").click()
    expect(page.locator("#human")).to_have_text("Take over")
    page.locator("#step").click()
    expect(page.locator("#length")).to_have_text("2")
    expect(page.locator("#agreed")).to_have_text(re.compile("of 1$"))


@needs_chromium
@pytest.mark.slow
def test_a_button_is_used_twice_by_keyboard(page):
    page.locator("#pause").focus()
    for text in ("Pause", "Go on"):
        page.keyboard.press("Enter")
        expect(page.locator("#pause")).to_have_text(text)


@needs_chromium
@pytest.mark.slow
def test_keys_are_the_games_after_a_slider_was_used(page):
    page.locator("#human").click()
    expect(page.locator("#human")).to_have_text("Hand back")
    page.locator("#speed").click()
    speed = page.locator("#speed").input_value()
    before = step(page)
    page.keyboard.down("ArrowUp")
    hand = page.locator("#bars li", has_text="◆")
    expect(hand).to_contain_text("RIGHT")
    page.keyboard.press(".")
    expect(page.locator("#length")).to_have_text(str(before + 1))
    assert page.locator("#speed").input_value() == speed
    page.locator("#seed").focus()
    page.keyboard.up("ArrowUp")
    expect(hand).to_contain_text("NOOP")


@needs_chromium
@pytest.mark.slow
def test_saliency_is_drawn_over_the_screen(page):
    plain = screen(page)
    page.locator("#saliency").check()
    wait_until(lambda: screen(page) != plain)
    page.locator("#saliency").uncheck()
    wait_until(lambda: screen(page) == plain)


@needs_chromium
@pytest.mark.slow
def test_it_survives_a_reload_with_its_settings(page):
    seed(page, 9)
    page.locator("#speed").fill("-1")
    expect(page.locator("#speed-name")).to_contain_text("0.5")
    page.reload()
    expect(page.locator("#seed")).to_have_value("9")
    expect(page.locator("#speed-name")).to_contain_text("0.5")
    wait_until(lambda: step(page) > 2)


@needs_chromium
@pytest.mark.slow
def test_the_largest_seed_is_exact_and_the_first_follows_it(page):
    largest = str(2**63 - 1)
    seed(page, largest)
    for click, then in (("#again", largest), ("#next", "0")):
        page.locator("#step").click()
        expect(page.locator("#length")).to_have_text("1")
        page.locator(click).click()
        expect(page.locator("#length")).to_have_text("0")
        expect(page.locator("#seed")).to_have_value(then)


@needs_chromium
@pytest.mark.slow
def test_a_setting_that_was_refused_is_not_kept(browser, port):
    with page_without_errors(browser) as page:
        opened(page, port)
        page.evaluate("document.getElementById('speed').max = 9")
        page.locator("#speed").fill("9")
        expect(page.locator("#notice")).to_contain_text("invalid value of speed")
        page.reload()
        expect(page.locator("#speed-name")).to_have_text(re.compile("^1 "))
        expect(page.locator("#notice")).to_be_hidden()


@needs_chromium
@pytest.mark.slow
def test_each_page_and_each_tab_has_a_game_of_its_own(browser, port, page):
    seed(page, 5)
    with page_without_errors(browser) as other:
        other.goto(f"http://127.0.0.1:{port}/")
        expect(other.locator("#seed")).to_have_value("0")
        wait_until(lambda: step(other) > 3)
        name = other.locator("[role=tab]").nth(1)
        assert name.inner_text().endswith("<img src=x onerror=alert(1)>"), "text, not a picture"
        name.click()
        expect(other.locator("#game")).to_have_text("CartPole-v1")
        expect(other.locator("#observation")).to_be_visible()
        other.locator("[role=tab]").first.click()
        expect(other.locator("#game")).to_have_text("Pong")
        wait_until(lambda: step(other) > 6)
    expect(page.locator("#length")).to_have_text("0")
    expect(page.locator("#seed")).to_have_value("5")


@needs_chromium
@pytest.mark.slow
def test_an_address_of_no_tab_shows_the_first(browser, port):
    with page_without_errors(browser) as page:
        opened(page, port, tab="item")
        expect(page.locator("#game")).to_have_text("Pong")


@needs_chromium
@pytest.mark.slow
def test_a_checkpoint_that_vanishes_is_told_in_the_page(browser, cartpole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(cartpole, run)
    old, new = checkpoints(run)
    with served(str(run)) as port, page_without_errors(browser) as page:
        opened(page, port)
        expect(page.locator("#checkpoint-name")).to_have_text(new.name)
        expect(page.locator("#checkpoint")).to_have_attribute("max", "2")
        page.locator("#checkpoint").fill("0")
        expect(page.locator("#checkpoint-name")).to_have_text(old.name)
        shutil.rmtree(old)
        expect(page.locator("#notice")).to_have_text(f"{old.name} is gone; {new.name} plays now")
        expect(page.locator("#checkpoint-name")).to_have_text(new.name)


@needs_chromium
@pytest.mark.slow
def test_on_a_phone_in_the_dark(browser, port):
    size = {"width": 390, "height": 844}
    with page_without_errors(browser, viewport=size, color_scheme="dark") as page:
        opened(page, port)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", ground))) < 100
        labels = page.locator("button, input").evaluate_all(
            "all => all.map(one => one.labels?.[0]?.textContent || one.textContent)"
        )
        assert [label.strip() for label in labels if not label.strip()] == [], labels


def status_of(port, path="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in ({"Host": f"127.0.0.1:{port}"} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse().status


def test_only_this_machines_own_pages_are_answered(port):
    own = f"http://localhost:{port}"
    assert status_of(port) == status_of(port, Host=f"localhost:{port}", Origin=own) == 200
    assert status_of(port, "/static/../server.py") == status_of(port, "/play/0") == 404
    for headers in (
        {"Host": "evil.example"},
        {"Host": f"evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://127.0.0.1:{port}"},
        {"Origin": own},  # the host is 127.0.0.1 here
    ):
        assert status_of(port, **headers) == status_of(port, "/runs", **headers) == 403, headers
    with pytest.raises(InvalidStatus) as refusal:
        connect(f"ws://127.0.0.1:{port}/play/0", origin="http://evil.example")
    assert refusal.value.response.status_code == 403


def closed_by(port, *messages, path="/play/0"):
    """With which code and reason the connection is closed after these messages."""
    with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
        with contextlib.suppress(ConnectionClosed):
            for message in messages:
                socket.send(message)
            while True:
                socket.recv(timeout=30)
        return socket.close_code, socket.close_reason


@pytest.mark.slow
def test_malformed_messages_end_in_a_clean_close_with_a_reason(port, capfd):
    assert closed_by(port, b"\0") == (1003, "commands are texts")
    assert closed_by(port, "{") == (1008, "not JSON")
    assert closed_by(port, '{"do": "seed", "value": "-1"}') == (1008, "invalid value of seed")
    for number in ("9", "x", "1" * 5000):
        assert closed_by(port, path=f"/play/{number}") == (1008, "there is no such run")
    assert closed_by(port, "x" * 5000)[0] == 1009
    draw = random.Random(1)
    good = [{"do": "step", "value": None}, {"do": "pause", "value": True}]
    for _ in range(6):
        text = list(json.dumps(draw.choice(good)))
        for _ in range(draw.randint(1, 4)):
            text[draw.randrange(len(text))] = chr(draw.choice([0, 34, 44, 92, 123, 0x1F600]))
        code, reason = closed_by(port, *map(json.dumps, good), "".join(text), "last")
        assert (code, bool(reason)) == (1008, True), text
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_browser_that_is_gone_leaves_nothing_and_a_silent_one_gets_little(port):
    def players():
        return [thread for thread in threading.enumerate() if thread.name.startswith("player of")]

    wait_until(lambda: not players())
    with connect(f"ws://127.0.0.1:{port}/play/0") as socket:
        first, second = (unpack(socket.recv(timeout=30)) for _ in range(2))
        assert len(players()) == 1
        assert second[0]["step"] == first[0]["step"] + 1
        assert [name for name, _ in second[1]] == [*["screen"] * 4, "stack"]
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.5)  # it has drawn neither
        for _ in range(2):
            socket.send('{"do": "drawn", "value": null}')
        assert unpack(socket.recv(timeout=30))[0]["step"] > 3, "the newest"
        socket.socket.shutdown(2)
    wait_until(lambda: not players())


def test_a_game_counts_until_its_thread_has_ended():
    loaded = threading.Event()

    def load(_):
        loaded.wait(20)
        raise ConfigError("no agent")

    with served(WatchedRun("a run", load, list)) as port:
        for _ in range(MAX_PLAYERS):
            with connect(f"ws://127.0.0.1:{port}/play/0"):
                pass  # the page is closed, its thread still loads
        reason = f"{MAX_PLAYERS} games are open; close another page"
        assert closed_by(port) == (1013, reason)
        loaded.set()
        wait_until(lambda: closed_by(port) == (1011, "no agent"))


def test_nothing_is_written(cartpole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in cartpole.rglob("*")}
    with served(str(cartpole)) as port, connect(f"ws://127.0.0.1:{port}/play/0") as socket:
        socket.recv(timeout=30)
    assert {path: path.stat().st_mtime_ns for path in cartpole.rglob("*")} == before
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_refused_and_a_free_one_named(refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = refused(["watch", "pong-laptop", f"--port={port}"])
    found = re.fullmatch(rf"port {port} is in use; --port (\d+) is free", sentence)
    assert found
    assert port < int(found[1]) <= port + 100


@pytest.mark.slow
def test_ctrl_c_ends_it_while_a_page_is_open():
    """And without --port the next free one is taken."""
    command = [sys.executable, str(ROOT / "main.py"), "watch", "pong-laptop"]
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # or someone else has it
            stack.enter_context(socket.create_server(("127.0.0.1", 6007)))
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        said = process.stdout.readline()
        port = int(re.match(r"http://127.0.0.1:(\d+) shows the agent playing", said)[1])
        assert port > 6007
        with connect(f"ws://127.0.0.1:{port}/play/0") as page:
            page.recv(timeout=30)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == f"port 6007 is in use; taking {port}\n"
