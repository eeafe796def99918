"""What is seen -> the row of a table."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dqn import envs
from dqn.config import ConfigError, TabularConfig
from dqn.types import I64, Array, Bool

MAX_STATES = 10_000_000
"""A table with more rows would not be filled in a lifetime."""


@dataclass(frozen=True)
class States:
    """The rows of a table, S of them."""

    index: Callable[[Array], I64]
    """``stack [N, 1, *frame]`` -> which state each shows, ``[N]``."""
    allowed: Bool
    """``[S, A]`` which actions may be taken there."""


def make_states(config: TabularConfig, spec: envs.Spec) -> States:
    """The states of a config for a game: bins, or those that the game names by itself.

    Raises:
        ConfigError: the limits of the bins are not as many as the numbers that the game shows.
    """
    if spec.one_hot and not config.limits:
        allowed = np.ones((spec.frame_shape[0], spec.num_actions), bool)
        if spec.game == envs.MAZE:
            allowed = envs.allowed_in_maze()
        return States(lambda stack: stack[:, -1].argmax(1), allowed)
    if spec.atari or len(spec.frame_shape) != 1:
        raise ConfigError(
            f"{spec.game} shows an array of {list(spec.frame_shape)}, which no table has a row for "
            "each of; use --method dqn"
        )
    (numbers,) = spec.frame_shape
    if len(config.limits) != numbers:
        raise ConfigError(
            f"tabular.limits must be {numbers}, one for each number that {spec.game} shows, not "
            f"{list(config.limits)}"
        )
    if config.bins**numbers > MAX_STATES:
        raise ConfigError(
            f"tabular.bins of {config.bins} for each of {numbers} numbers are "
            f"{config.bins**numbers:,} states, more than {MAX_STATES:,}; name fewer"
        )
    limits = np.array(config.limits)

    def index(stack: Array) -> I64:
        return bins_of(stack[:, -1], limits, config.bins)

    return States(index, np.ones((config.bins**numbers, spec.num_actions), bool))


def one_state(spec: envs.Spec) -> States:
    """For who does not look; in the maze the walls are felt all the same."""
    if spec.game == envs.MAZE:
        return make_states(TabularConfig(), spec)
    return States(
        lambda stack: np.zeros(len(stack), np.int64), np.ones((1, spec.num_actions), bool)
    )


def bins_of(seen: Array, limits: Array, bins: int) -> I64:
    """Cut each of D numbers ``seen [N, D]`` into ``bins`` equal parts of ``-limit .. limit``, and
    count them as the digits of one number ``[N]``; the parts at the ends reach on for ever."""
    places = np.floor((seen / limits + 1) / 2 * bins)  # [N, D]
    digits = np.clip(places, 0, bins - 1).astype(np.int64)
    return digits @ bins ** np.arange(len(limits))[::-1]
