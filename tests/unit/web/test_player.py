"""The thread that plays: commands, its pace, when nobody looks, when a checkpoint goes."""

import itertools
import queue
import shutil
import time

import pytest
import torch
from support.runs import CARTPOLE, NEVER, checkpoints, train
from support.watching import unpack, wait_until

from dqn.commands.watch import watched
from dqn.web import moment
from dqn.web import player as module
from dqn.web.game import Game
from dqn.web.messages import Command
from dqn.web.player import MAX_COMMANDS, Player


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of CartPole with three checkpoints and the best."""
    folder = tmp_path_factory.mktemp("runs")
    for steps in (500, 1000, 1500):
        run = train(folder, CARTPOLE, NEVER, "--keep=all", f"--total-steps={steps}")
    assert len(checkpoints(run)) == 3
    return run


class Reader:
    """A player, and what a page knows of it."""

    def __init__(self, folder, seed=0):
        self.published = 0
        run = watched(str(folder), torch.device("cpu"), "a run")
        self.player = Player(run, seed, self._count)
        self.player.start()
        self.asked = 0

    def _count(self):
        self.published += 1

    def next(self):
        return unpack(wait_until(self.player.take))[0]

    def do(self, name, value=None):
        """The first moment after a command was obeyed."""
        self.asked += 1
        self.player.ask(Command(name, value))
        return self.until(lambda state: state["obeyed"] == self.asked)

    def until(self, condition):
        moments = itertools.islice(iter(self.next, None), 1_000)
        return next(state for state in moments if condition(state))


@pytest.fixture
def reader(trained):
    reader = Reader(trained)
    yield reader
    reader.player.stop()
    reader.player.join(10)
    assert not reader.player.is_alive()


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_the_pace_is_the_games_own_times_the_speed(reader, speed):
    reader.do("speed", speed)
    first = reader.do("seed", "3")
    begin = time.monotonic()
    reader.until(lambda state: state["step"] >= first["step"] + 8)
    passed = time.monotonic() - begin
    assert passed > 0.8 * 8 / (50 * speed), "CartPole has 50 steps a second"


def test_paused_it_plays_one_step_at_a_time(reader):
    reader.do("pause", True)
    step = reader.do("seed", "3")["step"]
    time.sleep(0.1)
    assert reader.player.take() is None
    for more in (1, 2, 3):
        state = reader.do("step")
        assert (state["step"], state["paused"]) == (step + more, True)


def test_a_game_that_ended_is_followed_by_the_next_seeds(reader, monkeypatch):
    monkeypatch.setattr(module, "HELD_SECONDS", 0.05)
    reader.player.ask(Command("speed", 16.0))
    assert reader.until(lambda state: state["over"])["seed"] == "0"
    state = reader.until(lambda state: not state["over"])
    assert (state["seed"], state["return"]) == ("1", state["step"]), "a point a step"


def test_where_no_key_means_nothing_the_game_waits_for_one(reader):
    step = reader.do("human", True)["step"]
    time.sleep(0.1)
    assert reader.player.take() is None
    reader.player.ask(Command("keys", ["left"]))
    state = reader.until(lambda state: state["step"] > step)
    assert state["last"][0] == 0
    assert state["hand"] == 0
    assert state["by_hand"] == state["step"] - step


def test_nobody_looks_so_it_stops_and_goes_on_when_somebody_does(reader, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(module, "HELD_SECONDS", 0.02)
    reader.next()
    time.sleep(0.5)
    published = reader.published
    time.sleep(0.3)
    assert reader.published == published > 0
    reader.next()
    wait_until(lambda: reader.published > published + 2)


def test_moments_that_are_not_taken_are_dropped_before_they_cost(reader, monkeypatch):
    reader.do("pause", True)
    step, before = reader.do("seed", "3")["step"], reader.published
    encoded = []
    monkeypatch.setattr(moment, "as_png", lambda picture: encoded.append(picture) or b"")
    for _ in range(4):
        reader.player.ask(Command("step", None))
    wait_until(lambda: reader.published == before + 4)
    assert encoded == []
    assert reader.next()["step"] == step + 4
    assert len(encoded) == 1
    assert reader.player.take() is None


def test_another_checkpoint_plays_on_in_the_same_game(reader, trained):
    old = checkpoints(trained)[0].name
    reader.do("pause", True)
    reader.do("seed", "3")
    before = reader.do("step")
    state = reader.do("checkpoint", old)
    assert (state["checkpoint"], state["step"]) == (old, before["step"])
    assert state["numbers"] != before["numbers"]
    assert state["checkpoints"] == [*(path.name for path in checkpoints(trained)), "best"]


@pytest.mark.parametrize("decision_seconds", [0, 0.03])
def test_a_checkpoint_that_is_gone_is_told_and_the_newest_plays(
    trained, tmp_path, monkeypatch, decision_seconds
):
    """Also where decisions take longer than the game's pace, so that one is always due."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(module, "HELD_SECONDS", 0)
    for name in ("step", "start"):
        do = getattr(Game, name)
        slowly = lambda *given, do=do: time.sleep(decision_seconds) or do(*given)  # noqa: E731
        monkeypatch.setattr(Game, name, slowly)
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    first, second, third = checkpoints(run)
    shutil.rmtree(third)
    reader = Reader(run)
    assert reader.next()["checkpoint"] == second.name
    shutil.copytree(trained / third.name, third)
    state = reader.until(lambda state: third.name in state["checkpoints"])
    assert state["checkpoint"] == second.name, "it plays on"
    shutil.rmtree(second)
    state = reader.until(lambda state: state["notice"])
    assert state["notice"] == f"{second.name} is gone; {third.name} plays now"
    assert state["checkpoint"] == third.name
    shutil.rmtree(first)
    state = reader.do("checkpoint", first.name)
    assert f"no checkpoint of step {int(first.name[5:])} in" in state["notice"]
    assert state["notice"].endswith(f"; {third.name} plays now")
    reader.player.stop()
    reader.player.join()


def test_a_run_that_is_gone_ends_it_with_a_sentence(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    reader = Reader(run)
    reader.next()
    shutil.rmtree(run)
    reader.player.ask(Command("checkpoint", "latest"))
    reader.player.join(10)
    assert "there is no folder" in reader.player.failure


def test_too_many_commands_are_refused(trained):
    player = Player(
        watched(str(trained), torch.device("cpu"), "a run"), 0, lambda: None
    )  # not started
    for _ in range(MAX_COMMANDS):
        player.ask(Command("step", None))
    with pytest.raises(queue.Full):
        player.ask(Command("step", None))
