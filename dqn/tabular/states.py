"""Discrete states: which row of a table an observation belongs to."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dqn import envs
from dqn.config import ConfigError, TabularConfig
from dqn.envs.maze import allowed as allowed_in_maze
from dqn.types import I64, Array, Bool

MAX_STATES = 10_000_000
"""The largest table allowed; one with more rows could never be filled."""


@dataclass(frozen=True)
class States:
    """A game's S discrete states."""

    index: Callable[[Array], I64]
    """``stack [N, 1, *frame]`` -> the number of each state, ``[N]``."""
    allowed: Bool
    """``[S, A]`` which actions are allowed in each state."""


def make_states(config: TabularConfig, spec: envs.Spec) -> States:
    """The states of a game: those of a discrete observation, or bins of a vector.

    Raises:
        ConfigError: the game's observations cannot be binned, or not with these settings.
    """
    if spec.one_hot and not config.limits:
        allowed = np.ones((spec.frame_shape[0], spec.num_actions), bool)
        if spec.game == envs.MAZE:
            allowed = allowed_in_maze()
        return States(lambda stack: stack[:, -1].argmax(1), allowed)
    if spec.atari or len(spec.frame_shape) != 1:
        raise ConfigError(
            f"{spec.game} has observations of shape {list(spec.frame_shape)}, which are too many "
            "for a table; use --method dqn"
        )
    (dimensions,) = spec.frame_shape
    if len(config.limits) != dimensions:
        raise ConfigError(
            f"tabular.limits must have {dimensions} entries, one for each number that {spec.game} "
            f"observes, not {list(config.limits)}"
        )
    if config.bins**dimensions > MAX_STATES:
        raise ConfigError(
            f"tabular.bins of {config.bins} in each of {dimensions} dimensions are "
            f"{config.bins**dimensions:,} states, more than {MAX_STATES:,}; use fewer bins"
        )
    limits = np.array(config.limits)
    allowed = np.ones((config.bins**dimensions, spec.num_actions), bool)
    return States(lambda stack: bin_index(stack[:, -1], limits, config.bins), allowed)


def random_policy_states(spec: envs.Spec) -> States:
    """A single state, as a random policy ignores observations; in the maze its nine states, since
    they decide which actions are allowed."""
    if spec.game == envs.MAZE:
        return make_states(TabularConfig(), spec)
    return States(
        lambda stack: np.zeros(len(stack), np.int64), np.ones((1, spec.num_actions), bool)
    )


def bin_index(values: Array, limits: Array, bins: int) -> I64:
    """Divide each of D values ``[N, D]`` into ``bins`` equal intervals of ``-limit .. limit``, and
    combine their numbers as the digits of one index ``[N]``. The outer intervals are unbounded."""
    interval = np.floor((values / limits + 1) / 2 * bins)  # [N, D]
    digits = np.clip(interval, 0, bins - 1).astype(np.int64)
    return digits @ bins ** np.arange(len(limits))[::-1]
