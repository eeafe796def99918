"""The disk is full, the process is killed or the power is cut at every file operation in turn: the
next start ends with the files of an undisturbed run."""

import dataclasses
import shutil
import tempfile
from pathlib import Path

import pytest
from support.faulty_disk import Died, FaultyDisk
from support.runs import assert_same, newest, run_of
from support.tiers import slow_except

import dqn.commands.train
from dqn.config import Config, ConfigError
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.config.yaml_file import load_run_config
from dqn.run.session import Session

OPTIONS = [
    "--game=CartPole-v1", "--num-envs=2", "--threads=1", "--learning-starts=40",
    "--report-period=40", "--evaluate-period=60", "--env.reseed-steps=20",
    "--replay.capacity=60", "--network.mlp-units=[4]", "--learner.update-period=16",
    "--evaluation.episodes=1", "--evaluation.held-out-states=2", "--keep-checkpoints=1",
]  # fmt: skip
"""90 steps with evaluations at 60 and at the end, a new best among them; the ring wraps."""

CONFIG = parse(TrainOptions, OPTIONS).settings

SAVED_AT = (64, 78)

MEMORY = Path("/dev/shm")
"""A disk in memory where there is one: these tests write tens of thousands of files."""


@pytest.fixture(scope="module")
def folders():
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def tmp_path(folders):
    return Path(tempfile.mkdtemp(dir=folders))


CONFIGS: dict[bytes, Config] = {}


def load_once(run: Path) -> Config:
    """Reading a config takes twice as long as these runs."""
    text = (run / "config.yaml").read_bytes()
    if text not in CONFIGS:
        CONFIGS[text] = load_run_config(run)
    return CONFIGS[text]


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Small pieces of replay, so that checkpoints share some."""
    patch.setattr("dqn.storage.replay_pieces.PIECE_ROWS", 16)
    patch.setattr(dqn.commands.train, "load_run_config", load_once)


@pytest.fixture(autouse=True)
def _saved_at_known_steps(monkeypatch):
    """Checkpoints are due at SAVED_AT, not after some minutes."""
    enter = Session.__enter__

    def noted(session: Session) -> Session:
        enter(session)
        due = set(SAVED_AT) - {session.step}
        session._clock.is_due = lambda: session.step in due
        return session

    quicken(monkeypatch)
    monkeypatch.setattr(Session, "__enter__", noted)


def train(folder: Path, steps: int = 90) -> int:
    config = dataclasses.replace(CONFIG, total_steps=steps, checkpoints_dir=str(folder))
    try:
        return dqn.commands.train.train(config, "dqn", fresh=False)
    except ConfigError:
        return 2


@pytest.fixture(scope="module")
def begun(folders):
    """A run that was stopped at step 50, with its checkpoint there."""
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        patch.setattr(Session, "evaluate", lambda _: None)
        folder = folders / "begun"
        assert train(folder, 50) == 0
    return folder


@pytest.fixture(scope="module")
def undisturbed(begun, folders):
    """The same run without a fault, and without a checkpoint on the way."""
    folder = shutil.copytree(begun, folders / "undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch)
        assert train(folder) == 0
    return run_of(folder)


def traced(begun: Path, folder: Path) -> list[str]:
    """Every operation of the run that resumes from ``begun``."""
    shutil.copytree(begun, folder)
    with FaultyDisk(folder) as disk:
        assert train(folder) == 0
    return disk.operations


def test_the_operations_are_found(begun, undisturbed, tmp_path):
    """Each kind of operation, for each checkpoint; and counting them changes nothing."""
    operations = traced(begun, tmp_path / "run")
    assert_same(run_of(tmp_path / "run"), undisturbed)
    for step in (*SAVED_AT, 90):
        for what in ("mkdir", "open", "write", "sync", "rename"):
            assert any(f"{what} " in line and f"step_{step:09d}" in line for line in operations)
    assert len(operations) > 150, operations
    kinds = {line.split()[0] for line in operations}
    assert kinds >= {"open", "write", "sync", "mkdir", "rename", "link", "unlink", "rmdir"}


PARTS = 8
"""The operations are dealt out to so many tests; ``make test`` runs the first of them."""


@pytest.mark.parametrize("part", slow_except(range(PARTS), [0]))
@pytest.mark.parametrize("mode", ["fail", "die"])
def test_every_operation_in_turn(mode, part, begun, undisturbed, tmp_path):
    """``die``: resumed from what the process left, and from what a power cut leaves of it."""
    operations = traced(begun, tmp_path / "traced")
    assert operations
    for at in range(part, len(operations), PARTS):
        folder = tmp_path / f"{at}"
        shutil.copytree(begun, folder)
        with FaultyDisk(folder, mode, at) as disk:
            if mode == "fail":
                assert train(folder) in (0, 1, 2)
                assert not list(run_of(folder).glob(".*.part")), operations[at]
            else:
                with pytest.raises(Died):
                    train(folder)
        assert len(disk.operations) > at
        left = [folder]
        if mode == "die":
            left.append(shutil.copytree(folder, tmp_path / f"{at} as it was"))
            disk.lose_power(names_too=at // PARTS % 2 == 0)
        for folder in left:
            what = f"operation {at}, {operations[at]}"
            assert newest(run_of(folder)) >= 50, f"{what}: the old checkpoint is gone"
            assert train(folder) == 0, what
            assert_same(run_of(folder), undisturbed)
            shutil.rmtree(folder)


def test_what_was_saved_survives_a_power_cut_right_after(begun, undisturbed, tmp_path):
    """The names of files too, which a disk may write much later than their bytes."""
    folder = shutil.copytree(begun, tmp_path / "run")
    with FaultyDisk(folder) as disk:
        assert train(folder) == 0
        disk.lose_power(names_too=True)
    assert_same(run_of(folder), undisturbed)
