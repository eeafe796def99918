"""Scores of several games as one number: the statistics of Agarwal et al. 2021 (arXiv 2108.13264),
with intervals by a bootstrap that draws runs anew within each game."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dqn.evaluation import scores
from dqn.seeds import numpy_generator
from dqn.types import Array

RESAMPLES = 20_000
"""Draws of the bootstrap: the ends of an interval then vary by about a hundredth of its width."""


class Estimate(NamedTuple):
    """A statistic and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        ends = f"{self.low:.3f}, {self.high:.3f}" if np.isfinite(self.low) else "-"
        return f"{self.value:.3f} [{ends}]"


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


def normalised_scores(
    means: Mapping[tuple[str, str], Sequence[float]],
) -> tuple[list[str], dict[str, list[list[float]]]]:
    """The games whose human score is known and that every config has been trained on, and each
    config's human-normalised scores: a sequence of runs for each of these games.

    ``means`` has the scores of the runs by game and config.
    """
    games = list(dict.fromkeys(game for game, _ in means))
    names = list(dict.fromkeys(name for _, name in means))
    known = [game for game in games if scores.human_score(game) is not None]
    usable = [game for game in known if all(means.get((game, name)) for name in names)]
    return usable, {
        name: [
            [float(scores.human_normalised(game, score) or 0) for score in means[game, name]]
            for game in usable
        ]
        for name in names
    }


def aggregate(games: Sequence[Sequence[float]]) -> dict[str, Estimate]:
    """The statistics of human-normalised scores: a sequence of runs for each game.

    A game with a single run says nothing of how much runs differ: the intervals are then infinite.
    """
    point, drawn = _point_and_draws(games)
    values = {name: float(statistic(point)[0]) for name, statistic in STATISTICS.items()}
    if drawn is None:
        return {name: Estimate(value, -np.inf, np.inf) for name, value in values.items()}
    ends = {
        name: np.percentile(statistic(drawn), [2.5, 97.5]) for name, statistic in STATISTICS.items()
    }
    return {name: Estimate(value, *map(float, ends[name])) for name, value in values.items()}


def performance_profile(
    games: Sequence[Sequence[float]], thresholds: Sequence[float]
) -> list[Estimate]:
    """The fraction of all runs that score above each threshold, with intervals as ``aggregate``."""
    point, drawn = _point_and_draws(games)
    profile = []
    for threshold in thresholds:
        value, low, high = float((np.concatenate(point, 1) > threshold).mean()), -np.inf, np.inf
        if drawn is not None:
            above = sum((game > threshold).sum(1) for game in drawn)
            low, high = np.percentile(above / sum(map(len, games)), [2.5, 97.5])
        profile.append(Estimate(value, float(low), float(high)))
    return profile


def _point_and_draws(runs: Sequence[Sequence[float]]) -> tuple[list[Array], list[Array] | None]:
    """The scores ``[1, runs]`` of each game, and the bootstrap's ``[RESAMPLES, runs]``; None if a
    game has a single run."""
    games = [np.asarray(game, np.float64) for game in runs]
    if not games or min(map(len, games)) == 0:
        raise ValueError("expected one or more runs of one or more games")
    point = [game[np.newaxis] for game in games]
    if min(map(len, games)) == 1:
        return point, None
    generator = numpy_generator(0, "bootstrap")
    return point, [
        game[generator.integers(len(game), size=(RESAMPLES, len(game)))] for game in games
    ]
