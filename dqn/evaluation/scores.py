"""Published Atari scores, human-normalised scores and confidence intervals.

``data/README.md`` gives the source and protocol of each column of ``data/atari_scores.csv``. Games
are spelled as in Gymnasium: ``SpaceInvaders``.
"""

import csv
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dqn.types import Array

TABLE = Path(__file__).parent / "data" / "atari_scores.csv"
CURVES = TABLE.with_name("dopamine_curves.csv")


class Curve(NamedTuple):
    """A published learning curve."""

    agent: str
    protocol: str
    returns: tuple[float, ...]
    """Mean return in each million emulator frames."""


class Column(NamedTuple):
    """Agent and evaluation protocol of one column of published scores."""

    agent: str
    frames_millions: int
    """Emulator frames of training."""
    protocol: str


_BEST = "no sticky actions, 30 no-ops, best snapshot evaluated"
_STICKY = "sticky actions .25, training return, mean of 5 seeds"
_CLEANRL = "no sticky actions, 30 no-ops, training return, mean of 3 seeds"

COLUMNS: dict[str, Column] = {
    "nature_dqn": Column("DQN (Mnih et al. 2015)", 200, _BEST),
    "dqn_noop": Column("DQN (Hessel et al. 2018)", 200, _BEST),
    "double_dqn_noop": Column("Double DQN", 200, _BEST),
    "prioritized_noop": Column("Prioritized Double DQN", 200, _BEST),
    "dueling_noop": Column("Dueling Double DQN", 200, _BEST),
    "c51_noop": Column("C51", 200, _BEST),
    "qr_dqn_noop": Column("QR-DQN-1", 200, _BEST),
    "iqn_noop": Column("IQN", 200, _BEST),
    "rainbow_noop": Column("Rainbow", 200, _BEST),
    "dopamine_dqn_40m": Column("Dopamine DQN", 40, _STICKY),
    "dopamine_dqn_200m": Column("Dopamine DQN", 200, _STICKY),
    "dopamine_rainbow_40m": Column("Dopamine Rainbow", 40, _STICKY),
    "dopamine_rainbow_200m": Column("Dopamine Rainbow", 200, _STICKY),
    "dopamine_iqn_40m": Column("Dopamine IQN", 40, _STICKY),
    "dopamine_iqn_200m": Column("Dopamine IQN", 200, _STICKY),
    "dopamine_impala_iqn_40m": Column("Dopamine IQN, IMPALA torso", 40, _STICKY),
    "cleanrl_dqn_40m": Column("CleanRL DQN", 40, _CLEANRL),
    "pfrl_dqn_200m": Column("PFRL DQN", 200, _BEST),
}
"""The columns of ``published``, in display order."""


@functools.cache
def _table() -> dict[str, dict[str, float]]:
    """``{game: {column: score}}`` without empty cells."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {
            row.pop("game"): {name: float(cell) for name, cell in row.items() if cell}
            for row in csv.DictReader(file)
        }


def random_score(game: str) -> float | None:
    """Published mean score of random play, or None."""
    return _table().get(game, {}).get("random")


def human_score(game: str) -> float | None:
    """Published mean score of a professional human tester, or None."""
    return _table().get(game, {}).get("human")


def human_normalised(game: str, score: float) -> float | None:
    """``(score - random) / (human - random)``: 0 is random play, 1 is the human tester; None if
    those two scores are not published."""
    low, high = random_score(game), human_score(game)
    if low is None or high is None:
        return None
    return (score - low) / (high - low)


def published(game: str) -> dict[str, float]:
    """Published agents' scores in ``game``, in the order of ``COLUMNS``; may be empty."""
    row = _table().get(game, {})
    return {column: row[column] for column in COLUMNS if column in row}


@functools.cache
def published_curves(game: str) -> tuple[Curve, ...]:
    """Published learning curves in ``game``; may be empty."""
    with CURVES.open(newline="", encoding="utf-8") as file:
        return tuple(
            Curve(f"Dopamine {agent}", _STICKY, tuple(map(float, returns)))
            for name, agent, *returns in csv.reader(file)
            if name == game
        )


def standard_error(returns: Sequence[float] | Array) -> float:
    """Of the mean of some returns; 0 of a single one."""
    values = np.asarray(returns, np.float64)
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def mean_interval(returns: Sequence[float] | Array) -> tuple[float, float, float]:
    """Mean, and lower and upper end of its 95 % confidence interval (Student's t).

    Not the bootstrap, which is far too narrow for 3 or 5 seeds. A single return has an infinite
    interval.
    """
    values = np.asarray(returns)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"expected one or more returns, got shape {values.shape}")
    mean = float(values.mean())
    if len(values) == 1:
        return mean, -math.inf, math.inf
    # Imported here because it takes half a second.
    from scipy import stats

    half = float(stats.t.ppf(0.975, len(values) - 1)) * standard_error(values)
    return mean, mean - half, mean + half


def median_interval(values: Sequence[float]) -> tuple[float, float, float, float]:
    """Median, lower and upper end of an interval for the median of all seeds, and how sure that is.

    The ends are two of the values, which needs no assumption of how scores are distributed: the
    innermost pair that holds the median with 95 % confidence, or of fewer than six values the least
    and the greatest (of three 75 %, of a single one 0).
    """
    ordered = sorted(map(float, values))
    count = len(ordered)
    if not count:
        raise ValueError("expected one or more values")

    def confidence(left_out: int) -> float:
        tail = sum(math.comb(count, k) for k in range(left_out + 1))
        return 1 - tail / float(2 ** (count - 1))

    inner = 0
    while confidence(inner + 1) >= 0.95:
        inner += 1
    ends = ordered[inner], ordered[count - 1 - inner]
    return float(np.median(ordered)), *ends, confidence(inner)
