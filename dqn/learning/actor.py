"""Choosing actions: epsilon-greedy on the network's q-values."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from dqn.types import F64, I64, Array, State

Greedy = Callable[[Array], I64]
"""``stack [N, S, *frame]`` -> the best actions ``[N]``."""


def greedy_by(q_values: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> Greedy:
    """The actions of the greatest q-values, the first where there are several."""

    def greedy(stack: Array) -> I64:
        state = torch.from_numpy(stack).to(device)
        with torch.inference_mode():
            action: I64 = q_values(state).argmax(1).cpu().numpy()
        return action

    return greedy


class Policy(Protocol):
    """Whoever chooses actions, by whichever method."""

    def act(self, stack: Array, epsilon: float | F64) -> I64:
        """Actions ``[N]`` on ``stack [N, S, *frame]``, each random with probability ``epsilon``,
        one for all or ``[N]``."""
        ...

    def state_dict(self) -> State:
        """What the next choice depends on, beside what is learned."""
        ...

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        ...


MakePolicy = Callable[[np.random.Generator], Policy]
"""Makes somebody who plays by what is learned at that moment, with such a generator."""


class WithGenerator:
    """What a player remembers: a generator of its own."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def state_dict(self) -> State:
        """The generator's state."""
        return {"generator": self._generator.bit_generator.state}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        self._generator.bit_generator.state = state["generator"]


class Actor(WithGenerator):
    """Epsilon-greedy in N environments at once."""

    def __init__(self, greedy: Greedy, num_actions: int, generator: np.random.Generator) -> None:
        super().__init__(generator)
        self._greedy = greedy
        self._num_actions = num_actions

    def act(self, stack: Array, epsilon: float | F64) -> I64:
        """Actions ``[N]`` on ``stack [N, S, *frame]``, each random with probability ``epsilon``,
        one for all or ``[N]``.

        The draws do not depend on the network, and no network runs where all are random.
        """
        n = len(stack)
        explore = self._generator.random(n) < epsilon
        action = self._generator.integers(self._num_actions, size=n)
        if not explore.all():
            action = np.where(explore, action, self._greedy(stack))
        return action
