"""Statistics over games, against numbers worked by hand and those of rliable."""

import math

import numpy as np
import pytest

from dqn.evaluation.aggregate import Estimate, aggregate, normalised_scores, performance_profile


def values(scores):
    found = aggregate(scores)
    return [found[name].value for name in ("IQM", "median", "optimality gap")]


def test_by_hand():
    # All runs in order: 0 0 | .2 .4 .4 1.4 | 1.4 9, and the middle half has a mean of 2.4 / 4. The
    # games' means are .15, 1.4 and 4.7.
    scores = [[0.2, 0, 0.4, 0], [1.4, 1.4], [0.4, 9.0]]
    assert values(scores) == pytest.approx([0.6, 1.4, 1 - (0.2 + 0.4 + 0.4 + 3) / 8])


def test_rliables_own_examples():
    """tests/rliable/metrics_test.py of google-research/rliable; its rows are runs."""
    x, y = np.array([[1, 2], [2, 2], [1, 1], [2, 1]]), np.array([[1, 1], [2, 2], [3, 3]])
    assert values(x.T)[:2] == [1.5, 1.5]
    assert values(y.T)[:2] == [2, 2]


def test_rliables_values_and_intervals():
    """rliable 1.2.0 (arch 7.2.0), get_interval_estimates with its 50,000 draws, of these scores."""
    runs = [
        [0.12, 1.31, 0.74, 0.05], [0.31, 2.05, 0.66, -0.02], [0.22, 0.88, 0.91, 0.11],
        [0.55, 1.62, 0.43, 0.07], [0.08, 1.19, 1.12, 0.02],
    ]  # fmt: skip
    theirs = {
        "IQM": (0.493, 0.388, 0.627),
        "median": (0.514, 0.390, 0.643),
        "optimality gap": (0.4935, 0.434, 0.5525),
    }
    found = aggregate(np.transpose(runs).tolist())
    for name, (value, low, high) in theirs.items():
        assert found[name].value == pytest.approx(value, abs=1e-9), name
        assert found[name][1:] == pytest.approx((low, high), abs=0.005), name


def test_each_game_keeps_its_own_runs():
    """Runs of two games that never mix: an unstratified draw would have a wide interval."""
    found = aggregate([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])
    assert found["IQM"] == pytest.approx((0.5, 0.5, 0.5))


def test_an_estimate_in_words():
    assert str(Estimate(0.25, 0, 1 / 3)) == "0.250 [0.000, 0.333]"
    assert str(Estimate(0.25, -math.inf, math.inf)) == "0.250 [-]"


def test_one_run_of_a_game_has_no_interval():
    assert aggregate([[0.5], [0.2, 0.4]])["median"] == (pytest.approx(0.4), -np.inf, np.inf)
    with pytest.raises(ValueError, match="one or more runs"):
        aggregate([[0.5], []])


def test_a_performance_profile_by_hand():
    """The fraction of runs above a score; its interval is that of the fraction over draws."""
    games = [[0.1, 0.5], [0.2, 0.8], [0.9, 0.9]]
    profile = performance_profile(games, [0, 0.2, 0.85, 2])
    assert [point.value for point in profile] == pytest.approx([1, 4 / 6, 2 / 6, 0])
    assert [(point.low, point.high) for point in profile] == [
        (1, 1), (pytest.approx(2 / 6), pytest.approx(1)), (pytest.approx(2 / 6),) * 2, (0, 0)
    ]  # fmt: skip
    assert performance_profile([[0.5]], [0.2]) == [(1, -np.inf, np.inf)]


def test_games_that_every_config_has_played_and_whose_human_score_is_known():
    means = {("Pong", "a"): [14.6, -20.7], ("Pong", "b"): [14.6], ("Breakout", "a"): [1.0]}
    unscored = {("AirRaid", name): [1.0] for name in "ab"}
    games, scores = normalised_scores(means | unscored)
    assert games == ["Pong"]
    assert scores == {"a": [[pytest.approx(1), pytest.approx(0)]], "b": [[pytest.approx(1)]]}
