"""Signals to a training process, and the same command again."""

import signal
import subprocess
import sys
import time

import pytest
from support.processes import ROOT, start, start_python, wait_for
from support.runs import TINY, run_of

PONG = [
    "--game=Pong", *TINY, "--total-steps=1e6", "--learning-starts=50_000", "--env.threads=1",
    "--replay.capacity=2000", "--env.max-episode-frames=400",
]  # fmt: skip


@pytest.mark.parametrize(
    "sent, status, how",
    [
        ([signal.SIGINT, signal.SIGINT], 130, start),  # as make and timeout double it
        ([signal.SIGTERM], 143, start_python),
        ([signal.SIGHUP], 129, start),
    ],
    ids=["ctrl-C, twice", "SIGTERM to python main.py", "SIGHUP"],
)
def test_a_signal_finishes_the_step_saves_and_ends_with_its_status(sent, status, how, tmp_path):
    process = how(tmp_path, PONG)
    try:
        line = process.stderr.readline()
        assert line.startswith("Starting"), line + process.stderr.read()
        time.sleep(0.3)
        for number in sent:
            process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status, said
    (checkpoint,) = run_of(tmp_path).glob("step_*")
    assert (checkpoint / "meta.json").exists()
    longer = f"--total-steps={int(checkpoint.name[5:]) + 1}"
    again = start(tmp_path, [*PONG, "--game=ALE/Pong-v5"], longer)  # the same game, and run
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert said.startswith("Continuing"), said


BUSY = """
import time
from dqn.run.process import StopSignals
with StopSignals() as stop:
    print("ready", flush=True)
    time.sleep(60)  # a step that takes its time
"""


@pytest.mark.parametrize("before", [[], [signal.SIGTERM]], ids=["", "after SIGTERM"])
def test_a_second_ctrl_c_ends_it_at_once(before):
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    for number in [*before, signal.SIGINT]:
        process.send_signal(number)
        time.sleep(1)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "what the last checkpoint holds is safe" in said


@pytest.mark.slow
def test_sigterm_while_an_episode_is_recorded_leaves_no_file(tmp_path):
    typed = [sys.executable, ROOT / "main.py", "play", "pong-laptop", "--gif", tmp_path / "a.gif"]
    process = subprocess.Popen(typed, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(process, lambda: list(tmp_path.iterdir()))
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, said
    assert list(tmp_path.iterdir()) == []
