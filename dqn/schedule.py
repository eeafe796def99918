"""Schedules: what is due at which step, and the values of epsilon and the learning rate.

All are pure functions of the step counter, so there is nothing to save; none reads
``total_steps``, so extending a run gives the same result as a long run.
"""

import numpy as np

from dqn.config import Config
from dqn.types import F64


def due(before: int, after: int, period: int) -> int:
    """Number of multiples of ``period`` in ``(before, after]``.

    Also correct when the counter advances by N environments at a time: ``due(6, 14, 4) == 2``.
    """
    assert 0 <= before <= after and period >= 1, (before, after, period)
    return after // period - before // period


def linear(step: int, start: float, end: float, begin: int, duration: int) -> float:
    """``start`` until ``begin``, then linear to ``end`` over ``duration`` steps, then ``end``."""
    if duration == 0:
        return start if step < begin else end
    progress = min(max((step - begin) / duration, 0.0), 1.0)
    return start + progress * (end - start)


def spread_epsilon(epsilon: float, num_envs: int, spread: float) -> F64:
    """Epsilon per environment ``[N]``, from ``epsilon`` to ``epsilon ** (1 + spread)``: Horgan et
    al. 2018 (arXiv 1803.00933), section 4.1, where spread is called alpha."""
    return np.float64(epsilon) ** (1 + spread * np.arange(num_envs) / max(num_envs - 1, 1))


def epsilons(config: Config, step: int) -> F64:
    """Probability of a random action in each environment at ``step``, ``[N]``."""
    return spread_epsilon(epsilon(config, step), config.num_envs, config.exploration.spread)


def epsilon(config: Config, step: int) -> float:
    """Probability of a random action in the first environment."""
    exploration = config.exploration
    if exploration.epsilon_off_step is not None and step >= exploration.epsilon_off_step:
        return 0.0
    start, end = exploration.epsilon_start, exploration.epsilon_end
    return linear(step, start, end, config.learning_starts, exploration.epsilon_decay_steps)


def learning_rate(config: Config, step: int) -> float:
    """Learning rate at ``step``."""
    optimizer = config.optimizer
    start, end = optimizer.learning_rate, optimizer.learning_rate_end
    if end is None:
        return start
    return linear(step, start, end, config.learning_starts, optimizer.learning_rate_decay_steps)


def updates_due(config: Config, before: int, after: int) -> int:
    """Number of updates due in ``(before, after]``; none until ``learning_starts``."""
    starts = config.learning_starts
    return due(max(before, starts), max(after, starts), config.learner.update_period)
