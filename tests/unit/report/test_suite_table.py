"""The live table of a suite, from files as runs write them."""

import json
import logging
import os
import re

import pytest

from dqn.report.suite_table import Progress, SuiteTable, last_record
from dqn.run.process import log_to_terminal


@pytest.fixture
def run(tmp_path):
    """Writes a file of a run's folder as it was some seconds after the start."""

    def write(name: str, records: list[dict], at: float) -> None:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        os.utime(path, (1000 + at, 1000 + at))

    return write


def test_speed_and_step_come_from_the_reports(run, tmp_path):
    progress = Progress(tmp_path)
    assert not progress.read()
    assert (progress.step, progress.speed, progress.evaluation) == (0, None, None)
    run("training.jsonl", [{"step": 500}], at=10)
    progress.read()
    assert (progress.step, progress.speed) == (500, None)
    run("training.jsonl", [{"step": 500}, {"step": 1500}], at=14)
    run("evaluations.jsonl", [{"step": 1000, "mean": -20.5}], at=15)
    assert progress.read()
    assert (progress.step, progress.speed, progress.evaluation) == (1500, 250, -20.5)
    assert not progress.read()
    run("training.jsonl", [{"step": 500}], at=20)  # cut back to a checkpoint
    progress.read()
    assert (progress.step, progress.speed) == (500, None)
    progress.restart()  # hours later
    run("training.jsonl", [{"step": 500}, {"step": 1000}], at=9000)
    progress.read()
    assert (progress.step, progress.speed) == (1000, None)


def test_the_last_whole_line_counts(tmp_path):
    file = tmp_path / "training.jsonl"
    long = "x" * 70_000
    file.write_text(f'{{"text": "{long}"}}\n{{"step": 1}}\n{{"step": 2')
    assert last_record(file) == {"step": 1}
    file.write_text(f'{{"text": "{long}"}}\n')
    assert last_record(file) == {}
    assert last_record(tmp_path / "none") == {}


def table(folder, runs=3):
    names = [f"Pong/quick-seed{i}" for i in range(1, runs + 1)]
    return SuiteTable(names, [folder / name for name in names], [10_000] * runs)


def test_the_table_fits_the_terminal(tmp_path):
    shown = table(tmp_path)
    shown.set(1, "running", "vm-12ab", 2, "")
    shown.set(2, "finished", "vm-12ab", 1, "")
    assert shown.lines(100, 24) == [
        "run               state         step  steps/s  evaluation  node     attempts",
        "Pong/quick-seed1  waiting   0/10,000        -           -  -               0",
        "Pong/quick-seed2  running   0/10,000        -           -  vm-12ab         2",
        "Pong/quick-seed3  finished  0/10,000        -           -  vm-12ab         1",
        "1 waiting, 1 running, 1 finished",
    ]
    lines = shown.lines(40, 5)
    assert max(map(len, lines)) <= 39
    assert [line.split()[0] for line in lines[1:3]] == ["Pong/quick-seed2", "Pong/quick-seed1"]
    assert "1 waiting, 1 running, 1 finished"[:39] == lines[-1]


def test_without_a_terminal_each_change_is_a_line(tmp_path, capfd):
    log_to_terminal()
    shown = table(tmp_path)
    shown.set(0, "running", "vm-12ab", 1, "")
    shown.refresh()
    shown.refresh()
    (tmp_path / "Pong/quick-seed1").mkdir(parents=True)
    record = {"step": 500, "mean": 3.25}
    (tmp_path / "Pong/quick-seed1/evaluations.jsonl").write_text(json.dumps(record) + "\n")
    shown.refresh()
    shown.set(0, "waiting", "", 1, "its process or node died (WorkerCrashedError)")
    shown.set(0, "running", "vm-34cd", 2, "its process or node died (WorkerCrashedError)")
    assert capfd.readouterr().err.splitlines() == [
        "Pong/quick-seed1: running, on vm-12ab",
        "Pong/quick-seed1: evaluation at step 500: 3.2",
        "Pong/quick-seed1: waiting, its process or node died (WorkerCrashedError)",
        "Pong/quick-seed1: running, on vm-34cd, attempt 2",
    ]


def test_in_a_terminal_the_table_is_drawn_in_place(tmp_path, terminal):
    screen = terminal(100)
    log_to_terminal()
    shown = table(tmp_path, runs=2)
    shown.refresh()
    shown.set(0, "running", "vm-12ab", 1, "")
    shown.set(1, "failed", "", 3, "not finite")
    shown.refresh()
    drawn = re.split(r"\x1b\[4A\x1b\[J", screen.getvalue())
    assert len(drawn) == 2, "four lines are erased once"
    assert drawn[0].endswith("2 waiting\n")
    assert drawn[1].startswith("Pong/quick-seed2: failed, not finite\nrun ")
    assert drawn[1].endswith("1 running, 1 failed\n")
    logging.getLogger("dqn").handlers.clear()
