"""A run's checkpoints: which are kept, what they share, and what is cleared away."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import zstandard
from support.replays import PLAIN, Shape, add, make_replay, make_tape

from dqn.config import ReplayConfig
from dqn.replay.buffer import Replay
from dqn.storage.checkpoint import Checkpoints, newest_first, tidy
from dqn.storage.manifest import read_manifest
from dqn.storage.provenance import Provenance
from dqn.storage.replay_pieces import compress, pieces
from dqn.types import State, TimeStep

TAPE = make_tape([[PLAIN]] * 40)
PROVENANCE = Provenance("a game", "", 5, [2, 2, 2], {}, "cpu", 1)


class Learner:
    def __init__(self, weight: float) -> None:
        self.weight = torch.tensor([weight])

    def state_dict(self) -> State:
        return {"online": {"weight": self.weight}, "updates": 1}

    def load_state_dict(self, state: State) -> None:
        self.weight = state["online"]["weight"]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr("dqn.storage.replay_pieces.PIECE_ROWS", 8)


def begin(folder: Path, keep: int | str, weight: float = 0) -> tuple[Checkpoints, Replay, Learner]:
    """A run with one environment that remembers 20 rows."""
    replay, learner = make_replay(Shape(20, 1, 1, 2)), Learner(weight)
    parts = {"learner": learner, "replay": replay}
    return Checkpoints(folder, keep, parts, replay), replay, learner


def save(checkpoints: Checkpoints, replay: Replay, step: int, length: int = 0) -> Path:
    """Add rows until there are ``step``, and save."""
    for t in range(replay.time, step):
        add(replay, TAPE, t)
    return checkpoints.save(step, PROVENANCE, {"train.log": length})


def inodes(checkpoint: Path) -> dict[tuple[int, ...], int]:
    """The pieces of a checkpoint, by first row and row after the last."""
    return {
        tuple(map(int, path.stem.split("_")[1:])): path.stat().st_ino
        for path in checkpoint.glob("rows_*")
    }


def test_a_full_piece_is_written_once_also_after_a_resume(tmp_path):
    checkpoints, replay, _ = begin(tmp_path, "all", weight=3)
    first, second = inodes(save(checkpoints, replay, 12)), inodes(save(checkpoints, replay, 20))
    resumed, memory, learner = begin(tmp_path, "all")
    newest = newest_first(tmp_path)[0]
    resumed.restore(resumed.read(newest, read_manifest(newest)))
    assert learner.weight == 3 and memory.time == 20
    for name, ours in replay.rows(0, 20).items():
        assert torch.equal(memory.rows(0, 20)[name], ours), name
    third = inodes(save(resumed, memory, 28))
    assert sorted(first) == [(0, 8), (8, 12)]
    assert sorted(second) == [(0, 8), (8, 16), (16, 20)]
    assert sorted(third) == [(8, 16), (16, 24), (24, 28)]
    assert first.items() & second.items() == {((0, 8), first[0, 8])}
    assert second.items() & third.items() == {((8, 16), second[8, 16])}


def test_pieces_are_unpacked_by_several_threads_at_once(monkeypatch):
    """Of compressed frames large enough that the threads meet."""
    monkeypatch.setattr("dqn.storage.replay_pieces.cores", lambda: 4)
    config = ReplayConfig(capacity=2_400, storage="compressed")
    frames = torch.randint(0, 40, (2_400, 84, 84), dtype=torch.uint8)
    generator, no = torch.Generator(), np.zeros(1, bool)
    replay = Replay(config, 1, (84, 84), "uint8", 1, 2, lambda timestep: timestep.reward, generator)
    for frame in frames.numpy():
        timestep = TimeStep(frame[None, None], np.zeros(1, np.float32), no, no, no)
        replay.add(timestep, np.zeros(1, np.int64))
    found = dict(compress(replay, pieces(replay.time, replay.length, 1)))
    assert len(found) == 300
    rows = [safetensors.torch.load(zstandard.decompress(data))["frame"] for data in found.values()]
    assert torch.equal(torch.cat(rows).squeeze(1), frames)


def test_a_shared_piece_that_is_gone_is_written_again(tmp_path):
    checkpoints, replay, _ = begin(tmp_path, "all")
    shutil.rmtree(save(checkpoints, replay, 12))
    newest = save(checkpoints, replay, 20)
    resumed, memory, _ = begin(tmp_path, "all")
    resumed.read(newest, read_manifest(newest))
    memory.time = 20
    assert torch.equal(memory.rows(0, 20)["reward"], replay.rows(0, 20)["reward"])


def test_saving_a_step_again_changes_its_manifest_alone(tmp_path):
    checkpoints, replay, _ = begin(tmp_path, 1)
    folder = save(checkpoints, replay, 12, length=100)
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert {"meta.json", "model.safetensors", "state.safetensors"} < before.keys()
    assert save(checkpoints, replay, 12, length=200) == folder
    after = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert read_manifest(folder).lengths == {"train.log": 200}
    assert {name for name in before.keys() | after if before.get(name) != after.get(name)} == {
        "meta.json"
    }


def test_the_newest_are_kept(tmp_path):
    for keep, kept in ((1, [20]), (2, [20, 16]), ("all", [20, 16, 12])):
        run = tmp_path / str(keep)
        run.mkdir()
        checkpoints, replay, _ = begin(run, keep)
        for step in (12, 16, 20):
            save(checkpoints, replay, step)
        assert newest_first(run) == [run / f"step_{step:09d}" for step in kept]
        assert {*run.iterdir()} == {*newest_first(run)}


def test_an_old_one_that_cannot_be_deleted_is_named_and_stays(tmp_path, monkeypatch, caplog):
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr("dqn.storage.checkpoint.remove_folder", refuse)
    checkpoints, replay, _ = begin(tmp_path, 1)
    old, new = save(checkpoints, replay, 12), save(checkpoints, replay, 16)
    assert newest_first(tmp_path) == [new, old]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{old} could not be deleted (Permission denied)" in record.getMessage()


def test_newest_first_is_by_number_and_damaged_ones_set_aside_do_not_count(tmp_path):
    names = ["step_1000000000", "step_999999999", "step_000000010"]
    others = ["step_000000011.damaged", "step_12", ".step_000000013.part", "best"]
    for name in names + others:
        (tmp_path / name).mkdir()
    assert [path.name for path in newest_first(tmp_path)] == names


def test_tidying_removes_what_a_kill_left_and_brings_back_the_best(tmp_path):
    stays = {".lock", ".mine", "step_000000005", "train.log", ".notes.part"}
    for best, gone, expected in ((0, 1, "gone"), (1, 1, "best"), (1, 0, "best"), (0, 0, None)):
        run = tmp_path / f"{best}{gone}"
        for name in (".mine", "step_000000005", ".step_000000009.part", ".step_000000001.gone"):
            (run / name).mkdir(parents=True)
            (run / name / "file").touch()
        for name in (".lock", "train.log", ".notes.part"):
            (run / name).touch()
        for name, exists in (("best", best), (".best.gone", gone)):
            if exists:
                (run / name).mkdir()
                (run / name / "model").write_text(name.removeprefix(".best."))
        tidy(run)
        assert {path.name for path in run.iterdir()} == stays | ({"best"} if expected else set())
        if expected:
            assert (run / "best/model").read_text() == expected
