"""Policy gradient on a table: actions on short paths to the goal become more probable."""

import numpy as np

from dqn.replay.buffer import Replay
from dqn.tabular.learner import EpisodicLearner
from dqn.tabular.rows import Episode
from dqn.tabular.table import PolicyTable
from dqn.types import F64, I64


def gradient(probabilities: F64, state: I64, action: I64) -> F64:
    """``(N_ij - pi_ij N_i) / T`` for each state i and action j, ``[S, A]``. N counts the visits on
    a path of T steps, ``state [T]`` and ``action [T]``; pi are the ``probabilities [S, A]``.

    This is the gradient of the path's log-likelihood with respect to the softmax's preferences,
    divided by its length: REINFORCE (Williams 1992, equation 11) with 1/T as the return.
    """
    counts = np.zeros_like(probabilities)
    np.add.at(counts, (state, action), 1)
    visits = counts.sum(1, keepdims=True)
    ascent: F64 = (counts - probabilities * visits) / len(action)
    return ascent


class PolicyGradientLearner(EpisodicLearner):
    """One step of gradient ascent for each path that reached the goal."""

    def __init__(
        self, table: PolicyTable, replay: Replay, learning_rate: float, policy_change: float
    ) -> None:
        """It has converged when the probabilities change by less than ``policy_change`` in an
        update, summed over the table."""
        super().__init__(table, replay, ("loss", "policy_change"), learning_rate)
        self._table = table
        self._policy_change = policy_change

    def learn_from(self, episode: Episode) -> None:
        # A truncated episode did not reach the goal, and its length is only the time limit.
        if not episode.terminal or self.converged:
            return
        state, before = self._table.states.index(episode.stack), self._table.probabilities()
        step = gradient(before, state, episode.action)
        self._table.entries += self.learning_rate * step
        change = float(np.abs(self._table.probabilities() - before).sum())
        loss = float(-np.log(before[state, episode.action]).mean())
        self.count({"loss": loss, "policy_change": change})
        self.converged = change < self._policy_change
