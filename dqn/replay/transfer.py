"""Arrays in numpy's hands or in torch's: the same lines for both, and the way from here to there.

What numpy and torch say in the same words is written once, in ``replay`` and ``sampler``, and runs
on whichever is ``at_hand``. The type checker cannot follow there; tests run those lines with both.
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


def at_hand(tensor: torch.Tensor) -> AnyArray:
    """On the CPU numpy's view of the same memory, as torch takes ten times as long for a few
    numbers; elsewhere the tensor itself."""
    return tensor.numpy() if _numpy_sees(tensor.device) else tensor


def whole(numbers: AnyArray) -> AnyArray:
    """Rounded towards 0, as int64."""
    return numbers.astype(np.int64) if isinstance(numbers, np.ndarray) else numbers.long()


def places_in(ascending: AnyArray, values: AnyArray) -> AnyArray:
    """For each of ``values [B]`` how many of ``ascending [L]`` are not greater."""
    if isinstance(ascending, np.ndarray):
        return ascending.searchsorted(values, side="right")
    return torch.searchsorted(ascending, values, right=True)


class Parcel:
    """Named arrays that go to a device together, in one copy, which nobody waits for."""

    def __init__(
        self, layout: dict[str, tuple[torch.dtype, tuple[int, ...]]], device: torch.device
    ) -> None:
        """``layout``: type and shape by name."""
        sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in layout.values()]
        rounded = (-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)
        *begins, end = itertools.accumulate(rounded, initial=0)
        here = there = torch.zeros(end, dtype=torch.uint8, device=device)
        if not _numpy_sees(device):  # pinned: a GPU fetches it by itself
            here = torch.zeros(end, dtype=torch.uint8, pin_memory=there.is_cuda)
        self._here, self._there = here, there
        self._left = torch.cuda.Event() if there.is_cuda else None

        def parts(memory: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                name: memory[begin : begin + size].view(dtype).view(shape)
                for begin, size, (name, (dtype, shape)) in zip(
                    begins, sizes, layout.items(), strict=True
                )
            }

        self._arrays: dict[str, Array] = {name: part.numpy() for name, part in parts(here).items()}
        self.there: dict[str, AnyArray] = {
            name: at_hand(part) for name, part in parts(there).items()
        }
        """What has arrived; on the CPU the arrays themselves. It stays where it is."""

    def open(self) -> dict[str, Array]:
        """The arrays, to be written; waits until what was sent before has left."""
        if self._left:
            self._left.synchronize()
        return self._arrays

    def send(self) -> None:
        """Let ``there`` have what the arrays hold."""
        if self._here is not self._there:
            self._there.copy_(self._here, non_blocking=True)
        if self._left:
            self._left.record()


def _numpy_sees(device: torch.device) -> bool:
    return device.type in _NUMPY
