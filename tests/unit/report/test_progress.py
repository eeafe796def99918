"""The bar in terminals of every width, and what is said when learning begins."""

import logging
from types import SimpleNamespace

import pytest

import dqn.report.progress as progress
from dqn.report.progress import BUSY, HINT, GamesBar, ProgressBar, duration

PARTS = ["return 12.3", "left", "loss 0.0123", "epsilon 0.900"]


def test_durations_are_in_a_persons_units():
    for seconds, text in (
        (0, "0 s"), (40, "40 s"), (59.6, "1 min"), (240, "4 min"), (3599, "1 h 0 min"),
        (12_000, "3 h 20 min"), (86_399, "1 d 0 h"), (187_200, "2 d 4 h"),
    ):  # fmt: skip
        assert duration(seconds) == text


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


@pytest.mark.parametrize("columns, shown", [(44, 1), (60, 2), (80, 3), (120, 4)])
def test_what_does_not_fit_is_left_out_whole(columns, shown, clock, terminal):
    screen = terminal(columns)
    bar = ProgressBar(5_000_000, 50_000_000, 50_000)
    clock.now = 10.0
    bar.update(5_001_500, 0.9, [12.3], 0.0123)
    line = screen.getvalue().rpartition("\r")[2].rstrip()
    assert len(line) < columns
    assert [part for part in PARTS if part in line] == PARTS[:shown], line
    bar.close()


def test_when_learning_begins_the_new_speed_is_said(clock, caplog):
    caplog.set_level(logging.INFO, "dqn")
    bar = ProgressBar(0, 50_000_000, 20_000, HINT)
    for step, seconds in [(10_000, 5), (20_000, 10), (20_012, 11), (20_060, 15), (20_072, 16)]:
        clock.now = seconds
        bar.update(step, 1.0, [], None)
    began, hint = caplog.messages
    assert began == (
        "Learning began at step 20,000: 12 steps/s, 2,000 before, because it now learns while it "
        "plays; 48 d 5 h left."
    )
    assert hint == HINT


@pytest.mark.parametrize("threads, said", [(2, True), (1, False)])
def test_other_work_on_the_same_cores_is_told(threads, said, clock, caplog, monkeypatch):
    """It costs two threads of a learner far more than their share."""
    monkeypatch.setattr("psutil.cpu_count", lambda: 2)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    caplog.set_level(logging.INFO, "dqn")
    for others, share in ((0.4, False), (0.6, True)):
        used = "dqn.report.progress.cpu_seconds_of_others"
        monkeypatch.setattr(used, lambda others=others: others * clock.now)
        caplog.clear()
        clock.now = 0.0
        bar = ProgressBar(0, 100_000, 20_000, HINT)
        for step, seconds in [(10_000, 5), (20_000, 10), (20_060, 15), (20_072, 16)]:
            clock.now = seconds
            bar.update(step, 1.0, [], None)
        assert (BUSY in caplog.messages) == (said and share)


def test_a_continued_run_says_it_once(clock, caplog):
    caplog.set_level(logging.INFO, "dqn")
    bar = ProgressBar(30_000, 50_000_000, 20_000, HINT)
    for step in range(30_000, 30_300, 12):
        clock.now += 1
        bar.update(step, 1.0, [], None)
    assert caplog.messages == []


def test_games_without_a_terminal_have_a_line_a_minute(clock, caplog):
    caplog.set_level(logging.INFO, "dqn")
    with GamesBar("evaluation", 30) as bar:
        for seconds in range(130):
            clock.now = seconds
            bar(seconds // 60, 30 * seconds, 4.0 if seconds > 60 else None)
    assert caplog.messages == [
        "evaluation: 1 of 30 games, 1,800 steps",
        "evaluation: 2 of 30 games, 3,600 steps, best return 4",
    ]
