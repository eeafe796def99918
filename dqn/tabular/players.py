"""Choosing among the actions that are allowed: the best one, or by chance.

Preferences are ``[N, A]``, any numbers, minus infinity where an action is not allowed.
"""

from collections.abc import Callable

import numpy as np

from dqn.learning.actor import WithGenerator
from dqn.types import F64, I64, Array

Preferences = Callable[[Array], F64]
"""``stack [N, S, *frame]`` -> ``[N, A]``."""


class EpsilonGreedy(WithGenerator):
    """The greatest preference, any of them where there are several, or any action at all with
    probability epsilon: Sutton and Barto 2018, section 2.2."""

    def __init__(self, preferences: Preferences, generator: np.random.Generator) -> None:
        super().__init__(generator)
        self._preferences = preferences

    def act(self, stack: Array, epsilon: float | F64) -> I64:
        """Actions ``[N]``."""
        preferences = self._preferences(stack)
        explore = self._generator.random(len(stack)) < epsilon
        best = preferences == preferences.max(1, keepdims=True)
        candidates = np.where(explore[:, None], preferences > -np.inf, best)
        lots = self._generator.random(preferences.shape)
        action: I64 = np.where(candidates, lots, -1).argmax(1)
        return action


class Softmax(WithGenerator):
    """Each action with the chance ``exp(preference) / sum of all``, or any with probability
    epsilon.

    The greatest sum of a preference and Gumbel noise is such a draw (Gumbel 1954; Maddison et al.
    2014, arXiv 1411.0030, section 2).
    """

    def __init__(self, preferences: Preferences, generator: np.random.Generator) -> None:
        super().__init__(generator)
        self._preferences = preferences

    def act(self, stack: Array, epsilon: float | F64) -> I64:
        """Actions ``[N]``."""
        preferences = self._preferences(stack)
        explore = self._generator.random(len(stack)) < epsilon
        even = np.where(preferences > -np.inf, 0, -np.inf)
        noise = self._generator.gumbel(size=preferences.shape)
        action: I64 = (np.where(explore[:, None], even, preferences) + noise).argmax(1)
        return action
