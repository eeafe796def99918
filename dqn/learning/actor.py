"""Acting with a Q-network: epsilon-greedy on its q-values."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dqn.learning.interfaces import QValues
from dqn.learning.values import ValueDistribution
from dqn.networks.q_network import QNetwork
from dqn.types import F64, I64, Array, Bool, State

PendingActions = Callable[[], I64]
"""Waits for actions ``[N]`` and returns them."""

Greedy = Callable[[Array], PendingActions]
"""Begins to choose the greedy actions for ``stack [N, S, *frame]``."""


def make_greedy(q_values: QValues, device: torch.device) -> Greedy:
    """The argmax of the q-values, the first one if there are ties."""

    def choose(stack: Array) -> I64:
        state = torch.from_numpy(stack).to(device)
        with torch.inference_mode():
            action: I64 = q_values(state).argmax(1).cpu().numpy()
        return action

    return lambda stack: functools.partial(choose, stack)


class StochasticPolicy(ABC):
    """Base of the policies: a random generator, which is all their state."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def ready(self) -> bool:
        """It always is."""
        return True

    def begin(self, stack: Array, epsilon: float | F64) -> PendingActions:
        """Acts when it is waited for."""
        return functools.partial(self.act, stack, epsilon)

    @abstractmethod
    def act(self, stack: Array, epsilon: float | F64) -> I64:
        """As ``Policy.act``."""

    def state_dict(self) -> State:
        """The generator's state."""
        return {"generator": self._generator.bit_generator.state}

    def load_state_dict(self, state: State) -> None:
        """Restore a ``state_dict``."""
        self._generator.bit_generator.state = state["generator"]


class Actor(StochasticPolicy):
    """Epsilon-greedy policy for N environments."""

    def __init__(
        self,
        greedy: Greedy,
        num_actions: int,
        generator: np.random.Generator,
        noise: torch.Generator | None = None,
    ) -> None:
        """``noise`` is what a noisy network draws from when ``greedy`` evaluates it."""
        super().__init__(generator)
        self._greedy = greedy
        self._num_actions = num_actions
        self._noise = noise

    def act(self, stack: Array, epsilon: float | F64) -> I64:
        return self.choose(stack, *self.draw(len(stack), epsilon))()

    def begin(self, stack: Array, epsilon: float | F64) -> PendingActions:
        """Everything but waiting for a GPU."""
        return self.choose(stack, *self.draw(len(stack), epsilon))

    def draw(self, n: int, epsilon: float | F64) -> tuple[Bool, I64]:
        """Which of N actions are random ``[N]``, and random actions ``[N]``; also seeds the noise.
        Nothing here depends on the network."""
        explore = self._generator.random(n) < epsilon
        action = self._generator.integers(self._num_actions, size=n)
        if self._noise:
            self._noise.manual_seed(int(self._generator.integers(2**63)))
        return explore, action

    def choose(self, stack: Array, explore: Bool, action: I64) -> PendingActions:
        """``action``, and greedy ones where not to ``explore``; the network is not evaluated if all
        actions are random."""
        if explore.all():
            return lambda: action
        greedy = self._greedy(stack)
        return lambda: np.where(explore, action, greedy())


@dataclass(frozen=True)
class QModel:
    """The ``Model`` of method dqn: a Q-network on its device and its return distribution."""

    network: QNetwork
    values: ValueDistribution
    num_actions: int
    device: torch.device

    def q_values(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, A]``, without noise."""
        return self.values.q(self.network(state))

    def make_policy(self, generator: np.random.Generator) -> Actor:
        greedy = make_greedy(self.q_values, self.device)
        return Actor(greedy, self.num_actions, generator)

    def draw(self, folder: Path) -> None:
        """No picture is drawn of a network."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        return dict(self.network.state_dict())

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.network.load_state_dict(state)
