"""Frame storage of the replay memory: plain, or losslessly compressed to about a twentieth.

Frames are read by row, ``time slot * N + environment``; row ``T * N`` is always blank.
"""

import numpy as np
import torch
import zstandard

from dqn.replay.transfer import AnyArray, numpy_view_or_tensor


class PlainFrames:
    """Ring ``[T, N, *frame]`` on any device."""

    def __init__(
        self,
        length: int,
        num_envs: int,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        # empty, not zeros: on the CPU a page takes no memory until it is written
        self._flat = torch.empty(length * num_envs + 1, *shape, dtype=dtype, device=device)
        self._flat[-1] = 0
        self._ring = self._flat[:-1].view(length, num_envs, *shape)
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
        return self._ring[slots.to(self._ring.device)].cpu()

    def load(self, slots: torch.Tensor, frame: torch.Tensor) -> None:
        """Restore what ``save`` returned."""
        self._ring[slots.to(self._ring.device)] = frame.to(self._ring.device)


class CompressedFrames:
    """Frames compressed one by one with zstd, on the CPU; methods as those of ``PlainFrames``.

    ``docs/performance.md`` has the measured size and speed.
    """

    def __init__(
        self,
        length: int,
        num_envs: int,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        assert device.type == "cpu", device
        self._num_envs, self._shape, self._dtype = num_envs, shape, dtype
        self._packed: list[bytes] = [b""] * (length * num_envs + 1)
        # no checksums: this is memory, not a disk
        self._pack = zstandard.ZstdCompressor(level=1, write_checksum=False).compress
        self._unpack = zstandard.ZstdDecompressor().decompress
        self._packed[-1] = self._pack(torch.zeros(shape, dtype=dtype).numpy().data)

    def write(self, slot: AnyArray, frame: AnyArray) -> None:
        begin = int(slot[0]) * self._num_envs
        for env, one in enumerate(frame[0]):
            # Copied, because zstd's result keeps a buffer of the uncompressed size alive.
            self._packed[begin + env] = bytes(memoryview(self._pack(one.data)))

    def read(self, row: torch.Tensor) -> torch.Tensor:
        unique, inverse = row.unique(return_inverse=True)  # unpacks a repeated row once
        return self._unpacked(unique.tolist()).index_select(0, inverse)

    def save(self, slots: torch.Tensor) -> torch.Tensor:
        rows = slots[:, None] * self._num_envs + torch.arange(self._num_envs)
        return self._unpacked(rows.flatten().tolist()).view(*rows.shape, *self._shape)

    def load(self, slots: torch.Tensor, frame: torch.Tensor) -> None:
        for slot, frames in zip(slots.tolist(), frame.numpy(), strict=True):
            self.write(np.array([slot]), frames[None])

    def _unpacked(self, rows: list[int]) -> torch.Tensor:
        data = bytearray().join([self._unpack(self._packed[row]) for row in rows])
        return torch.frombuffer(data, dtype=self._dtype).view(len(rows), *self._shape)
