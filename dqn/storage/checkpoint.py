"""Save and restore everything that remembers, without leaving a trace in the run.

A checkpoint is a folder, ``step_000250000/``::

    model.safetensors     the online network
    state.safetensors     every other array: target network, optimiser, actions, masses, ...
    rows_<begin>_<end>.zst   the replay's rows, a compressed piece each
    meta.json             numbers and words of the state, what it belongs to, and the digest of
                          every file; written last, with a digest of its own

It is written aside, synced and renamed, so under its name it is whole or absent. Pieces of the
replay begin at fixed rows, so a full one never changes: later checkpoints hold a second name for
the same file (a hard link), and a checkpoint costs the new rows only. Nothing is ever unpickled.
"""

import logging
import math
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import zstandard

from dqn.device import cores
from dqn.learning.interfaces import LearnerProtocol
from dqn.replay.buffer import Replay
from dqn.storage.files import AtomicFolder, remove_folder, replace_file, write_synced
from dqn.storage.manifest import (
    CorruptCheckpoint,
    meta_bytes,
    parse_tensors,
    read_tensors,
    read_verified,
    write_file,
)
from dqn.storage.state_layout import check_state
from dqn.types import State

log = logging.getLogger("dqn")

PIECE_ROWS = 8192
"""Rows (over all environments) in a full piece of replay: 58 MB of Atari frames."""

_HEADER_BYTES = 4096
"""More than the names and shapes in a piece's header take."""

_PACKERS = 8
"""Threads that compress pieces at once, each with a piece and its copy in memory."""

_FOLDER = re.compile(r"step_(\d{9,})")


class Checkpoints:
    """The checkpoints of one run's folder: the newest ``keep`` of them."""

    def __init__(self, folder: Path, keep: int | str) -> None:
        self._folder = folder
        self._keep = keep
        self._known: tuple[Path, dict[str, Any]] | None = None  # newest whole one, and its files

    def save(self, step: int, state: State, replay: Replay, about: dict[str, Any]) -> Path:
        """Write the checkpoint of ``step``; ``state["learner"]["online"]`` becomes the model.

        Raises:
            OSError: the disk is full, say. What was there before is untouched.
        """
        final = self._folder / _name(step)
        if self._known and self._known[0] == final:
            # Between two savings of one step there can have been an evaluation: words and numbers
            # may differ, arrays cannot.
            plain, _ = _split(state)
            replace_file(final / "meta.json", meta_bytes(step, about, plain, self._known[1]))
            return final
        with AtomicFolder(final) as part:
            files = self._write_files(part, step, state, replay, about)
        self._known = final, files
        self._remove_old()
        return final

    def newest_first(self) -> list[Path]:
        """Every checkpoint's folder, damaged or not."""
        found = [path for path in self._folder.glob("step_*") if _FOLDER.fullmatch(path.name)]
        return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)

    def tidy(self) -> None:
        """Remove what a killed process left half written or half deleted."""
        best, gone = self._folder / "best", self._folder / ".best.gone"
        if gone.exists() and not best.exists():
            os.rename(gone, best)
        for path in self._folder.glob(".*"):
            if path.is_dir() and path.suffix in (".part", ".gone"):
                shutil.rmtree(path, ignore_errors=True)

    def set_aside(self, damaged: Path) -> Path:
        """Rename a damaged checkpoint, so that it does not count as one; returns its new name."""
        aside = damaged.with_name(f"{damaged.name}.damaged")
        remove_folder(aside)
        os.rename(damaged, aside)
        return aside

    def load(
        self, folder: Path, meta: dict[str, Any], replay: Replay, learner: LearnerProtocol
    ) -> State:
        """Verify a checkpoint, fill the replay's rows and return the state; ``meta`` is its
        meta.json as ``read_meta`` gave it.

        Raises:
            CorruptCheckpoint: a file is missing, or is not what meta.json says.
        """
        arrays = read_tensors(folder, meta, "state.safetensors")
        model = read_tensors(folder, meta, "model.safetensors")
        arrays |= {f"learner/online/{name}": value for name, value in model.items()}
        try:
            state = _join(meta["state"], arrays)
        except (KeyError, TypeError, RecursionError) as error:
            raise CorruptCheckpoint(
                f"{folder.name}/meta.json is no checkpoint's ({error})"
            ) from None
        lengths = meta.get("lengths")
        if not isinstance(lengths, dict) or not all(
            type(length) is int and length >= 0 for length in lengths.values()
        ):
            raise CorruptCheckpoint(
                f"{folder.name}/meta.json is no checkpoint's (it has no lengths)"
            )
        if folder.name != _name(meta["step"]):
            raise CorruptCheckpoint(f"{folder.name}/meta.json is of step {meta['step']}")
        check_state(folder.name, state, meta, replay, learner)
        if state["learner"]["online"].keys() != model.keys():
            raise CorruptCheckpoint(f"{folder.name}/model.safetensors holds another network")
        _load_rows(folder, meta, replay, state["replay"]["time"])
        self._known = folder, meta["files"]
        return state

    def _write_files(
        self, aside: Path, step: int, state: State, replay: Replay, about: dict[str, Any]
    ) -> dict[str, Any]:
        plain, arrays = _split(state)
        prefix = "learner/online/"
        model = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        rest = {k: v for k, v in arrays.items() if not k.startswith(prefix)}
        files: dict[str, Any] = {}
        for name, tensors in (("model.safetensors", model), ("state.safetensors", rest)):
            write_file(aside, name, safetensors.torch.save(tensors), files)
        new = {}
        for begin, end in _pieces(replay.time, replay.length, replay.num_envs):
            name = f"rows_{begin:012d}_{end:012d}.zst"
            if not self._link(aside, name, files):
                new[name] = begin, end
        # Threads compress, for that takes the time; this one alone touches the disk.
        with ThreadPoolExecutor(max_workers=min(_PACKERS, cores())) as packers:
            packed = packers.map(lambda piece: _pack(replay.rows(*piece)), new.values())
            for name, data in zip(new, packed, strict=True):
                write_file(aside, name, data, files)
        write_synced(aside / "meta.json", meta_bytes(step, about, plain, files))
        return files

    def _link(self, aside: Path, name: str, files: dict[str, Any]) -> bool:
        """Give a piece that the newest checkpoint holds a second name, if it holds it."""
        if not self._known or name not in self._known[1]:
            return False
        try:
            os.link(self._known[0] / name, aside / name)
        except OSError:  # gone by hand, or a file system without links: write it again
            return False
        files[name] = self._known[1][name]
        return True

    def _remove_old(self) -> None:
        if self._keep != "all":
            for folder in self.newest_first()[int(self._keep) :]:
                try:
                    remove_folder(folder)
                except OSError as error:  # what is saved is saved
                    log.warning("%s could not be removed (%s).", folder, error.strerror)


def _name(step: int) -> str:
    return f"step_{step:09d}"


def _pieces(time: int, length: int, num_envs: int) -> Iterator[tuple[int, int]]:
    """The rows held, cut at multiples of a fixed number: ``(begin, end)`` in time. The first and
    the last may be short; those between never change once written."""
    stride = max(1, PIECE_ROWS // num_envs)
    oldest = max(0, time - length)
    for start in range(oldest - oldest % stride, time, stride):
        yield max(start, oldest), min(start + stride, time)


def _pack(rows: dict[str, torch.Tensor]) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(safetensors.torch.save(rows))


def _load_rows(folder: Path, meta: dict[str, Any], replay: Replay, time: int) -> None:
    unpack = zstandard.ZstdDecompressor()
    row_bytes = sum(dtype.itemsize * math.prod(shape) for dtype, shape in replay.layout.values())
    for begin, end in _pieces(time, replay.length, replay.num_envs):
        name = f"rows_{begin:012d}_{end:012d}.zst"
        data = read_verified(folder, meta, name)
        try:
            if zstandard.frame_content_size(data) > (end - begin) * row_bytes + _HEADER_BYTES:
                raise CorruptCheckpoint(
                    f"{folder.name}/{name} says it is larger than its rows can be"
                )
            piece = unpack.decompress(data)
        except zstandard.ZstdError as error:
            raise CorruptCheckpoint(
                f"{folder.name}/{name} cannot be decompressed ({error})"
            ) from None
        rows = parse_tensors(f"{folder.name}/{name}", piece)
        if rows.keys() != replay.layout.keys():
            raise CorruptCheckpoint(f"{folder.name}/{name} holds {', '.join(rows)}")
        for key, (dtype, shape) in replay.layout.items():
            if rows[key].shape != (end - begin, *shape) or rows[key].dtype != dtype:
                raise CorruptCheckpoint(
                    f"{folder.name}/{name} holds no {key} of {end - begin} x {list(shape)}"
                )
        if ((rows["action"] < 0) | (rows["action"] >= meta["num_actions"])).any():
            raise CorruptCheckpoint(
                f"{folder.name}/{name} holds actions that the game does not have"
            )
        replay.load_rows(begin, rows)


def _split(tree: State, path: str = "") -> tuple[State, dict[str, torch.Tensor]]:
    """Part a state into what JSON can hold and arrays by their path in the tree."""
    plain: State = {}
    arrays: dict[str, torch.Tensor] = {}
    for key, value in tree.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            plain[key], inner = _split(value, f"{name}/")
            arrays |= inner
        elif isinstance(value, torch.Tensor | np.ndarray):
            plain[key] = {"array": "torch" if isinstance(value, torch.Tensor) else "numpy"}
            arrays[name] = torch.as_tensor(value).detach().cpu().contiguous()
        else:
            plain[key] = value
    return plain, arrays


def _join(plain: State, arrays: dict[str, torch.Tensor], path: str = "") -> State:
    """The counterpart of ``_split``."""
    tree: State = {}
    for key, value in plain.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and set(value) == {"array"}:
            if name not in arrays:
                raise KeyError(f"the state lacks {name}")
            tree[key] = arrays[name].numpy() if value["array"] == "numpy" else arrays[name]
        elif isinstance(value, dict):
            tree[key] = _join(value, arrays, f"{name}/")
        else:
            tree[key] = value
    return tree
