"""``meta.json``: what a checkpoint or a best model holds, with a digest of every file.

It has a digest of itself too, so a file that is missing, truncated or altered is found before
anything in it is used.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dqn.config import ConfigError, printable
from dqn.storage.files import sha256, write_synced
from dqn.storage.provenance import Count, Provenance
from dqn.types import State

FORMAT = 2
"""Raised whenever the layout of a checkpoint changes: no other format is read."""

MAX_BYTES = 2**26
"""Of a meta.json, which has a few kilobytes: a longer one is damaged, and may not fit in memory."""


class CorruptCheckpoint(Exception):
    """A checkpoint is damaged, or is not what it claims to be; the message says where and how."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))  # it may quote a forged text


@dataclass(frozen=True)
class FileDigest:
    """What a file of a checkpoint must contain."""

    sha256: str
    bytes: Count


@dataclass(frozen=True)
class Manifest:
    """The content of a meta.json."""

    step: Count
    provenance: Provenance
    files: dict[str, FileDigest]
    state: State
    """Of a checkpoint: every part's state, with placeholders for the arrays."""
    lengths: dict[str, Count]
    """Of a checkpoint: bytes in each text file of the run at that step."""
    evaluation: dict[str, Any]
    """Of a best model: its scores."""

    def to_bytes(self) -> bytes:
        """The file's content."""
        content = {"format": FORMAT} | dataclasses.asdict(self)
        return json.dumps(content | {"sha256": digest_of(content)}, indent=1).encode()


def read_manifest(folder: Path) -> Manifest:
    """Read and check the meta.json in ``folder``.

    Raises:
        CorruptCheckpoint: it is missing, unreadable, altered, or has a field that cannot be.
        ConfigError: another version of this program wrote it, in another format.
    """
    what = f"{folder.name}/meta.json"
    try:
        file = folder / "meta.json"
        if file.stat().st_size > MAX_BYTES:
            raise ValueError("it is far too long")
        content = json.loads(file.read_bytes())
        digest = digest_of(content) if isinstance(content, dict) else ""
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CorruptCheckpoint(f"{what} cannot be read ({reason})") from None
    if not digest or type(content.get("format")) is not int or content["format"] < 1:
        raise CorruptCheckpoint(f"{what} is not the manifest of a checkpoint")
    if content["format"] != FORMAT:
        age = "an earlier" if content["format"] < FORMAT else "a later"
        raise ConfigError(
            f"{folder} was written by {age} version of this program (format "
            f"{str(content['format'])[:30]}); this one reads format {FORMAT}; use that version, "
            "or train a new run"
        )
    if content.get("sha256") != digest:
        raise CorruptCheckpoint(f"{what} does not match its digest")
    try:
        return TypeAdapter(Manifest).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))[:100]
        raise CorruptCheckpoint(f"{what} is invalid: {name}: {first['msg']}") from None


def read_file(folder: Path, manifest: Manifest, name: str) -> bytes:
    """The bytes of one file of a checkpoint.

    Raises:
        CorruptCheckpoint: it is missing or does not match its digest.
    """
    if Path(name).name != name or name not in manifest.files:
        raise CorruptCheckpoint(f"{folder.name}/meta.json does not list {name}")
    file, expected = folder / name, manifest.files[name]
    try:
        data = file.read_bytes() if file.stat().st_size == expected.bytes else None
    except OSError as error:
        raise CorruptCheckpoint(f"{folder.name}/{name} cannot be read ({error.strerror})") from None
    if data is None or sha256(data) != expected.sha256:
        raise CorruptCheckpoint(f"{folder.name}/{name} does not match its digest")
    return data


def write_file(folder: Path, name: str, data: bytes) -> FileDigest:
    """Write a file of a checkpoint; returns its entry in the manifest."""
    write_synced(folder / name, data)
    return FileDigest(sha256(data), len(data))


def digest_of(content: dict[str, Any]) -> str:
    """The digest of a meta.json's content, its own digest excepted."""
    body = {key: value for key, value in content.items() if key != "sha256"}
    return sha256(json.dumps(body, sort_keys=True).encode())
