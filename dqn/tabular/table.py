"""Tables with an entry for each state and action: the models of the tabular methods."""

from pathlib import Path

import numpy as np
import torch

from dqn.learning.interfaces import Policy
from dqn.tabular.pictures import draw_table
from dqn.tabular.policies import EpsilonGreedy
from dqn.tabular.states import States
from dqn.types import F64, Array


class Table:
    """``entries [S, A]``, initially 0."""

    def __init__(self, states: States) -> None:
        self.states = states
        self.entries: F64 = np.zeros(states.allowed.shape)

    def preferences(self, stack: Array) -> F64:
        """The entries ``[N, A]`` for each observation, minus infinity for forbidden actions."""
        return self.preferences_in(self.states.index(stack))

    def preferences_in(self, state: Array) -> F64:
        """The same for state numbers ``[...]``: ``[..., A]``."""
        return np.where(self.states.allowed[state], self.entries[state], -np.inf)

    def make_policy(self, generator: np.random.Generator) -> Policy:
        """Epsilon-greedy on the entries."""
        return EpsilonGreedy(self.preferences, generator)

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"table": torch.from_numpy(self.entries)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.entries[:] = state["table"].numpy()


class ValueTable(Table):
    """A table of action values."""

    def q_values(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, S, *frame]`` -> ``[B, A]``."""
        return torch.from_numpy(self.preferences(state.numpy()))

    def draw(self, folder: Path) -> None:
        """Write ``table.png``; raises OSError if it cannot be written."""
        draw_table(folder, self.entries, self.states.allowed, "value")


class PolicyTable(Table):
    """A table of preferences, which a softmax turns into probabilities."""

    q_values = None  # preferences are no estimate of the return

    def probabilities(self) -> F64:
        """The policy ``[S, A]``, 0 for forbidden actions."""
        preferences = np.where(self.states.allowed, self.entries, -np.inf)
        powers = np.exp(preferences - preferences.max(1, keepdims=True))
        probabilities: F64 = powers / powers.sum(1, keepdims=True)
        return probabilities

    def draw(self, folder: Path) -> None:
        """Write ``table.png`` with the probabilities; raises OSError if it cannot be written."""
        draw_table(folder, self.probabilities(), self.states.allowed, "probability")
