"""Detects updates that are not finite."""

import torch

from dqn.types import Batch

NEVER = torch.iinfo(torch.int64).max


class NonFiniteGuard:
    """Keeps, on the device, the first batch whose update was not finite."""

    def __init__(self, device: torch.device) -> None:
        # On the CPU only a bad batch is copied; on a GPU every batch is, because asking whether it
        # is bad would wait for the device.
        self._ask_first = device.type == "cpu"
        self.first = torch.full((), NEVER, device=device)
        """Number of the first such update, counted from 1; NEVER if there was none."""
        self.batch: Batch | None = None
        """Its batch, if there was one; otherwise undefined."""

    @property
    def seen(self) -> bool:
        """Whether there was such an update; waits for the device."""
        return int(self.first) != NEVER

    def check(self, batch: Batch, metrics: torch.Tensor, updates: torch.Tensor) -> None:
        """Keep the part of ``batch`` of the first update, if any, whose metrics are not all finite.
        ``metrics [k, M]`` are those of k updates, each on one of k equal parts; ``updates`` is the
        number of updates before them."""
        bad = (metrics * 0).sum(1) != 0  # 0 times infinity is nan
        numbers = updates + torch.arange(1, len(bad) + 1, device=bad.device)
        first, step = torch.where(bad, numbers, NEVER).min(0)
        earlier = first < self.first
        torch.minimum(first, self.first, out=self.first)
        if self.batch is None:
            self.batch = Batch(*(part[: len(part) // len(bad)].clone() for part in batch))
        if not self._ask_first or earlier:
            for kept, part in zip(self.batch, batch, strict=True):
                if len(part) > len(kept):
                    part = part.unflatten(0, (len(bad), -1)).index_select(0, step[None]).squeeze(0)
                torch.where(earlier, part, kept, out=kept)
