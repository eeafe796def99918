"""The frames of a replay memory: plain, or compressed to a twentieth at the price of some time.

Both hand back exactly what was written. A row is ``time slot * N + environment``; one row more,
``T * N``, is for ever blank.
"""

import numpy as np
import torch
import zstandard

from dqn.replay.transfer import AnyArray, numpy_view_or_tensor


def make_frames(
    storage: str,
    length: int,
    num_envs: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> "PlainFrames | CompressedFrames":
    """The frames of ``length * num_envs`` rows, as ``replay.storage`` wants them."""
    if storage == "plain":
        return PlainFrames(length, num_envs, shape, dtype, device)
    assert storage == "compressed", storage
    assert device.type == "cpu", device
    return CompressedFrames(length, num_envs, shape, dtype)


class PlainFrames:
    """Ring ``[T, N, *frame]`` on any device; on the CPU memory is taken as it is first written."""

    def __init__(
        self,
        length: int,
        num_envs: int,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        # empty, not zeros: pages nobody has written to cost nothing yet
        self._flat = torch.empty(length * num_envs + 1, *shape, dtype=dtype, device=device)
        self._flat[-1] = 0
        self._ring = self._flat[:-1].view(length, num_envs, *shape)
        # numpy writes on the CPU: torch would share the work out and wait for its other thread,
        # while the emulators hold every core.
        self._view = numpy_view_or_tensor(self._ring)

    def write(self, slot: AnyArray, frame: AnyArray) -> None:
        """Keep the frames ``[1, N, *frame]`` of the moment ``slot [1]``, both on this device."""
        self._view[slot] = frame

    def read(self, row: torch.Tensor) -> torch.Tensor:
        """The frames of rows ``[M]``: ``[M, *frame]``, a copy."""
        return self._flat.index_select(0, row)

    def save(self, slots: torch.Tensor) -> torch.Tensor:
        """All frames of the time slots ``[L]``: ``[L, N, *frame]``, on the CPU."""
        return self._ring[slots.to(self._ring.device)].cpu()

    def load(self, slots: torch.Tensor, frame: torch.Tensor) -> None:
        """The counterpart of ``save``."""
        self._ring[slots.to(self._ring.device)] = frame.to(self._ring.device)


class CompressedFrames:
    """The same on the CPU, each frame packed by itself, so that any can be had at once.

    Measured in ``docs/performance.md``: what it saves, and what it costs.
    """

    def __init__(
        self, length: int, num_envs: int, shape: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self._num_envs, self._shape, self._dtype = num_envs, shape, dtype
        self._packed: list[bytes] = [b""] * (length * num_envs + 1)
        # no checksums: it is memory that is written, not a disk
        self._pack = zstandard.ZstdCompressor(level=1, write_checksum=False).compress
        self._unpack = zstandard.ZstdDecompressor().decompress
        self._packed[-1] = self._pack(torch.zeros(shape, dtype=dtype).numpy().data)

    def write(self, slot: AnyArray, frame: AnyArray) -> None:
        """Keep the frames ``[1, N, *frame]``, contiguous, of the moment ``slot [1]``."""
        begin = int(slot[0]) * self._num_envs
        for env, one in enumerate(frame[0]):
            # Copied: what the library returns still sits in room for the whole frame.
            self._packed[begin + env] = bytes(memoryview(self._pack(one.data)))

    def read(self, row: torch.Tensor) -> torch.Tensor:
        """The frames of rows ``[M]``: ``[M, *frame]``, a copy. One drawn twice is unpacked once."""
        unique, place = row.unique(return_inverse=True)
        frames = self._unpacked(unique.tolist())
        return frames.index_select(0, place)

    def save(self, slots: torch.Tensor) -> torch.Tensor:
        """All frames of the time slots ``[L]``: ``[L, N, *frame]``."""
        rows = slots[:, None] * self._num_envs + torch.arange(self._num_envs)
        return self._unpacked(rows.flatten().tolist()).view(*rows.shape, *self._shape)

    def load(self, slots: torch.Tensor, frame: torch.Tensor) -> None:
        """The counterpart of ``save``."""
        for slot, frames in zip(slots.tolist(), frame.numpy(), strict=True):
            self.write(np.array([slot]), frames[None])

    def _unpacked(self, rows: list[int]) -> torch.Tensor:
        packed = self._packed
        data = bytearray().join([self._unpack(packed[row]) for row in rows])
        return torch.frombuffer(data, dtype=self._dtype).view(len(rows), *self._shape)
