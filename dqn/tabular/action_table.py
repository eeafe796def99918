"""A table of action values, learned as one goes: Q-learning and SARSA.

Either moves the value of what was done towards the reward and the discounted value of what came
after; they differ in which value that is.
"""

from collections.abc import Callable

import numpy as np

from dqn.replay.buffer import Replay
from dqn.tabular.learner import SmallLearner
from dqn.tabular.rows import read
from dqn.tabular.table import ValueTable
from dqn.types import F64, State

NextValue = Callable[[F64, int], float]
"""``(q [A] of the next state, the action chosen there)`` -> what the next state is worth; actions
that are not allowed have minus infinity."""


def best_value(q: F64, action: int) -> float:  # noqa: ARG001  a NextValue
    """Q-learning: the best there is. Watkins 1989; Sutton and Barto 2018, equation 6.8."""
    return float(q.max())


def chosen_value(q: F64, action: int) -> float:
    """SARSA: of what is really done next. Rummery and Niranjan 1994; Sutton and Barto 2018,
    equation 6.7."""
    return float(q[action])


class ActionTableLearner(SmallLearner):
    """One-step updates of a table from each pair of moments, in their order."""

    def __init__(
        self,
        table: ValueTable,
        replay: Replay,
        next_value: NextValue,
        gamma: float,
        learning_rate: float,
    ) -> None:
        super().__init__(table, ("loss", "td_error"), learning_rate)
        self._table = table
        self._replay = replay
        self._next_value = next_value
        self._gamma = gamma
        self._seen = 0  # rows learned from

    def learn(self, updates: int) -> None:
        """Learn from every moment since the last call, unless no update is due."""
        if not updates:
            return
        moments = read(self._replay, self._seen - 1, self._replay.time)
        self._seen = self._replay.time
        length, n = moments.action.shape
        stacks = moments.stack.reshape(length * n, *moments.stack.shape[2:])
        state = self._table.states.index(stacks).reshape(length, n)
        q = self._table.numbers
        for t in range(1, length):
            for i in np.flatnonzero(~moments.last[t - 1]):
                value = self._next_value(
                    self._table.preferences_in(state[t, i]), moments.action[t, i]
                )
                # A time limit is no end of the world: only behind a terminal moment is nothing.
                beyond = 0.0 if moments.terminal[t, i] else self._gamma * value
                here = state[t - 1, i], moments.action[t - 1, i]
                error = moments.reward[t, i] + beyond - q[here]
                q[here] += self.learning_rate * error
                self.count({"loss": error**2 / 2, "td_error": abs(error)})

    def state_dict(self) -> State:
        """As ever, and how far it has read."""
        return super().state_dict() | {"seen": self._seen}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        super().load_state_dict(state)
        self._seen = state["seen"]
