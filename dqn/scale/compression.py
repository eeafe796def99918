"""Frames on their way to another node: a round at a time, they shrink to a hundredth."""

from typing import NamedTuple

import numpy as np
import zstandard

from dqn.types import Array


class FramesInTransit(NamedTuple):
    """Frames on their way to another node."""

    data: bytes
    shape: tuple[int, ...]
    dtype: str


def compress(frames: Array) -> FramesInTransit:
    """Without loss, by zstd."""
    data = zstandard.ZstdCompressor(level=1).compress(frames.data)
    return FramesInTransit(data, frames.shape, frames.dtype.name)


def decompress(frames: FramesInTransit) -> Array:
    """The frames as they were."""
    data = zstandard.ZstdDecompressor().decompress(frames.data)
    return np.frombuffer(data, frames.dtype).reshape(frames.shape)
