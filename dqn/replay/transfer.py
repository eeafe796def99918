"""Array code shared by numpy and torch, and batched transfers from the host to a device.

``buffer`` and ``sampler`` use operations that numpy and torch spell alike; they run on whichever
``numpy_view_or_tensor`` returns. The type checker cannot follow that; the tests run both.
"""

import itertools
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


class StagingBuffer:
    """Named host arrays that are copied to a device together, asynchronously and in one transfer.

    On the CPU the host and device arrays are the same memory.
    """

    def __init__(
        self, layout: dict[str, tuple[torch.dtype, tuple[int, ...]]], device: torch.device
    ) -> None:
        """``layout``: dtype and shape by name."""
        sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in layout.values()]
        aligned = (-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)
        *begins, end = itertools.accumulate(aligned, initial=0)
        self._host = self._device = torch.zeros(end, dtype=torch.uint8, device=device)
        if device.type not in _NUMPY:  # pinned, for an asynchronous copy
            self._host = torch.zeros(end, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._copied = torch.cuda.Event() if device.type == "cuda" else None

        def parts(memory: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                name: memory[begin : begin + size].view(dtype).view(shape)
                for begin, size, (name, (dtype, shape)) in zip(
                    begins, sizes, layout.items(), strict=True
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
