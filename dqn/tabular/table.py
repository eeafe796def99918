"""Tables: a number for each state and action. They are what is learned, saved and played by."""

from pathlib import Path

import numpy as np
import torch

from dqn.learning.actor import Policy
from dqn.tabular.pictures import draw_table
from dqn.tabular.players import EpsilonGreedy
from dqn.tabular.states import States
from dqn.types import F64, Array


class Table:
    """Numbers ``[S, A]``, 0 at first: what its two kinds have in common."""

    def __init__(self, states: States) -> None:
        self.states = states
        self.numbers: F64 = np.zeros(states.allowed.shape)

    def preferences(self, stack: Array) -> F64:
        """``[N, A]``, minus infinity where an action is not allowed."""
        return self.preferences_in(self.states.index(stack))

    def preferences_in(self, state: Array) -> F64:
        """The same by the states' numbers ``[...]``: ``[..., A]``."""
        return np.where(self.states.allowed[state], self.numbers[state], -np.inf)

    def make_policy(self, generator: np.random.Generator) -> Policy:
        """Epsilon-greedy, between equals by lot."""
        return EpsilonGreedy(self.preferences, generator)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The numbers."""
        return {"table": torch.from_numpy(self.numbers)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """The counterpart of ``state_dict``."""
        self.numbers[:] = state["table"].numpy()


class ValueTable(Table):
    """Action values."""

    def q_values(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, A]``."""
        return torch.from_numpy(self.preferences(state.numpy()))

    def draw(self, folder: Path) -> None:
        """Write ``table.png``.

        Raises:
            OSError: it cannot be written.
        """
        draw_table(folder, self.numbers, self.states.allowed, "value")


class PolicyTable(Table):
    """Preferences, of which a softmax makes chances."""

    q_values = None
    """A preference says nothing of the return."""

    def chances(self) -> F64:
        """The policy ``[S, A]``, 0 where an action is not allowed."""
        preferences = np.where(self.states.allowed, self.numbers, -np.inf)
        powers = np.exp(preferences - preferences.max(1, keepdims=True))
        chances: F64 = powers / powers.sum(1, keepdims=True)
        return chances

    def draw(self, folder: Path) -> None:
        """Write ``table.png``: the chances.

        Raises:
            OSError: it cannot be written.
        """
        draw_table(folder, self.chances(), self.states.allowed, "probability")
