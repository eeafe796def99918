"""Remembers the first batch whose update was not finite."""

import torch

from dqn.types import Batch


class NonFiniteGuard:
    """Remembers, on the device, the first batch that led to a number that is none."""

    def __init__(self, device: torch.device) -> None:
        self._ask = device.type == "cpu"  # it saves a copy there; on a GPU to ask is to wait
        self.seen = torch.zeros((), dtype=torch.bool, device=device)
        self.updates_since = torch.zeros((), dtype=torch.int64, device=device)
        """Updates from that batch on, its own included."""
        self.batch: Batch | None = None
        """The batch, once ``seen``."""

    def look(self, batch: Batch, measures: torch.Tensor) -> None:
        """Keep ``batch`` if one of its update's ``measures`` is not finite, and none was before."""
        first = ~measures.isfinite().all() & ~self.seen
        self.seen |= first
        self.updates_since += self.seen
        if self.batch is None:
            self.batch = Batch(*(part.clone() for part in batch))
        if not self._ask or first:
            for kept, part in zip(self.batch, batch, strict=True):
                torch.where(first, part, kept, out=kept)
