"""Signals to a real training process, and the same command again."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import CARTPOLE, NEVER, train

from dqn.run.process import StopSignals
from main import main

ROOT = Path(__file__).parents[2]

OPTIONS = [
    *["--threads=1", "--env.threads=1", "--num-envs=2", "--replay.capacity=2000"],
    *["--evaluation.episodes=1", "--evaluation.held-out-states=2", "--env.max-episode-frames=400"],
]


def command(folder, *more):
    return [sys.executable, str(ROOT / "main.py"), *OPTIONS, f"--checkpoints-dir={folder}", *more]


@contextlib.contextmanager
def started(folder, *more) -> "Iterator[subprocess.Popen[str]]":
    """A process in its loop; none outlives its test."""
    with subprocess.Popen(command(folder, *more), stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stderr.readline()
            assert line.startswith("Starting"), line + process.stderr.read()
            time.sleep(0.3)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    "sent, status",
    [
        ([signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGINT], 130),  # as make and timeout double it
        ([signal.SIGTERM, signal.SIGTERM], 143),
    ],
)
def test_a_signal_finishes_the_step_saves_and_ends_with_its_status(sent, status, tmp_path):
    with started(tmp_path, "--game=Pong") as process:
        for number in sent:
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    (checkpoint,) = (tmp_path / "Pong" / "dqn-seed1").glob("step_*")
    assert (checkpoint / "meta.json").exists()
    if len(sent) == 2 or sent == [signal.SIGHUP]:
        return  # going on is going on
    step = int(checkpoint.name[5:])
    again = subprocess.run(  # another spelling of the same game is the same run
        command(tmp_path, "--game=ALE/Pong-v5", f"--total-steps={step + 1}"),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith("Continuing"), again.stderr


BUSY = """
import time
from dqn.run.process import (StopSignals)
with StopSignals() as stop:
    print("ready", flush=True)
    time.sleep(60)  # a step that takes its time
"""


def test_a_second_ctrl_c_ends_it_at_once():
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "what the last checkpoint holds is safe" in said


def test_the_emulators_return_can_be_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may take two minutes; nothing is lost by ending it, and nothing is written."""
    run = train(tmp_path, CARTPOLE, NEVER, "--total-steps=800")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    before.pop(run / "train.log")

    class Eager(StopSignals):
        def __enter__(self) -> "StopSignals":
            super().__enter__()
            self._receive(signal.SIGTERM, None)
            return self

    monkeypatch.setattr("dqn.run.train.StopSignals", Eager)
    assert main([*CARTPOLE, f"--checkpoints-dir={tmp_path}", "--total-steps=1600"]) == 143
    assert "nothing was changed" in capfd.readouterr().err
    assert before == {path: path.read_bytes() for path in before}
