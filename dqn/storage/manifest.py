"""Folders sealed by digests: what a checkpoint and a best model have in common.

``meta.json`` names every file of the folder with its digest and has one of its own, so a file that
is missing, cut short or altered is found out before anything of it is used. Nothing is ever
unpickled.
"""

import functools
import json
import logging
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from dqn.config import Config, ConfigError, printable
from dqn.envs import Spec
from dqn.envs.protocol import protocol_name
from dqn.storage.files import AtomicFolder, replace_file, sha256, write_synced
from dqn.types import Batch, State

FORMAT = 1
"""Raised when a checkpoint's layout changes, so that an older program refuses a newer one."""

_META: dict[str, type] = {
    "step": int, "game": str, "num_actions": int, "stack_shape": list,
    "versions": dict, "device": str, "threads": int, "state": dict, "files": dict,
}  # fmt: skip
"""What a meta.json must have to be one."""

_DTYPES = {
    torch.float16, torch.float32, torch.float64, torch.bool, torch.uint8, torch.uint16,
    torch.uint32, torch.int8, torch.int16, torch.int32, torch.int64,
}  # fmt: skip
"""What the arrays of a game and of a network may be of."""

log = logging.getLogger("dqn")


class CorruptCheckpoint(Exception):
    """A checkpoint is not whole or not what it says; the message says where and how."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))  # it may quote what was forged


def read_meta(folder: Path) -> dict[str, Any]:
    """A checkpoint's meta.json, verified.

    Raises:
        CorruptCheckpoint: it is missing, unreadable or altered.
        ConfigError: a newer version of this program wrote it.
    """
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        digest = _meta_digest(meta) if isinstance(meta, dict) else ""
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CorruptCheckpoint(f"{folder.name}/meta.json cannot be read ({reason})") from None
    if not isinstance(meta, dict) or type(meta.get("format")) is not int or meta["format"] < 1:
        raise CorruptCheckpoint(f"{folder.name}/meta.json is no checkpoint's")
    if meta["format"] > FORMAT:
        raise ConfigError(
            f"{folder} has format {meta['format']} and this program knows {FORMAT}; go on with the "
            "version that wrote it"
        )
    if meta.get("sha256") != digest:
        raise CorruptCheckpoint(f"{folder.name}/meta.json does not match its digest")
    for key, kind in _META.items():
        if type(meta.get(key)) is not kind:  # nor true for a number
            raise CorruptCheckpoint(f"{folder.name}/meta.json is no checkpoint's (it has no {key})")
    if not 0 <= meta["step"] < 2**63:
        raise CorruptCheckpoint(
            f"{folder.name}/meta.json is no checkpoint's (its step is {meta['step']})"
        )
    checked: dict[str, Any] = meta
    return checked


def read_verified(folder: Path, meta: dict[str, Any], name: str) -> bytes:
    """The bytes of one file of a checkpoint.

    Raises:
        CorruptCheckpoint: it is missing or does not match the digest in meta.json.
    """
    if Path(name).name != name or name not in meta["files"]:
        raise CorruptCheckpoint(
            f"{folder.name}/meta.json does not list {name} as a file of its own"
        )
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise CorruptCheckpoint(f"{folder.name}/{name} cannot be read ({error.strerror})") from None
    entry = meta["files"][name]
    if not isinstance(entry, dict) or sha256(data) != entry.get("sha256"):
        raise CorruptCheckpoint(f"{folder.name}/{name} does not match its digest")
    return data


def read_tensors(folder: Path, meta: dict[str, Any], name: str) -> dict[str, torch.Tensor]:
    """The arrays of a .safetensors file of a checkpoint.

    Raises:
        CorruptCheckpoint: it is missing, altered, or holds something else.
    """
    return parse_tensors(f"{folder.name}/{name}", read_verified(folder, meta, name))


def write_model(folder: Path, model: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
    """Write a folder with a model and its meta.json alone, in place of an older one."""
    files: dict[str, Any] = {}
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.items()}
    with AtomicFolder(folder) as part:
        write_file(part, "model.safetensors", safetensors.torch.save(tensors), files)
        write_synced(part / "meta.json", meta_bytes(about["step"], about, {}, files))


def write_batch(path: Path, batch: Batch) -> None:
    """Write a batch, for whoever wants to know what went wrong with it."""
    tensors = {name: part.cpu().contiguous() for name, part in batch._asdict().items()}
    replace_file(path, safetensors.torch.save(tensors))


def write_file(folder: Path, name: str, data: bytes, files: dict[str, Any]) -> None:
    """Write a file of the folder, and its entry for meta.json into ``files``."""
    write_synced(folder / name, data)
    files[name] = {"sha256": sha256(data), "bytes": len(data)}


def meta_bytes(step: int, about: dict[str, Any], plain: State, files: dict[str, Any]) -> bytes:
    """The content of meta.json, with a digest of itself."""
    meta = {"format": FORMAT, "step": step, **about, "state": plain, "files": files}
    meta["sha256"] = _meta_digest(meta)
    return json.dumps(meta, indent=1).encode()


def _meta_digest(meta: dict[str, Any]) -> str:
    body = {key: value for key, value in meta.items() if key != "sha256"}
    return sha256(json.dumps(body, sort_keys=True).encode())


def parse_tensors(what: str, data: bytes) -> dict[str, torch.Tensor]:
    """The arrays in the bytes of a .safetensors file, their numbers finite, apart from what an
    environment showed.

    Raises:
        CorruptCheckpoint: they are no such file's.
    """
    try:
        tensors = safetensors.torch.load(data)
    except Exception as error:  # whatever it meets in bytes that are not its own
        raise CorruptCheckpoint(f"{what} is no safetensors file ({error})") from None
    for key, value in tensors.items():
        if value.dtype not in _DTYPES:
            raise CorruptCheckpoint(
                f"{what}: {key} is an array of {value.dtype}, which nothing here is"
            )
        seen = key in ("frame", "reward") or key.startswith("environment/timestep/")
        if not seen and value.is_floating_point() and not value.isfinite().all():
            raise CorruptCheckpoint(f"{what}: {key} holds numbers that are not finite")
        if value.dtype == torch.bool and (value.view(torch.uint8) > 1).any():
            raise CorruptCheckpoint(f"{what}: {key} holds bytes that are neither true nor false")
    return tensors


def make_about(config: Config, spec: Spec, device: torch.device) -> dict[str, Any]:
    """Game, protocol and shapes; versions, device and threads, on which its bits depend."""
    return {
        "game": spec.game,
        "protocol": protocol_name(config, spec.atari),
        "num_actions": spec.num_actions,
        "stack_shape": [spec.stack, *spec.frame_shape],
        "versions": versions(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def check_about(folder: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Refuse another game's checkpoint.

    Raises:
        ConfigError: it says what differs.
    """
    for key in ("game", "num_actions", "stack_shape"):
        if theirs[key] != ours[key]:
            raise ConfigError(
                f"{folder} is of another game: {key} is {in_words(theirs[key])}, "
                f"not {in_words(ours[key])}"
            )


def warn_of_differences(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Say so if other versions may mean other bits."""
    for key in ("versions", "device", "threads"):
        if theirs[key] != ours[key]:
            log.warning(
                "This checkpoint was made with %s %s, now %s: the run goes on, but not to the "
                "same bits.", key, in_words(theirs[key]), in_words(ours[key]),
            )  # fmt: skip


def in_words(value: Any) -> str:
    """``torch 2.13.0, numpy 2.3.4`` of packages; anything else as it is, unless it is long."""
    if isinstance(value, dict):
        value = ", ".join(f"{name} {number}" for name, number in value.items())
    return printable(str(value))[:200]


@functools.cache
def versions() -> dict[str, str]:
    """What decides a run's bits beside its config and the machine."""
    packages = ("torch", "ale-py", "gymnasium", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def device_name(device: torch.device) -> str:
    """``cpu``, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
