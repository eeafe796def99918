"""Prioritized replay: rows are drawn in proportion to priorities."""

import torch

from dqn.config import ReplayConfig
from dqn.replay.arrays import AnyArray
from dqn.replay.sampler import Sampler
from dqn.schedule import linear
from dqn.types import State


class PrioritizedSampler(Sampler):
    """Proportional prioritization, Schaul et al. 2016 (arXiv 1511.05952), sections 3.3 and 3.4.

    A row's mass is ``priority ** alpha`` in units of 2^-20, at least one unit and below 2^31 (a
    ``priority ** alpha`` of 2,048). A new row gets the largest mass so far. A batch has one row
    from each of B equal strata of the total mass (appendix B.2.1), weighted by
    ``(rows * P(row)) ** -beta`` over the largest weight of the batch.
    """

    UNIT = 2**20
    MAX_MASS = 2**31 - 1

    def __init__(
        self, time_rows: int, num_envs: int, generator: torch.Generator, config: ReplayConfig
    ) -> None:
        super().__init__(time_rows, num_envs, torch.int32, self.UNIT, generator)
        self._config = config
        # a tensor on the device, so that a captured draw sees its changes
        self._beta = torch.full((), config.beta_start, dtype=torch.float64, device=generator.device)

    def set_beta(self, step: int) -> None:
        start, end, steps = self._config.beta_start, self._config.beta_end, self._config.beta_steps
        self._beta.fill_(linear(step, start, end, begin=0, duration=steps))

    def draw(self, batch_size: int) -> tuple[AnyArray, torch.Tensor]:
        uniform = self._uniform(batch_size)
        strata = torch.arange(batch_size, device=uniform.device)
        index = self._masses.find((strata + uniform) / batch_size)
        mass = self._masses.flat[torch.as_tensor(index)].double()
        return index, (mass.min() / mass).pow(self._beta).float()

    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None:
        mass = priority.to(self._new_mass.device, torch.float64).pow(self._config.alpha)
        mass = (mass * self.UNIT).round().nan_to_num().clamp(1, self.MAX_MASS).int()
        torch.maximum(self._new_mass, mass.amax(), out=self._new_mass)
        self._masses.replace(index, mass)

    def state_dict(self) -> State:
        return super().state_dict() | {"max_priority": self._new_mass}

    def load_state_dict(self, state: State) -> None:
        maximum = state["max_priority"]
        if maximum.shape != () or maximum.dtype != torch.int32 or maximum < self.UNIT:
            raise ValueError("invalid maximum priority")
        self._new_mass.copy_(maximum)
        super().load_state_dict(state)
