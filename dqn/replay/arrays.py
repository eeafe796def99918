"""The replay memory's arrays: numpy views on the CPU, uploads to a device, a ring of frames.

``buffer`` and ``sampler`` use operations that numpy and torch spell alike; they run on whichever
``numpy_view_or_tensor`` returns. The type checker cannot follow that; the tests run both.
"""

import math
from typing import Any

import numpy as np
import torch

from dqn.types import Array

AnyArray = Any
"""A numpy array or a torch tensor."""

_NUMPY = {"cpu"}  # device types whose memory numpy can view; tests empty it to rehearse a GPU
_ALIGNMENT = 16  # bytes; enough for every dtype used


def numpy_view_or_tensor(tensor: torch.Tensor) -> AnyArray:
    """On the CPU a numpy view of the same memory, ten times as fast as torch for a few numbers;
    on other devices the tensor itself."""
    return tensor.numpy() if tensor.device.type in _NUMPY else tensor


def to_int64(values: AnyArray) -> AnyArray:
    """Truncate to int64."""
    return values.astype(np.int64) if isinstance(values, np.ndarray) else values.long()


def searchsorted(ascending: AnyArray, values: AnyArray) -> AnyArray:
    """``searchsorted(..., side="right")`` of numpy or torch."""
    if isinstance(ascending, np.ndarray):
        return ascending.searchsorted(values, side="right")
    return torch.searchsorted(ascending, values, right=True)


def where(condition: AnyArray, values: AnyArray, other: int) -> AnyArray:
    """``where`` of numpy or torch."""
    module = np if isinstance(condition, np.ndarray) else torch
    return module.where(condition, values, other)


class StagingBuffer:
    """Named host arrays that are copied to a device together, asynchronously and in one transfer.

    On the CPU the host and device arrays are the same memory.
    """

    def __init__(
        self, layout: dict[str, tuple[torch.dtype, tuple[int, ...]]], device: torch.device
    ) -> None:
        """``layout``: dtype and shape by name."""
        sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in layout.values()]
        aligned = [-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes]
        total = sum(aligned)
        self._host = self._device = torch.zeros(total, dtype=torch.uint8, device=device)
        if device.type not in _NUMPY:  # pinned, for an asynchronous copy
            self._host = torch.zeros(total, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._copied = torch.cuda.Event() if device.type == "cuda" else None

        def parts(memory: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                name: part[:size].view(dtype).view(shape)
                for part, size, (name, (dtype, shape)) in zip(
                    memory.split(aligned), sizes, layout.items(), strict=True
                )
            }

        self._arrays = {name: part.numpy() for name, part in parts(self._host).items()}
        self.device: dict[str, AnyArray] = {
            name: numpy_view_or_tensor(part) for name, part in parts(self._device).items()
        }
        """The uploaded arrays; their addresses never change."""

    def host(self) -> dict[str, Array]:
        """The host arrays, to be filled; waits until the previous upload has been read."""
        if self._copied:
            self._copied.synchronize()
        return self._arrays

    def upload(self) -> None:
        """Copy the host arrays to the device without waiting."""
        if self._host is not self._device:
            self._device.copy_(self._host, non_blocking=True)
        if self._copied:
            self._copied.record()


class PlainFrames:
    """Ring of frames on any device."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        """``shape``: ``[T, N, *frame]``."""
        length, num_envs, *frame = shape
        # empty, not zeros: on the CPU a page takes no memory until it is written
        self._flat = torch.empty(length * num_envs + 1, *frame, dtype=dtype, device=device)
        self._flat[-1] = 0
        self._ring = self._flat[:-1].view(shape)
        # On the CPU numpy writes: torch would split the work over threads and wait for them while
        # the emulators occupy every core.
        self._view = numpy_view_or_tensor(self._ring)

    def write(self, slot: AnyArray, frame: AnyArray) -> None:
        """Store the frames ``[1, N, *frame]`` of time slot ``slot [1]``, both on this device."""
        self._view[slot] = frame

    def read(self, row: torch.Tensor) -> torch.Tensor:
        """A copy of the frames of the rows ``row [M]``: ``[M, *frame]``."""
        return self._flat.index_select(0, row)

    def save(self, slots: torch.Tensor) -> torch.Tensor:
        """Frames of the time slots ``[L]``: ``[L, N, *frame]``, on the CPU."""
        return self._ring[slots].cpu()

    def load(self, slots: torch.Tensor, frame: torch.Tensor) -> None:
        """Restore what ``save`` returned."""
        self._ring[slots] = frame.to(self._ring.device)
