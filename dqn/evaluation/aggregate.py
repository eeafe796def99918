"""Scores of several games as one number: the statistics of Agarwal et al. 2021 (arXiv 2108.13264),
with intervals by a bootstrap that draws runs anew within each game."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dqn.seeds import numpy_generator
from dqn.types import Array

RESAMPLES = 20_000
"""Draws of the bootstrap: the ends of an interval then vary by about a hundredth of its width."""


class Estimate(NamedTuple):
    """A statistic and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Sequence[Array]) -> Array:
    """Mean of the middle half of all runs of all games, ``[R]`` of ``[R, runs]`` for each game."""
    # Imported here because it takes half a second.
    from scipy import stats

    return np.asarray(stats.trim_mean(np.concatenate(scores, 1), 0.25, axis=1))


def median(scores: Sequence[Array]) -> Array:
    """Median over the games of the mean over a game's runs, ``[R]``."""
    return np.asarray(np.median(np.stack([game.mean(1) for game in scores], 1), axis=1))


def optimality_gap(scores: Sequence[Array]) -> Array:
    """How far the runs fall short of 1, the human score, on average, ``[R]``; a run above it does
    not make up for another."""
    return np.asarray(1 - np.minimum(np.concatenate(scores, 1), 1).mean(1))


STATISTICS: dict[str, Callable[[Sequence[Array]], Array]] = {
    "IQM": interquartile_mean,
    "median": median,
    "optimality gap": optimality_gap,
}


def aggregate(scores: Sequence[Sequence[float]]) -> dict[str, Estimate]:
    """The statistics of human-normalised scores: a sequence of runs for each game.

    A game with a single run says nothing of how much runs differ: the intervals are then infinite.
    """
    games = [np.asarray(game, np.float64) for game in scores]
    if not games or min(map(len, games)) == 0:
        raise ValueError("expected one or more runs of one or more games")
    point = [game[np.newaxis] for game in games]
    values = {name: float(statistic(point)[0]) for name, statistic in STATISTICS.items()}
    if min(map(len, games)) == 1:
        return {name: Estimate(value, -np.inf, np.inf) for name, value in values.items()}
    generator = numpy_generator(0, "bootstrap")
    drawn = [game[generator.integers(len(game), size=(RESAMPLES, len(game)))] for game in games]
    ends = {
        name: np.percentile(statistic(drawn), [2.5, 97.5]) for name, statistic in STATISTICS.items()
    }
    return {name: Estimate(value, *map(float, ends[name])) for name, value in values.items()}
