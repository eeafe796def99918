"""Q-learning and SARSA: a table of action values, updated after every step.

Both move the value of the action taken towards the reward plus the discounted value of the next
state; they differ in how they value the next state.
"""

from collections.abc import Callable

import numpy as np

from dqn.replay.buffer import Replay
from dqn.tabular.learner import BaseLearner
from dqn.tabular.rows import read_rows
from dqn.tabular.table import ValueTable
from dqn.types import F64, State

NextValue = Callable[[F64, int], float]
"""``(q [A] in the next state, the action chosen there)`` -> the value of the next state. Actions
that are not allowed have the value minus infinity."""


def best_value(q: F64, action: int) -> float:  # noqa: ARG001  a NextValue
    """Q-learning: the value of the best action. Watkins 1989; Sutton and Barto 2018, eq. 6.8."""
    return float(q.max())


def chosen_value(q: F64, action: int) -> float:
    """SARSA: the value of the action actually taken. Rummery and Niranjan 1994; Sutton and Barto
    2018, eq. 6.7."""
    return float(q[action])


class ActionTableLearner(BaseLearner):
    """One-step updates of a table, from each pair of consecutive rows in their order."""

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
        self._seen = 0  # rows learned from so far

    def learn(self, updates: int) -> None:
        """Learn from every row since the last call, unless no update is due."""
        if not updates:
            return
        rows = read_rows(self._replay, self._seen - 1, self._replay.time)
        self._seen = self._replay.time
        length, n = rows.action.shape
        stacks = rows.stack.reshape(length * n, *rows.stack.shape[2:])
        state = self._table.states.index(stacks).reshape(length, n)
        q = self._table.entries
        for t in range(1, length):
            for i in np.flatnonzero(~rows.last[t - 1]):
                value = self._next_value(self._table.preferences_in(state[t, i]), rows.action[t, i])
                # Only a terminal state ends the return; after a time limit we still bootstrap.
                future = 0.0 if rows.terminal[t, i] else self._gamma * value
                here = state[t - 1, i], rows.action[t - 1, i]
                error = rows.reward[t, i] + future - q[here]
                q[here] += self.learning_rate * error
                self.count({"loss": error**2 / 2, "td_error": abs(error)})

    def state_dict(self) -> State:
        return super().state_dict() | {"seen": self._seen}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        if state["seen"] > self._replay.time:
            raise ValueError("more rows were read than the replay memory was given")
        self._seen = state["seen"]
