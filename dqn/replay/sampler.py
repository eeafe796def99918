"""Which rows to draw. A sampler knows masses, the replay memory knows frames; neither the other's.

Every row has a mass, 0 while it may not start a transition, and a draw takes a row in proportion
to its mass: there is no searching for a valid row, and no row is left out. BlockSums are whole
numbers, so their sums are exact in whatever order they are taken. Sums are kept per block of some
hundred rows and taken anew whenever a row of the block is touched: no tree, and no drift. A draw
looks for its block among the block sums, then for its row inside the block.
"""

from typing import Protocol

import torch

from dqn.config import ReplayConfig
from dqn.replay.transfer import AnyArray, numpy_view_or_tensor, searchsorted, to_int64
from dqn.schedule import linear
from dqn.types import State

_BLOCK_ROWS = 128  # of a million rows 8,000 sums: to look among them costs as much as in 32 blocks


class Sampler(Protocol):
    """What a replay memory asks of whoever draws for it."""

    def enable(self, slots: AnyArray, opened: AnyArray) -> None:
        """From now on the rows ``opened [L, N]`` (bool) of the slots ``[L]`` may be drawn."""
        ...

    def disable(self, slots: AnyArray, kept: AnyArray) -> None:
        """From now on the rows not ``kept [L, N]`` (bool) of the slots ``[L]`` may not be drawn."""
        ...

    def set_beta(self, step: int) -> None:
        """From now on weigh as after ``step`` rows, all counted that ever were."""
        ...

    def draw(self, batch_size: int) -> tuple[AnyArray, torch.Tensor]:
        """Rows ``[B]`` (time slot * N + environment), at hand, and their weights ``[B]``."""
        ...

    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Hear what the learner made of the rows ``index [B]``: ``priority [B]``, 0 or more."""
        ...

    def state_dict(self) -> State:
        """BlockSums and the generator's state."""
        ...

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``; a ValueError if these are no masses of these rows."""
        ...


def make_sampler(
    config: ReplayConfig, time_rows: int, num_envs: int, generator: torch.Generator
) -> Sampler:
    """The sampler a config describes."""
    if config.sampler == "uniform":
        return UniformSampler(time_rows, num_envs, generator)
    beta = config.beta_start, config.beta_end, config.beta_steps
    return PrioritizedSampler(time_rows, num_envs, generator, config.alpha, beta)


class BlockSums:
    """Whole numbers ``[T, N]``, their sums, and the row at any place along their total."""

    def __init__(
        self, time_rows: int, num_envs: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._times_per_block = max(1, _BLOCK_ROWS // num_envs)
        blocks = -(-time_rows // self._times_per_block)
        padded = blocks * self._times_per_block
        mass = torch.zeros(padded, num_envs, dtype=dtype, device=device)
        self.mass = mass[:time_rows]  # [T, N]; behind it the last block is filled up
        self.flat = mass.flatten()
        self._by_block = mass.view(blocks, self._times_per_block * num_envs)
        self._sums = torch.zeros(blocks, dtype=torch.int64, device=device)
        self._view, self._blocks_view, self._sums_view = map(
            numpy_view_or_tensor, (self.mass, self._by_block, self._sums)
        )

    def find(self, uniform: torch.Tensor) -> AnyArray:
        """The rows ``[B]``, at hand, at fractions ``uniform [B]`` (float64, below 1) of the total.

        Float64 tells apart all of a total below 2^53.
        """
        cumulative = self._sums_view.cumsum(0)
        total = cumulative[-1]
        place = to_int64(numpy_view_or_tensor(uniform) * total)
        place = place - place // total  # a stratum's fraction just below 1 may round to 1
        block = searchsorted(cumulative, place)
        place = place - cumulative[block] + self._sums_view[block]
        inside = self._blocks_view[block].cumsum(1)  # [B, rows of a block]
        column = (inside <= place[:, None]).sum(1)
        return block * self._by_block.shape[1] + column

    def enable(self, slots: AnyArray, opened: AnyArray, mass: AnyArray) -> None:
        """Give the rows ``opened [L, N]`` (bool) of the slots ``[L]``, all different, this mass."""
        self._view[slots] = self._view[slots] * ~opened + opened * mass
        self._recount(slots // self._times_per_block)

    def disable(self, slots: AnyArray, kept: AnyArray) -> None:
        """Give the rows not ``kept [L, N]`` (bool) of the slots ``[L]``, all different, mass 0."""
        self._view[slots] *= kept
        self._recount(slots // self._times_per_block)

    def replace(self, index: torch.Tensor, mass: torch.Tensor) -> None:
        """Give the rows ``index [B]`` other masses ``[B]``, those apart that have none."""
        mass = mass * (self.flat[index] > 0)
        # the greatest, should one row be there twice: the same, whatever the order
        self.flat.scatter_reduce_(0, index, mass, "amax", include_self=False)
        self._recount(numpy_view_or_tensor(index) // self._by_block.shape[1])

    def load(self, mass: torch.Tensor, greatest: int) -> None:
        """Take over masses.

        Raises:
            ValueError: these are no masses of so many rows.
        """
        if (
            mass.shape != self.mass.shape
            or mass.dtype != self.mass.dtype
            or (mass < 0).any()
            or (mass > greatest).any()
        ):
            raise ValueError("the masses are not these rows'")
        self.mass.copy_(mass)
        self._sums.copy_(self._by_block.sum(1))

    def _recount(self, block: AnyArray) -> None:
        # a block that is named twice has the same sum twice
        self._sums_view[block] = self._blocks_view[block].sum(1)


class UniformSampler:
    """Mass 1 for every row that may start a transition."""

    def __init__(self, time_rows: int, num_envs: int, generator: torch.Generator) -> None:
        self._generator = generator
        self._priorities = BlockSums(time_rows, num_envs, torch.uint8, generator.device)
        self._one = numpy_view_or_tensor(torch.ones((), dtype=torch.uint8, device=generator.device))

    def enable(self, slots: AnyArray, opened: AnyArray) -> None:
        """From now on the rows ``opened [L, N]`` (bool) of the slots ``[L]`` may be drawn."""
        self._priorities.enable(slots, opened, self._one)

    def disable(self, slots: AnyArray, kept: AnyArray) -> None:
        """From now on the rows not ``kept [L, N]`` (bool) of the slots ``[L]`` may not be drawn."""
        self._priorities.disable(slots, kept)

    def set_beta(self, step: int) -> None:
        """There is nothing to weigh."""

    def draw(self, batch_size: int) -> tuple[AnyArray, torch.Tensor]:
        """Rows ``[B]``, independent, each with weight 1."""
        uniform = _uniform(batch_size, self._generator)
        return self._priorities.find(uniform), torch.ones(batch_size, device=uniform.device)

    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Uniform draws heed no priority."""

    def state_dict(self) -> State:
        """BlockSums and the generator's state."""
        return {"mass": self._priorities.mass, "generator": self._generator.get_state()}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``.

        Raises:
            ValueError: these are no masses of so many rows.
        """
        self._priorities.load(state["mass"], greatest=1)
        self._generator.set_state(state["generator"])


class PrioritizedSampler:
    """Proportional prioritisation, Schaul et al. 2016 (arXiv 1511.05952), sections 3.3 and 3.4.

    A row's mass is its priority to the power of ``alpha``, in units of 2^-20 and at least one of
    them. A new row has the greatest mass there has been. The batch is drawn in equal strata of the
    total (appendix B.2.1), and weighs ``(N * P(row))^-beta``, divided by the batch's greatest.
    """

    UNIT = 2**20
    GREATEST = 2**31 - 1

    def __init__(
        self,
        time_rows: int,
        num_envs: int,
        generator: torch.Generator,
        alpha: float,
        beta: tuple[float, float, int],
    ) -> None:
        """``beta``: where it begins and ends, and how many steps lie between."""
        self._generator = generator
        self._alpha = alpha
        self._schedule = beta
        # On the device, where a captured draw finds it.
        self._beta = torch.full((), beta[0], dtype=torch.float64, device=generator.device)
        self._priorities = BlockSums(time_rows, num_envs, torch.int32, generator.device)
        self._max_priority = torch.full((), self.UNIT, dtype=torch.int32, device=generator.device)
        self._max_priority_view = numpy_view_or_tensor(self._max_priority)

    def enable(self, slots: AnyArray, opened: AnyArray) -> None:
        """From now on the rows ``opened [L, N]`` (bool) of the slots ``[L]`` may be drawn."""
        self._priorities.enable(slots, opened, self._max_priority_view)

    def disable(self, slots: AnyArray, kept: AnyArray) -> None:
        """From now on the rows not ``kept [L, N]`` (bool) of the slots ``[L]`` may not be drawn."""
        self._priorities.disable(slots, kept)

    def set_beta(self, step: int) -> None:
        """From now on weigh as after ``step`` rows."""
        start, end, steps = self._schedule
        self._beta.fill_(linear(step, start, end, begin=0, duration=steps))

    def draw(self, batch_size: int) -> tuple[AnyArray, torch.Tensor]:
        """Rows ``[B]``, one from each of B equal parts of the total, and weights ``[B]``, the
        greatest of them 1."""
        uniform = _uniform(batch_size, self._generator)
        strata = torch.arange(batch_size, dtype=torch.float64, device=uniform.device)
        index = self._priorities.find((strata + uniform) / batch_size)
        mass = self._priorities.flat[torch.as_tensor(index)].double()
        return index, (mass.min() / mass).pow(self._beta).float()

    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Give the rows ``index [B]`` new masses; one that was closed meanwhile stays closed."""
        mass = priority.to(self._max_priority.device, torch.float64).pow(self._alpha).mul(self.UNIT)
        mass = mass.round().nan_to_num(1).clamp(1, self.GREATEST).int()
        torch.maximum(self._max_priority, mass.amax(), out=self._max_priority)
        self._priorities.replace(index, mass)

    def state_dict(self) -> State:
        """BlockSums, a new row's mass, and the generator's state."""
        return {
            "mass": self._priorities.mass,
            "max_priority": self._max_priority,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``.

        Raises:
            ValueError: these are no masses of so many rows.
        """
        newest = state["max_priority"]
        if newest.shape != () or newest.dtype != torch.int32 or newest < self.UNIT:
            raise ValueError("the mass of a new row is none")
        self._priorities.load(state["mass"], greatest=int(newest))
        self._max_priority.copy_(newest)
        self._generator.set_state(state["generator"])


def _uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(count, dtype=torch.float64, device=generator.device, generator=generator)
