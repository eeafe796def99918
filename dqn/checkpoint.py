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

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import zstandard

from dqn.config import ConfigError
from dqn.files import remove_folder, replace_file, sha256, sync_folder, write_synced
from dqn.replay import Replay
from dqn.types import Batch, State

FORMAT = 1
"""Raised when a checkpoint's layout changes, so that an older program refuses a newer one."""

PIECE_ROWS = 8192
"""Rows (over all environments) in a full piece of replay: 58 MB of Atari frames."""

_FOLDER = re.compile(r"step_(\d{9,})")


class Damaged(Exception):
    """A checkpoint is not whole or not what it says; the message says where and how."""


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
        final = self._folder / f"step_{step:09d}"
        if self._known and self._known[0] == final:
            # Between two savings of one step there can have been an evaluation: words and numbers
            # may differ, arrays cannot.
            plain, _ = _split(state)
            replace_file(final / "meta.json", _meta(step, about, plain, self._known[1]))
            return final
        aside = self._folder / f".{final.name}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            files = self._write_files(aside, step, state, replay, about)
            remove_folder(final)  # one that was found damaged
            os.rename(aside, final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_folder(self._folder)
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

    def set_aside(self, damaged: Path) -> None:
        """Rename a damaged checkpoint, so that it does not count as one."""
        aside = damaged.with_name(f"{damaged.name}.damaged")
        remove_folder(aside)
        os.rename(damaged, aside)

    def load(self, folder: Path, meta: dict[str, Any], replay: Replay) -> State:
        """Verify a checkpoint, fill the replay's rows and return the state; ``meta`` is its
        meta.json as ``read_meta`` gave it.

        Raises:
            Damaged: a file is missing, or its digest or content is not what meta.json says.
        """
        for name in meta["files"]:
            read_verified(folder, meta, name)
        arrays = safetensors.torch.load(read_verified(folder, meta, "state.safetensors"))
        model = safetensors.torch.load(read_verified(folder, meta, "model.safetensors"))
        arrays |= {f"learner/online/{name}": value for name, value in model.items()}
        state = _join(meta["state"], arrays)
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
            _write(aside, name, safetensors.torch.save(tensors), files)
        compressor = zstandard.ZstdCompressor(level=1)
        for begin, end in _pieces(replay.time, replay.length, replay.num_envs):
            name = f"rows_{begin:012d}_{end:012d}.zst"
            if not self._link(aside, name, files):
                piece = safetensors.torch.save(replay.rows(begin, end))
                _write(aside, name, compressor.compress(piece), files)
        write_synced(aside / "meta.json", _meta(step, about, plain, files))
        sync_folder(aside)
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
                remove_folder(folder)


def read_meta(folder: Path) -> dict[str, Any]:
    """A checkpoint's meta.json, verified.

    Raises:
        Damaged: it is missing, unreadable or altered.
        ConfigError: a newer version of this program wrote it.
    """
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
    except (OSError, ValueError) as error:
        raise Damaged(f"{folder.name}/meta.json cannot be read ({error})") from None
    if not isinstance(meta, dict) or not isinstance(meta.get("files"), dict):
        raise Damaged(f"{folder.name}/meta.json is no checkpoint's")
    if isinstance(meta.get("format"), int) and meta["format"] > FORMAT:
        raise ConfigError(
            f"{folder} has format {meta['format']} and this program knows {FORMAT}; go on with the "
            "version that wrote it"
        )
    if meta.get("sha256") != _meta_digest(meta):
        raise Damaged(f"{folder.name}/meta.json does not match its digest")
    return meta


def read_verified(folder: Path, meta: dict[str, Any], name: str) -> bytes:
    """The bytes of one file of a checkpoint.

    Raises:
        Damaged: it is missing or does not match the digest in meta.json.
    """
    if Path(name).name != name or name not in meta["files"]:
        raise Damaged(f"{folder.name}/meta.json does not list {name} as a file of its own")
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise Damaged(f"{folder.name}/{name} cannot be read ({error.strerror})") from None
    if sha256(data) != meta["files"][name].get("sha256"):
        raise Damaged(f"{folder.name}/{name} does not match its digest")
    return data


def write_model(folder: Path, model: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
    """Write a folder with a model and its meta.json alone, in the place of an older one."""
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    files: dict[str, Any] = {}
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.items()}
    _write(aside, "model.safetensors", safetensors.torch.save(tensors), files)
    write_synced(aside / "meta.json", _meta(about["step"], about, {}, files))
    sync_folder(aside)
    gone = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        os.rename(folder, gone)
    os.rename(aside, folder)
    sync_folder(folder.parent)
    shutil.rmtree(gone, ignore_errors=True)


def write_batch(path: Path, batch: Batch) -> None:
    """Write a batch, for whoever wants to know what went wrong with it."""
    tensors = {name: part.cpu().contiguous() for name, part in batch._asdict().items()}
    replace_file(path, safetensors.torch.save(tensors))


def _write(folder: Path, name: str, data: bytes, files: dict[str, Any]) -> None:
    write_synced(folder / name, data)
    files[name] = {"sha256": sha256(data), "bytes": len(data)}


def _meta(step: int, about: dict[str, Any], plain: State, files: dict[str, Any]) -> bytes:
    """The content of meta.json, with a digest of itself."""
    meta = {"format": FORMAT, "step": step, **about, "state": plain, "files": files}
    meta["sha256"] = _meta_digest(meta)
    return json.dumps(meta, indent=1).encode()


def _meta_digest(meta: dict[str, Any]) -> str:
    body = {key: value for key, value in meta.items() if key != "sha256"}
    return sha256(json.dumps(body, sort_keys=True).encode())


def _pieces(time: int, length: int, num_envs: int) -> Iterator[tuple[int, int]]:
    """The rows held, cut at multiples of a fixed number: ``(begin, end)`` in time. The first and
    the last may be short; those between never change once written."""
    stride = max(1, PIECE_ROWS // num_envs)
    oldest = max(0, time - length)
    for start in range(oldest - oldest % stride, time, stride):
        yield max(start, oldest), min(start + stride, time)


def _load_rows(folder: Path, meta: dict[str, Any], replay: Replay, time: int) -> None:
    unpack = zstandard.ZstdDecompressor()
    for begin, end in _pieces(time, replay.length, replay.num_envs):
        name = f"rows_{begin:012d}_{end:012d}.zst"
        data = read_verified(folder, meta, name)
        rows = safetensors.torch.load(unpack.decompress(data))
        for key, ring in replay.storage.items():
            shape = (end - begin, *ring.shape[1:])
            if key not in rows or rows[key].shape != shape or rows[key].dtype != ring.dtype:
                raise Damaged(f"{folder.name}/{name} holds no {key} of shape {list(shape)}")
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
                raise Damaged(f"the state lacks {name}")
            tree[key] = arrays[name].numpy() if value["array"] == "numpy" else arrays[name]
        elif isinstance(value, dict):
            tree[key] = _join(value, arrays, f"{name}/")
        else:
            tree[key] = value
    return tree
