"""Choosing among the allowed actions: epsilon-greedily, or by a softmax.

Preferences are ``[N, A]``, arbitrary numbers, minus infinity where an action is not allowed.
"""

from collections.abc import Callable

import numpy as np

from dqn.learning.actor import StochasticPolicy
from dqn.types import F64, I64, Array

Preferences = Callable[[Array], F64]
"""``stack [N, S, *frame]`` -> ``[N, A]``."""


class EpsilonGreedy(StochasticPolicy):
    """The action with the greatest preference, ties broken at random; with probability epsilon any
    allowed action: Sutton and Barto 2018, section 2.2."""

    def __init__(self, preferences: Preferences, generator: np.random.Generator) -> None:
        super().__init__(generator)
        self._preferences = preferences

    def act(self, stack: Array, epsilon: float | F64) -> I64:
        preferences = self._preferences(stack)
        explore = self._generator.random(len(stack)) < epsilon
        best = preferences == preferences.max(1, keepdims=True)
        candidates = np.where(explore[:, None], preferences > -np.inf, best)
        lots = self._generator.random(preferences.shape)
        action: I64 = np.where(candidates, lots, -1).argmax(1)
        return action


class Softmax(StochasticPolicy):
    """Each action with probability ``exp(preference) / sum``, or, with probability epsilon, any
    allowed action.

    Samples with the Gumbel-max trick (Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030,
    section 2).
    """

    def __init__(self, preferences: Preferences, generator: np.random.Generator) -> None:
        super().__init__(generator)
        self._preferences = preferences

    def act(self, stack: Array, epsilon: float | F64) -> I64:
        preferences = self._preferences(stack)
        explore = self._generator.random(len(stack)) < epsilon
        uniform = np.where(preferences > -np.inf, 0, -np.inf)
        noise = self._generator.gumbel(size=preferences.shape)
        action: I64 = (np.where(explore[:, None], uniform, preferences) + noise).argmax(1)
        return action
