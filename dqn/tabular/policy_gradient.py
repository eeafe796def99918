"""The policy gradient on a table: what led to the goal on a short path is done more often."""

import numpy as np

from dqn.replay.buffer import Replay
from dqn.tabular.learner import SmallLearner
from dqn.tabular.rows import Episodes
from dqn.tabular.table import PolicyTable
from dqn.types import F64, I64, State


def gradient(chances: F64, state: I64, action: I64) -> F64:
    """``(N_ij - pi_ij N_i) / T`` for each state i and action j, ``[S, A]``: N counts what was done
    on a path of T steps, ``state [T]`` and ``action [T]``.

    It is the gradient, by the softmax's preferences, of the path's log-likelihood divided by its
    length: REINFORCE (Williams 1992, equation 11) with 1/T as each whole path's return.
    """
    counts = np.zeros_like(chances)
    np.add.at(counts, (state, action), 1)
    visits = counts.sum(1, keepdims=True)
    ascent: F64 = (counts - chances * visits) / len(action)
    return ascent


class PolicyGradientLearner(SmallLearner):
    """One step up the gradient for each path that reached the goal."""

    def __init__(
        self, table: PolicyTable, replay: Replay, learning_rate: float, policy_change: float
    ) -> None:
        """It has converged when an update changes the chances by less than ``policy_change``, in
        sum."""
        super().__init__(table, ("loss", "policy_change"), learning_rate)
        self._table = table
        self._episodes = Episodes(replay)
        self._policy_change = policy_change

    def learn(self, updates: int) -> None:
        """Learn from the paths that ended since the last call, unless no update is due."""
        if not updates:
            return
        for episode in self._episodes.ended():
            # One that was cut reached nothing, and what is short about it is the time limit.
            if not episode.terminal or self.converged:
                continue
            state, chances = self._table.states.index(episode.stack), self._table.chances()
            step = gradient(chances, state, episode.action)
            self._table.numbers += self.learning_rate * step
            change = float(np.abs(self._table.chances() - chances).sum())
            loss = float(-np.log(chances[state, episode.action]).mean())
            self.count({"loss": loss, "policy_change": change})
            self.converged = change < self._policy_change

    def state_dict(self) -> State:
        """As ever, and how far it has read."""
        return super().state_dict() | {"episodes": self._episodes.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        super().load_state_dict(state)
        self._episodes.load_state_dict(state["episodes"])
