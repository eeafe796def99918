"""Code that numpy and torch share, and the transfer from the host to the device.

Where numpy and torch spell an operation alike, ``buffer`` and ``sampler`` write it once; it runs on
whichever ``numpy_view_or_tensor`` returns. The type checker cannot follow; tests run both.
"""

import itertools
import math
from typing import Any

import numpy as np
import torch

from dqn.types import Array

AnyArray = Any
"""What numpy and torch index, write and add up in the same words."""

_NUMPY = {"cpu"}  # devices whose memory numpy sees; a set, so that tests can rehearse a GPU
_ALIGNMENT = 16  # bytes; enough for every type that travels


def numpy_view_or_tensor(tensor: torch.Tensor) -> AnyArray:
    """On the CPU numpy's view of the same memory, as torch takes ten times as long for a few
    numbers; elsewhere the tensor itself."""
    return tensor.numpy() if _numpy_sees(tensor.device) else tensor


def to_int64(numbers: AnyArray) -> AnyArray:
    """Rounded towards 0, as int64."""
    return numbers.astype(np.int64) if isinstance(numbers, np.ndarray) else numbers.long()


def searchsorted(ascending: AnyArray, values: AnyArray) -> AnyArray:
    """For each of ``values [B]`` how many of ``ascending [L]`` are not greater."""
    if isinstance(ascending, np.ndarray):
        return ascending.searchsorted(values, side="right")
    return torch.searchsorted(ascending, values, right=True)


class StagingBuffer:
    """Named arrays that go to a device together, in one copy, which nobody waits for."""

    def __init__(
        self, layout: dict[str, tuple[torch.dtype, tuple[int, ...]]], device: torch.device
    ) -> None:
        """``layout``: type and shape by name."""
        sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in layout.values()]
        rounded = (-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)
        *begins, end = itertools.accumulate(rounded, initial=0)
        host_bytes = device_bytes = torch.zeros(end, dtype=torch.uint8, device=device)
        if not _numpy_sees(device):  # pinned: a GPU fetches it by itself
            host_bytes = torch.zeros(end, dtype=torch.uint8, pin_memory=device_bytes.is_cuda)
        self._host, self._device = host_bytes, device_bytes
        self._left = torch.cuda.Event() if device_bytes.is_cuda else None

        def parts(memory: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                name: memory[begin : begin + size].view(dtype).view(shape)
                for begin, size, (name, (dtype, shape)) in zip(
                    begins, sizes, layout.items(), strict=True
                )
            }

        self._arrays: dict[str, Array] = {
            name: part.numpy() for name, part in parts(host_bytes).items()
        }
        self.device: dict[str, AnyArray] = {
            name: numpy_view_or_tensor(part) for name, part in parts(device_bytes).items()
        }
        """What has arrived; on the CPU the arrays themselves. It stays where it is."""

    def host(self) -> dict[str, Array]:
        """The arrays, to be written; waits until what was sent before has left."""
        if self._left:
            self._left.synchronize()
        return self._arrays

    def upload(self) -> None:
        """Copy the host arrays to the device without waiting."""
        if self._host is not self._device:
            self._device.copy_(self._host, non_blocking=True)
        if self._left:
            self._left.record()


def _numpy_sees(device: torch.device) -> bool:
    return device.type in _NUMPY
