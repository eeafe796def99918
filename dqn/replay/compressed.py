"""Losslessly compressed frames, a twentieth of the size."""

import numpy as np
import torch
import zstandard

from dqn.replay.arrays import AnyArray


class CompressedFrames:
    """Frames compressed one by one with zstd, on the CPU; methods as those of ``PlainFrames``.

    ``docs/performance.md`` has the measured size and speed.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        assert device.type == "cpu", device
        length, self._num_envs, *self._frame = shape
        self._dtype = dtype
        self._packed: list[bytes] = [b""] * (length * self._num_envs + 1)
        self._pack = zstandard.ZstdCompressor(level=1).compress
        self._packed[-1] = self._pack(torch.zeros(self._frame, dtype=dtype).numpy().data)

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
        return self._unpacked(rows.flatten().tolist()).view(*rows.shape, *self._frame)

    def load(self, slots: torch.Tensor, frame: torch.Tensor) -> None:
        for slot, frames in zip(slots.tolist(), frame.numpy(), strict=True):
            self.write(np.array([slot]), frames[None])

    def _unpacked(self, rows: list[int]) -> torch.Tensor:
        # One for each call: a checkpoint reads in several threads, which must not share it.
        unpack = zstandard.ZstdDecompressor().decompress
        data = bytearray().join([unpack(self._packed[row]) for row in rows])
        return torch.frombuffer(data, dtype=self._dtype).view(len(rows), *self._frame)
