"""Games that lead nowhere: too many steps without a reward, as of an agent that repeats itself."""

import numpy as np

from dqn.types import Bool, TimeStep


class StuckGames:
    """Which of N games have gone ``limit`` steps without a reward; None: no game ever is stuck."""

    def __init__(self, limit: int | None, num_envs: int) -> None:
        self._limit = limit
        self._waited = np.zeros(num_envs, np.int64)  # steps since the last reward

    def after(self, timestep: TimeStep) -> Bool:
        """The games ``[N]`` that are stuck now, and have not ended by themselves."""
        self._waited = np.where(timestep.reward == 0, self._waited + 1, 0)
        if self._limit is None:
            return np.zeros_like(timestep.last)
        return (self._waited >= self._limit) & ~timestep.last
