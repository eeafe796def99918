"""Which rows may start a sample, by the row rule (``buffer``), and which of them to draw.

Every row has a probability mass, not normalized, which is 0 while the row cannot start a
transition; so every draw is valid. It is an integer, so sums are exact in any order. They are
kept per block of about a hundred rows and recomputed whenever a row of the block changes: no tree,
and no drift. A draw finds its block in the block sums, then its row inside the block.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch

from dqn.replay.arrays import AnyArray, numpy_view_or_tensor, searchsorted, to_int64
from dqn.types import I64, Bool, State

FLAGS = ("first", "last", "terminal")

_BLOCK_ROWS = 128  # searching the 8,000 sums of a million rows costs as much as 32 such blocks


class ValidStarts:
    """Finds the rows that become, or stop being, valid starts when a row is added.

    Works on a host copy of the rows' flags, so that it never waits for a device.
    """

    def __init__(self, length: int, num_envs: int, n_step: int, stack: int) -> None:
        self.flags = np.zeros((len(FLAGS), length, num_envs), bool)
        """FLAGS of every row, ``[3, T, N]``."""
        self._length, self._n_step, self._stack = length, n_step, stack

    def kept(self, time: int) -> tuple[I64, Bool]:
        """Slots ``[S]`` whose stacks may show the row that row ``time`` overwrites, and which of
        their rows stay valid all the same, ``[S, N]``: those from the next ``first`` row on."""
        slots = (time + np.arange(self._stack)) % self._length
        keep = np.ones((self._stack, self.flags.shape[2]), bool)
        if time >= self._length:
            keep[0] = False
            np.logical_or.accumulate(self.flags[0, slots[1:]], out=keep[1:])
        return slots, keep

    def completed(self, time: int) -> tuple[I64, Bool]:
        """The n slots ``[n]`` before row ``time``, newest first, and which of their rows it makes
        valid starts, ``[n, N]``: the oldest and, if it is an end, all since the last end."""
        slots = (time - 1 - np.arange(self._n_step)) % self._length
        _, last, terminal = self.flags
        complete = np.zeros((self._n_step, self.flags.shape[2]), bool)
        complete[-1] = True
        complete |= last[time % self._length] | terminal[time % self._length]
        ends = last[slots] | terminal[slots]
        complete[1:] &= ~np.logical_or.accumulate(ends[:-1])
        complete &= ~last[slots]
        complete[time:] = False  # there are only ``time`` earlier rows
        return slots, complete


class BlockSums:
    """Integer masses ``[T, N]``, and their sums per block of rows."""

    def __init__(
        self, time_rows: int, num_envs: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._times_per_block = max(1, _BLOCK_ROWS // num_envs)
        blocks = -(-time_rows // self._times_per_block)
        padded = blocks * self._times_per_block
        mass = torch.zeros(padded, num_envs, dtype=dtype, device=device)
        self.mass = mass[:time_rows]  # [T, N], without the padding of the last block
        self.flat = mass.flatten()
        self._by_block = mass.view(blocks, self._times_per_block * num_envs)
        self._sums = torch.zeros(blocks, dtype=torch.int64, device=device)
        self._view, self._blocks_view, self._sums_view = map(
            numpy_view_or_tensor, (self.mass, self._by_block, self._sums)
        )

    def find(self, uniform: torch.Tensor) -> AnyArray:
        """Rows ``[B]`` at the fractions ``uniform [B]`` (float64, below 1) of the cumulative mass;
        exact for totals below 2^53."""
        cumulative = self._sums_view.cumsum(0)
        total = cumulative[-1]
        position = to_int64(numpy_view_or_tensor(uniform) * total)
        position = position - position // total  # a fraction just below 1 may round up to the total
        block = searchsorted(cumulative, position)
        position = position - cumulative[block] + self._sums_view[block]
        inside = self._blocks_view[block].cumsum(1)  # [B, rows of a block]
        column = (inside <= position[:, None]).sum(1)
        return block * self._by_block.shape[1] + column

    def enable(self, slots: AnyArray, rows: AnyArray, mass: AnyArray) -> None:
        """Set the mass of the ``rows [L, N]`` (bool) in the distinct time ``slots [L]``."""
        self._view[slots] = self._view[slots] * ~rows + rows * mass
        self._update_sums(slots // self._times_per_block)

    def disable(self, slots: AnyArray, keep: AnyArray) -> None:
        """Set the mass of the rows not in ``keep [L, N]`` (bool) of distinct ``slots [L]`` to 0."""
        self._view[slots] *= keep
        self._update_sums(slots // self._times_per_block)

    def replace(self, index: torch.Tensor, mass: torch.Tensor) -> None:
        """Set the masses ``[B]`` of the rows ``index [B]``; masses of 0 stay 0."""
        mass = mass * (self.flat[index] > 0)
        # amax: the result for a row drawn twice does not depend on the order
        self.flat.scatter_reduce_(0, index, mass, "amax", include_self=False)
        self._update_sums(numpy_view_or_tensor(index) // self._by_block.shape[1])

    def load(self, mass: torch.Tensor, maximum: int) -> None:
        """Restore the masses.

        Raises:
            ValueError: wrong shape or dtype, or a mass outside ``0 .. maximum``.
        """
        fits = mass.shape == self.mass.shape and mass.dtype == self.mass.dtype
        if not fits or (mass < 0).any() or (mass > maximum).any():
            raise ValueError("the sampler's masses do not fit this replay memory")
        self.mass.copy_(mass)
        self._sums.copy_(self._by_block.sum(1))

    def _update_sums(self, block: AnyArray) -> None:
        self._sums_view[block] = self._blocks_view[block].sum(1)


class Sampler(ABC):
    """Draws rows in proportion to their masses."""

    def __init__(
        self, time_rows: int, num_envs: int, dtype: torch.dtype, mass: int, gen: torch.Generator
    ) -> None:
        """``mass`` is that of a new row."""
        self._generator = gen
        self._masses = BlockSums(time_rows, num_envs, dtype, gen.device)
        self._new_mass = torch.full((), mass, dtype=dtype, device=gen.device)
        self._new_mass_view = numpy_view_or_tensor(self._new_mass)

    def enable(self, slots: AnyArray, rows: AnyArray) -> None:
        """Let the ``rows [L, N]`` (bool) in the time ``slots [L]`` be drawn."""
        self._masses.enable(slots, rows, self._new_mass_view)

    def disable(self, slots: AnyArray, keep: AnyArray) -> None:
        """Let no row in the time ``slots [L]`` be drawn except those in ``keep [L, N]`` (bool)."""
        self._masses.disable(slots, keep)

    @abstractmethod
    def set_beta(self, step: int) -> None:
        """Set the importance-sampling exponent to its value at ``step``."""

    @abstractmethod
    def draw(self, batch_size: int) -> tuple[AnyArray, torch.Tensor]:
        """Rows ``[B]`` (time slot * N + environment) and importance weights ``[B]``."""

    @abstractmethod
    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Set the priorities ``[B]``, at least 0, of the rows ``index [B]``."""

    def state_dict(self) -> State:
        return {"mass": self._masses.mass, "generator": self._generator.get_state()}

    def load_state_dict(self, state: State) -> None:
        """Restore a ``state_dict``.

        Raises:
            ValueError: the masses do not fit this replay memory.
        """
        self._masses.load(state["mass"], maximum=int(self._new_mass))
        self._generator.set_state(state["generator"])

    def _uniform(self, count: int) -> torch.Tensor:
        device = self._generator.device
        return torch.rand(count, dtype=torch.float64, device=device, generator=self._generator)


class UniformSampler(Sampler):
    """Mass 1 for every valid row: independent uniform draws of weight 1."""

    def __init__(self, time_rows: int, num_envs: int, generator: torch.Generator) -> None:
        super().__init__(time_rows, num_envs, torch.uint8, 1, generator)

    def set_beta(self, step: int) -> None: ...

    def draw(self, batch_size: int) -> tuple[AnyArray, torch.Tensor]:
        uniform = self._uniform(batch_size)
        return self._masses.find(uniform), torch.ones(batch_size, device=uniform.device)

    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None: ...
