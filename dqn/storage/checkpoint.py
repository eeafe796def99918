"""Save and restore every part of a run that has a state, without influencing the run.

A checkpoint is a folder, ``step_000250000/``::

    model.safetensors        the online network
    state.safetensors        every other array: target network, optimizer, actions, priorities, ...
    rows_<begin>_<end>.zst   the rows of the replay memory, in compressed pieces
    meta.json                the manifest: numbers of the state, provenance, and every file's digest

It is written under another name, synced and renamed, so it is either whole or absent. A piece of
the replay memory that the previous checkpoint holds too is a hard link to the same file, so a
checkpoint costs the new rows only. Nothing is ever unpickled.
"""

import logging
import os
import re
from pathlib import Path
from typing import Protocol

import safetensors.torch
import torch

from dqn.replay.buffer import Replay
from dqn.storage.files import AtomicFolder, remove, remove_folder, replace_file, write_synced
from dqn.storage.manifest import CorruptCheckpoint, FileDigest, Manifest, write_file
from dqn.storage.provenance import Provenance
from dqn.storage.replay_pieces import compress, load_rows, pieces
from dqn.storage.state_layout import check_layout, join_arrays, split_arrays
from dqn.storage.tensors import MODEL_FILE, read_tensors
from dqn.types import State

log = logging.getLogger("dqn")

_STATE_FILE = "state.safetensors"
_MODEL_PREFIX = "learner/online/"
_FOLDER = re.compile(r"step_(\d{9,})")


class Stateful(Protocol):
    """A part of a run that is saved."""

    def state_dict(self) -> State:
        """Everything it needs to continue."""
        ...

    def load_state_dict(self, state: State) -> None:
        """The inverse of ``state_dict``; the layout of ``state`` has been checked.

        Raises:
            ValueError: a value in it cannot be.
        """
        ...


class Checkpoints:
    """The checkpoints in one run's folder: the newest ``keep`` of them."""

    def __init__(
        self, folder: Path, keep: int | str, parts: dict[str, Stateful], replay: Replay
    ) -> None:
        """``parts`` are all that is saved; ``replay`` is the one among them that has rows too."""
        self._folder = folder
        self._keep = keep
        self._parts = parts
        self._replay = replay
        self._newest: tuple[Path, dict[str, FileDigest]] | None = None

    def save(self, step: int, provenance: Provenance, lengths: dict[str, int]) -> Path:
        """Write the checkpoint of ``step``, and delete those that are too many.

        Raises:
            OSError: it cannot be written (disk full, ...); older checkpoints are untouched.
        """
        folder = self._folder / _name(step)
        state = {name: part.state_dict() for name, part in self._parts.items()}
        plain, arrays = split_arrays(state)
        if self._newest and self._newest[0] == folder:
            # Only an evaluation can have happened since, and it changes no array.
            manifest = Manifest(step, provenance, self._newest[1], plain, lengths, {})
            replace_file(folder / "meta.json", manifest.to_bytes())
            return folder
        model = {name: arrays.pop(_MODEL_PREFIX + name) for name in plain["learner"]["online"]}
        with AtomicFolder(folder) as part:
            files = {
                name: write_file(part, name, safetensors.torch.save(tensors))
                for name, tensors in ((MODEL_FILE, model), (_STATE_FILE, arrays))
            }
            files |= self._write_rows(part)
            manifest = Manifest(step, provenance, files, plain, lengths, {})
            write_synced(part / "meta.json", manifest.to_bytes())
        self._newest = folder, files
        self._delete_old()
        return folder

    def read(self, folder: Path, manifest: Manifest) -> State:
        """Read a checkpoint while all parts are fresh: fill the rows of the replay memory, and
        return the state for ``restore``.

        Raises:
            CorruptCheckpoint: a file is missing or altered, or is not of this run.
        """
        if folder.name != _name(manifest.step):
            raise CorruptCheckpoint(f"{folder.name}/meta.json belongs to step {manifest.step}")
        model = read_tensors(folder, manifest, MODEL_FILE)
        arrays = {f"{_MODEL_PREFIX}{name}": value for name, value in model.items()}
        arrays |= read_tensors(folder, manifest, _STATE_FILE)
        fresh = {name: part.state_dict() for name, part in self._parts.items()}
        try:
            state = join_arrays(manifest.state, arrays)
            check_layout(state, fresh, manifest.step)
            _check_relations(state, model, manifest.step, self._replay.num_envs)
        except (ValueError, RecursionError) as error:
            raise CorruptCheckpoint(f"{folder.name}/meta.json is invalid: {error}") from None
        load_rows(folder, manifest, self._replay, state["replay"]["time"])
        self._newest = folder, manifest.files
        return state

    def restore(self, state: State) -> None:
        """Load what ``read`` returned into every part.

        Raises:
            ValueError: a value cannot be.
        """
        for name, part in self._parts.items():
            part.load_state_dict(state[name])

    def set_aside(self, damaged: Path) -> Path:
        """Rename a damaged checkpoint, so that it no longer counts as one; returns its new name."""
        aside = damaged.with_name(f"{damaged.name}.damaged")
        remove(aside)
        os.rename(damaged, aside)
        return aside

    def _write_rows(self, part: Path) -> dict[str, FileDigest]:
        replay = self._replay
        wanted = pieces(replay.time, replay.length, replay.num_envs)
        linked = {name: digest for name in wanted if (digest := self._link(name, part))}
        new = compress(replay, {name: wanted[name] for name in wanted if name not in linked})
        # Only this thread touches the disk.
        return linked | {name: write_file(part, name, data) for name, data in new}

    def _link(self, name: str, part: Path) -> FileDigest | None:
        """Link a file of the newest checkpoint, if it has it."""
        if not self._newest or name not in self._newest[1]:
            return None
        try:
            os.link(self._newest[0] / name, part / name)
        except OSError:  # deleted by hand, or a file system without links: it is written again
            return None
        return self._newest[1][name]

    def _delete_old(self) -> None:
        if self._keep == "all":
            return
        for folder in newest_first(self._folder)[int(self._keep) :]:
            try:
                remove_folder(folder)
            except OSError as error:  # no reason to lose the new one
                log.warning("%s could not be deleted (%s).", folder, error.strerror)


def _check_relations(
    state: State, model: dict[str, torch.Tensor], step: int, num_envs: int
) -> None:
    """What two parts must agree on; raises ValueError."""
    learner, replay = state["learner"], state["replay"]
    if learner["online"].keys() != model.keys():
        raise ValueError("model.safetensors holds another network")
    if replay["time"] * num_envs != step:
        raise ValueError(f"the state's replay/time is {replay['time']} at step {step}")
    if learner["updates"] and not replay["sampler"]["mass"].any():
        raise ValueError("the state's replay/sampler has no row to draw")


def newest_first(folder: Path) -> list[Path]:
    """Every checkpoint in a run's folder, damaged or not."""
    found = [path for path in folder.glob("step_*") if _FOLDER.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """The step in a checkpoint's name."""
    return int(checkpoint.name.removeprefix("step_"))


def tidy(folder: Path) -> None:
    """Delete what a killed process left half written or half deleted in a run's folder."""
    best, old = folder / "best", folder / ".best.gone"
    if old.exists() and not best.exists():
        os.rename(old, best)
    for path in folder.glob(".*"):
        if path.is_dir() and path.suffix in (".part", ".gone"):
            remove(path)


def _name(step: int) -> str:
    return f"step_{step:09d}"
