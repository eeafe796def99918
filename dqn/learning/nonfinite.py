"""Detects updates that are not finite."""

import torch

from dqn.types import Batch


class NonFiniteGuard:
    """Keeps, on the device, the first batch whose update was not finite."""

    def __init__(self, device: torch.device) -> None:
        # On the CPU reading the result saves a copy of every batch; on a GPU it would have to wait.
        self._read = device.type == "cpu"
        self.seen = torch.zeros((), dtype=torch.bool, device=device)
        """Whether there was such an update."""
        self.updates_since = torch.zeros((), dtype=torch.int64, device=device)
        """Updates since, that one included."""
        self.batch: Batch | None = None
        """Its batch, if ``seen``; otherwise undefined."""

    def check(self, batch: Batch, metrics: torch.Tensor) -> None:
        """Keep ``batch`` if it is the first one whose ``metrics`` are not all finite."""
        first = ~metrics.isfinite().all() & ~self.seen
        self.seen |= first
        self.updates_since += self.seen
        if self.batch is None:
            self.batch = Batch(*(part.clone() for part in batch))
        if not self._read or first:
            for kept, part in zip(self.batch, batch, strict=True):
                torch.where(first, part, kept, out=kept)
