"""Short trainings for tests: run, interrupted, finished and compared byte for byte."""

import json
import signal
from pathlib import Path
from typing import Any

import safetensors.torch
import zstandard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from main import main
from support.processes import start, wait_for

BREAKOUT = [
    "--game=Breakout", "--total-steps=4000", "--learning-starts=200", "--threads=1",
    "--env.threads=1", "--evaluate-period=4000", "--report-period=200",
    "--env.max-episode-frames=800", "--env.reseed-steps=300", "--replay.capacity=1500",
    "--network.hidden-units=16", "--learner.batch-size=4", "--learner.update-period=32",
    "--learner.target-period=300", "--exploration.epsilon-decay-steps=1000",
    "--exploration.epsilon-end=.9", "--optimizer.learning-rate=1e-3",
    "--evaluation.episodes=1", "--evaluation.epsilon=.2", "--evaluation.held-out-states=1",
]  # fmt: skip
"""Every mechanism of a run of millions of steps, in 4,000: the replay memory wraps, environments
are reseeded, episodes time out, the target network is updated, reports and evaluations are due.
Most actions are random, which saves the forward pass."""

CARTPOLE = [
    "--game=CartPole-v1", "--total-steps=12000", "--learning-starts=200", "--threads=1",
    "--evaluate-period=3000", "--report-period=500", "--env.reseed-steps=150",
    "--replay.capacity=10000", "--network.mlp-units=[16]", "--learner.update-period=64",
    "--learner.target-period=300", "--exploration.epsilon-decay-steps=1000",
    "--evaluation.episodes=2", "--evaluation.held-out-states=2",
]  # fmt: skip
"""The same in seconds, with more than two pieces of replay and a wrap."""

TINY = [
    "--total-steps=40", "--num-envs=2", "--learning-starts=20", "--threads=1",
    "--replay.capacity=100", "--evaluation.episodes=1", "--evaluation.held-out-states=2",
]  # fmt: skip
"""A run of a tenth of a second, on games without a screen."""

NEVER = "--checkpoint-minutes=1e6"


def train(folder: Path, options: list[str], *more: str) -> Path:
    """Train in this process; returns the run's folder."""
    assert main([*options, f"--checkpoints-dir={folder}", *more]) == 0
    return run_of(folder)


def run_of(folder: Path) -> Path:
    """The one run in a checkpoints folder."""
    (run,) = folder.glob("*/*-seed*")
    return run


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, newest last."""
    return sorted(run.glob("step_*[0-9]"))


def newest(run: Path) -> int:
    """The step of the newest checkpoint, or 0."""
    return max((int(path.name[5:]) for path in checkpoints(run)), default=0)


def reports(run: Path) -> int:
    """The number of lines in training.jsonl."""
    file = run / "training.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def written(run: Path) -> int:
    """When config.yaml was written, which each process does before its loop; 0: never."""
    file = run / "config.yaml"
    return file.stat().st_mtime_ns if file.exists() else 0


def interrupt(folder: Path, options: list[str], number: signal.Signals, after: int) -> None:
    """Train in a new process and send it a signal after ``after`` more reports; a process that will
    get SIGKILL saves every 0.6 s."""
    run = folder / options[0].removeprefix("--game=") / "dqn-seed1"
    before, step = written(run), newest(run)
    minutes = "--checkpoint-minutes=0.01" if number == signal.SIGKILL else NEVER
    process = start(folder, options, minutes)
    try:
        wait_for(process, lambda: written(run) != before)
        goal = reports(run) + after
        wait_for(process, lambda: reports(run) >= goal)
        if number == signal.SIGKILL:
            wait_for(process, lambda: newest(run) > step)
    finally:
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), said
    assert newest(run) > step


def finish(folder: Path, options: list[str], *more: str) -> str:
    """Train to the end in a new process; returns its stderr."""
    process = start(folder, options, NEVER, *more)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def content(checkpoint: Path) -> dict[str, bytes]:
    """The bytes of a checkpoint's files, replay decompressed, and the state in meta.json."""
    unpack = zstandard.ZstdDecompressor()
    files = {path.name: path.read_bytes() for path in sorted(checkpoint.iterdir())}
    meta = json.loads(files.pop("meta.json"))
    assert set(files) == set(meta["files"]) >= {"model.safetensors", "state.safetensors"}
    for name in [name for name in files if name.endswith(".zst")]:
        files[name] = unpack.decompress(files[name])
        assert safetensors.torch.load(files[name])["frame"].numel()
    assert any(name.startswith("rows_") for name in files)
    return files | {"state": json.dumps(meta["state"], sort_keys=True).encode()}


def lines(file: Path) -> list[dict[str, Any]]:
    """The objects in a file of lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def scalars(run: Path, tag: str) -> list[tuple[int, float]]:
    """The points that TensorBoard shows of a tag: step and value."""
    board = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    return [(point.step, point.value) for point in board.Scalars(tag)]


def assert_same(run: Path, undisturbed: Path) -> None:
    """Two runs have the same last checkpoint, text files and best model, byte for byte."""
    assert newest(run) == newest(undisturbed) > 0
    ours, theirs = content(checkpoints(run)[-1]), content(checkpoints(undisturbed)[-1])
    assert list(ours) == list(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    texts = ("rewards.txt", "evaluations.jsonl", "training.jsonl")
    for name in (*texts, "best/model.safetensors"):
        assert (run / name).read_bytes() == (undisturbed / name).read_bytes(), name


def assert_same_learning(run: Path, other: Path) -> None:
    """Two runs have learned the same, whoever played the environments."""
    ours, theirs = content(checkpoints(run)[-1]), content(checkpoints(other)[-1])
    names = [name for name in theirs if name not in ("state", "state.safetensors")]
    assert [name for name in names if ours[name] != theirs[name]] == []
    for name in ("rewards.txt", "evaluations.jsonl", "training.jsonl"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
