"""Forged checkpoints, their digests made to fit; and random JSON for any place in a tree."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dqn.storage.files import sha256
from dqn.storage.manifest import digest_of

Meta = dict[str, Any]
MISSING = object()
"""In place of a value or an array: it is removed."""

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

numbers = st.one_of(
    st.integers(-2, 300),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30]),
    st.floats(allow_subnormal=False),
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of everything in a tree of JSON."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found: list[tuple[str | int, ...]] = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


def reseal(checkpoint: Path) -> None:
    """Make every digest fit what is there now, as a forger would."""
    meta = json.loads((checkpoint / "meta.json").read_bytes())
    for name, entry in meta["files"].items() if isinstance(meta.get("files"), dict) else ():
        if isinstance(entry, dict) and (checkpoint / name).is_file():
            data = (checkpoint / name).read_bytes()
            entry |= {"sha256": sha256(data), "bytes": len(data)}
    (checkpoint / "meta.json").write_text(json.dumps(meta | {"sha256": digest_of(meta)}))


def rewrite(checkpoint: Path, change: Callable[[Meta], Any]) -> None:
    """Forge a meta.json, and seal it."""
    meta = json.loads((checkpoint / "meta.json").read_bytes())
    change(meta)
    (checkpoint / "meta.json").write_text(json.dumps(meta))
    reseal(checkpoint)


def with_header(header: bytes, length: int | None = None) -> bytes:
    """A safetensors file of that header, and 64 bytes of data."""
    return struct.pack("<Q", len(header) if length is None else length) + header + bytes(64)


def described(**entries: Any) -> bytes:
    """A safetensors file with these entries in its header."""
    return with_header(json.dumps(entries).encode())


def entry(dtype: str = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def last(value: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[-1] = value
        return tensor

    return change


def altered(data: bytes, name: str, change: Any) -> bytes:
    """The bytes of a .safetensors file with one array removed, replaced, filled or changed."""
    tensors = safetensors.torch.load(data)
    if change is MISSING:
        del tensors[name]
    elif isinstance(change, torch.Tensor):
        tensors[name] = change
    else:
        old = tensors[name]
        tensors[name] = change(old) if callable(change) else torch.full_like(old, change)
    return safetensors.torch.save(tensors)


def alter(file: Path, name: str, change: Any) -> None:
    """Forge a file of a checkpoint, and seal it."""
    file.write_bytes(altered(file.read_bytes(), name, change))
    reseal(file.parent)


def edit(path: str, value: Any) -> Callable[[Meta], Any]:
    """Another value at ``state.replay.time``, say, or none."""

    def change(meta: Meta) -> None:
        *parents, key = path.split(".")
        for parent in parents:
            meta = meta[parent]
        if value is MISSING:
            del meta[key]
        else:
            meta[key] = value

    return change


def nested(depth: int) -> Meta:
    return {"a": nested(depth - 1)} if depth else {}
