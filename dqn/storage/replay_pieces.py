"""The rows of the replay memory in a checkpoint: a compressed file for every piece of the ring.

Pieces begin at fixed rows, so a full one never changes once written.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import safetensors.torch
import zstandard

from dqn.device import cores
from dqn.replay.buffer import Replay
from dqn.storage.manifest import CorruptCheckpoint, Manifest, read_file
from dqn.storage.tensors import parse_tensors

PIECE_ROWS = 8192
"""Rows (over all environments) in a full piece: 58 MB of Atari frames."""

_HEADER_BYTES = 4096
"""Upper bound of a piece's safetensors header."""

_MAX_THREADS = 4
"""Each has a full piece in memory twice, and its compressed copy: 118 MB on Atari."""


def pieces(time: int, length: int, num_envs: int) -> dict[str, tuple[int, int]]:
    """The pieces that cover the newest ``length`` of ``time`` rows: by file name, the first row in
    time and the row after the last. The first and the last piece may be short."""
    stride = max(1, PIECE_ROWS // num_envs)
    oldest = max(0, time - length)
    found = {}
    for start in range(oldest - oldest % stride, time, stride):
        begin, end = max(start, oldest), min(start + stride, time)
        found[f"rows_{begin:012d}_{end:012d}.zst"] = begin, end
    return found


def compress(replay: Replay, wanted: dict[str, tuple[int, int]]) -> Iterator[tuple[str, bytes]]:
    """The content of each file, compressed by several threads at once."""

    def pack(piece: tuple[int, int]) -> bytes:
        data = safetensors.torch.save(replay.rows(*piece))
        return zstandard.ZstdCompressor(level=1).compress(data)

    with ThreadPoolExecutor(max_workers=min(_MAX_THREADS, cores())) as threads:
        yield from zip(wanted, threads.map(pack, wanted.values()), strict=True)


def load_rows(folder: Path, manifest: Manifest, replay: Replay, time: int) -> None:
    """Fill the replay memory from a checkpoint made when it had ``time`` rows.

    Raises:
        CorruptCheckpoint: a piece is missing, altered, or does not hold this replay memory's rows.
    """
    for name, (begin, end) in pieces(time, replay.length, replay.num_envs).items():
        what, count = f"{folder.name}/{name}", end - begin
        data = read_file(folder, manifest, name)
        rows = parse_tensors(what, _decompress(what, data, replay, count))
        expected = {key: (dtype, (count, *shape)) for key, (dtype, shape) in replay.layout.items()}
        if {key: (value.dtype, tuple(value.shape)) for key, value in rows.items()} != expected:
            raise CorruptCheckpoint(f"{what} does not hold {count} rows of this replay memory")
        if ((rows["action"] < 0) | (rows["action"] >= manifest.provenance.num_actions)).any():
            raise CorruptCheckpoint(f"{what} holds actions that the game does not have")
        replay.load_rows(begin, rows)


def _decompress(what: str, data: bytes, replay: Replay, rows: int) -> bytes:
    row_bytes = sum(dtype.itemsize * math.prod(shape) for dtype, shape in replay.layout.values())
    try:
        if zstandard.frame_content_size(data) > rows * row_bytes + _HEADER_BYTES:
            raise CorruptCheckpoint(f"{what} claims to be larger than its rows can be")
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise CorruptCheckpoint(f"{what} cannot be decompressed ({error})") from None
