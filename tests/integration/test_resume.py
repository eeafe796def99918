"""A run that is stopped, killed and resumed in new processes ends with the same bits as one that is
left alone."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from support import runs
from support.runs import BREAKOUT, CARTPOLE, NEVER, assert_same, checkpoints, run_of, train

from main import main

ALWAYS = "--checkpoint-minutes=1e-9"
TERM, KILL = signal.SIGTERM, signal.SIGKILL
SLOW = pytest.mark.slow

ONE = [*BREAKOUT, "--num-envs=1", "--env.reseed-steps=900", "--total-steps=6000"]
EIGHT = [*BREAKOUT, "--num-envs=8", "--evaluate-period=3000", "--total-steps=6000"]
EVERYTHING = [
    *BREAKOUT, "--num-envs=8", "--env.protocol=machado", "--replay.n-step=3",
    "--replay.sampler=prioritized", "--replay.storage=compressed",
]  # fmt: skip


@pytest.mark.parametrize(
    "options, stops",
    [
        pytest.param(ONE, [(TERM, 11)], marks=SLOW),
        pytest.param([*ONE, "--env.protocol=machado"], [(KILL, 7), (TERM, 5)], marks=SLOW),
        pytest.param(EIGHT, [(KILL, 6), (TERM, 11)], marks=SLOW),
        pytest.param([*EVERYTHING, "--total-steps=6000"], [(KILL, 13)], marks=SLOW),
        (EVERYTHING, [(KILL, 4), (TERM, 4)]),
        (CARTPOLE, [(KILL, 5), (TERM, 6), (KILL, 3)]),
    ],
    ids=["1", "1, machado", "8", "8, everything", "8, everything, short", "CartPole"],
)
def test_stopped_and_killed(options, stops, tmp_path):
    undisturbed = train(tmp_path / "undisturbed", options, NEVER)
    folder = tmp_path / "disturbed"
    for number, after in stops:
        runs.interrupt(folder, options, number, after)
    said = runs.finish(folder, options, "--env.threads=2")  # on which no bit depends
    run = run_of(folder)
    assert said.startswith(f"Continuing {run} at step ")
    assert_same(run, undisturbed)


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    """An undisturbed run of CartPole."""
    return train(tmp_path_factory.mktemp("undisturbed"), CARTPOLE, NEVER)


def test_extended(cartpole, tmp_path):
    """A run extended twice: only the evaluations at the former ends are added."""
    folder = tmp_path / "extended"
    for steps in (1237, 7821, 12000):  # the last step is a multiple of 8
        train(folder, CARTPOLE, NEVER, f"--total-steps={steps}")
    run = run_of(folder)
    ours, theirs = runs.content(checkpoints(run)[-1]), runs.content(checkpoints(cartpole)[-1])
    for state in (ours, theirs):
        state["state"] = {  # less what counts evaluations
            key: value for key, value in json.loads(state["state"]).items() if key != "metrics"
        }
    assert ours == theirs
    assert (run / "training.jsonl").read_text() == (cartpole / "training.jsonl").read_text()
    lines = (cartpole / "evaluations.jsonl").read_text().splitlines()
    extended = (run / "evaluations.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in extended]
    assert steps == [1240, 3000, 6000, 7824, 9000, 12000]
    assert [line for line in extended if json.loads(line)["step"] % 3000 == 0] == lines
    rewards = (run / "rewards.txt").read_text().splitlines()
    numbered = [tuple(map(int, line.split()[:2])) for line in rewards]
    assert numbered == list(enumerate(steps, 1))


@pytest.mark.parametrize(
    "game, undisturbed",
    [
        (["--total-steps=1600", "--evaluate-period=800", "--replay.capacity=1000"], CARTPOLE),
        (["--total-steps=480", "--evaluate-period=480", "--num-envs=8"], BREAKOUT),
    ],
    ids=["CartPole", "Breakout"],
)
def test_checkpoints_at_every_step_and_never(game, undisturbed, tmp_path):
    options = [*undisturbed, *game]
    never = train(tmp_path / "never", options, NEVER)
    always = train(tmp_path / "always", options, ALWAYS, "--keep-checkpoints=1")
    assert len(checkpoints(always)) == 1
    assert (always / "train.log").read_text().count("saved as") > 50
    assert_same(always, never)


@pytest.mark.parametrize(
    "option", [*(f"--env.threads={count}" for count in (1, 2, 4)), "--replay.storage=compressed"]
)
def test_threads_and_compressed_frames(option, one_thread, tmp_path):
    """The bits depend on neither; with one thread, a second run has the same ones."""
    assert_same(train(tmp_path, [*SMALL, option], NEVER), one_thread)


SMALL = [*BREAKOUT, "--num-envs=4", "--total-steps=800", "--evaluate-period=800"]


@pytest.fixture(scope="module")
def one_thread(tmp_path_factory):
    """A short run of Breakout with one emulator thread."""
    return train(tmp_path_factory.mktemp("one"), SMALL, NEVER)


def flip(file: Path) -> None:
    """One bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def renumber(file: Path) -> None:
    file.write_text(file.read_text().replace('"step": 9000,', '"step": 9001,', 1))


WRONG, GONE = "does not match its digest", "cannot be read (No such file or directory)"


@pytest.mark.parametrize(
    "harm, name, reason",
    [
        (flip, "model.safetensors", WRONG),
        (flip, "state.safetensors", WRONG),
        (flip, "rows_*1125.zst", WRONG),
        (renumber, "meta.json", WRONG),
        (Path.unlink, "rows_*1125.zst", GONE),
        (Path.unlink, "model.safetensors", GONE),
    ],
)
def test_damaged_checkpoint(harm, name, reason, cartpole, copied):
    """It is named in the log, and the one before it leads to the same result."""
    run = run_of(copied)
    (file,) = run.glob(f"step_000009000/{name}")
    harm(file)
    train(copied, CARTPOLE, NEVER)
    assert f"step_000009000/{file.name} {reason}" in (run / "train.log").read_text()
    assert_same(run, cartpole)


def test_a_damaged_piece_that_both_checkpoints_share(copied, capfd):
    """Both checkpoints are damaged then; the run is refused, not started anew."""
    run = train(copied, CARTPOLE, NEVER, "--total-steps=9600")
    older, newer = checkpoints(run)
    shared = "rows_000000000000_000000001024.zst"
    assert (older / shared).samefile(newer / shared)
    flip(older / shared)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capfd.readouterr()
    assert main([*CARTPOLE, f"--checkpoints-dir={copied}"]) == 2
    said = capfd.readouterr().err
    assert f"step_000009600/{shared} does not match its digest" in said
    assert f"step_000009000/{shared} does not match its digest" in said
    del before[run / ".lock"], before[run / "train.log"]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_finished_run_is_recognised_by_its_step_alone(cartpole, tmp_path, capfd):
    shutil.copytree(cartpole, tmp_path / "CartPole-v1/dqn-seed1")
    for file in run_of(tmp_path).glob("step_*/*.zst"):
        file.unlink()
    train(tmp_path, CARTPOLE, NEVER)
    assert "is finished at step 12,000" in capfd.readouterr().err


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The same run at step 9,000, with the checkpoint of step 6,000 beside it."""
    folder = tmp_path_factory.mktemp("stopped")
    for steps in (6_000, 9_000):
        train(folder, CARTPOLE, NEVER, f"--total-steps={steps}")
    return folder


@pytest.fixture
def copied(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
