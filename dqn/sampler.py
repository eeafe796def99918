"""Which rows to draw. A sampler knows masses, the replay memory knows frames; neither the other's.

Every row has a mass, 0 while it may not start a transition, and a draw takes a row in proportion
to its mass: there is no searching for a valid row, and no row is left out. Sums are kept per block
of about a thousand rows and taken anew whenever a row of the block is touched, so they are exact:
a draw looks for its block among the block sums, then for its row inside the block.
"""

import torch

from dqn.types import State

_BLOCK_ROWS = 1024


class UniformSampler:
    """Mass 1 for every row that may start a transition."""

    def __init__(self, time_rows: int, num_envs: int, generator: torch.Generator) -> None:
        device = generator.device
        self._generator = generator
        self._num_envs = num_envs
        self._times_per_block = max(1, _BLOCK_ROWS // num_envs)
        blocks = -(-time_rows // self._times_per_block)
        padded = blocks * self._times_per_block
        self._mass = torch.zeros(padded, num_envs, dtype=torch.uint8, device=device)  # [T, N]
        self._by_block = self._mass.view(blocks, self._times_per_block * num_envs)
        self._sums = torch.zeros(blocks, dtype=torch.int64, device=device)

    def open(self, slots: list[int], opened: torch.Tensor) -> None:
        """From now on the rows ``opened [len(slots), N]`` (bool) may be drawn."""
        for slot, mask in zip(slots, opened, strict=True):
            self._mass[slot].logical_or_(mask)
        self._recount(slots)

    def close(self, slots: list[int], kept: torch.Tensor) -> None:
        """From now on the rows not ``kept [len(slots), N]`` (bool) may not be drawn."""
        for slot, mask in zip(slots, kept, strict=True):
            self._mass[slot].mul_(mask)
        self._recount(slots)

    def draw(self, batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows ``[B]`` (time slot * N + environment), independent, and their weights ``[B]``."""
        cumulative = self._sums.cumsum(0)
        uniform = torch.rand(
            batch_size, dtype=torch.float64, device=self._sums.device, generator=self._generator
        )
        rank = (uniform * cumulative[-1]).long()  # the rank-th row of those with mass
        block = torch.searchsorted(cumulative, rank, right=True)
        rank -= cumulative[block] - self._sums[block]
        inside = self._by_block[block].cumsum(1, dtype=torch.int32)  # [B, rows of a block]
        column = (inside <= rank[:, None]).sum(1)
        index = block * self._by_block.shape[1] + column
        return index, torch.ones(batch_size, device=index.device)

    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Uniform draws heed no priority."""

    def state_dict(self) -> State:
        """Masses and the generator's state."""
        return {"mass": self._mass, "generator": self._generator.get_state()}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``.

        Raises:
            ValueError: these are no masses of so many rows.
        """
        mass = state["mass"]
        if mass.shape != self._mass.shape or mass.dtype != self._mass.dtype or (mass > 1).any():
            raise ValueError("the masses are not these rows'")
        self._mass.copy_(mass)
        self._sums.copy_(self._by_block.sum(1))
        self._generator.set_state(state["generator"])

    def _recount(self, slots: list[int]) -> None:
        for block in {slot // self._times_per_block for slot in slots}:
            torch.sum(self._by_block[block], 0, out=self._sums[block])
