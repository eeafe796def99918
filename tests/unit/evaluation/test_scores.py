"""Published scores: the table is complete, the arithmetic is right."""

import csv
import math

import numpy as np
import pytest
from ale_py import roms

from dqn.evaluation import scores

with scores.TABLE.open(encoding="utf-8") as table:
    NAMES, *ROWS = csv.reader(table)
GAMES = [row[0] for row in ROWS]
WITHOUT_HUMAN = {"AirRaid", "Carnival", "ElevatorAction", "JourneyEscape", "Pooyan"}


def test_every_game_is_a_rom_that_ale_py_carries():
    assert len(set(GAMES)) == 62
    assert set(GAMES) <= {rom.title().replace("_", "") for rom in roms.get_all_rom_ids()}


def test_random_and_human_cover_the_57_games():
    covered = {game for game in GAMES if scores.random_score(game) is not None}
    assert covered == {game for game in GAMES if scores.human_score(game) is not None}
    assert set(GAMES) - covered == WITHOUT_HUMAN


def test_human_normalised():
    for game, score, expected in (
        ("Breakout", 30.5, 1.0),  # the human's own score
        ("Breakout", 1.7, 0.0),  # random play's
        ("Breakout", 401.2, 13.871527777777778),  # (401.2 - 1.7) / (30.5 - 1.7) = 399.5 / 28.8
        ("Pong", -3.05, 0.5),  # 17.65 / 35.3
        ("Freeway", 14.8, 0.5),  # 14.8 / 29.6
    ):
        assert scores.human_normalised(game, score) == pytest.approx(expected, abs=1e-12), game
    assert scores.human_normalised("Pooyan", 1000) is None
    assert scores.human_normalised("CartPole-v1", 500) is None


def test_published_has_every_number_and_no_empty_cell():
    pong = scores.published("Pong")
    assert NAMES == ["game", "random", "human", *scores.COLUMNS]
    assert list(pong) == NAMES[3:]  # a game that every source has, in the order shown
    assert (pong["nature_dqn"], pong["dqn_noop"], pong["dopamine_dqn_200m"]) == (18.9, 19.5, 19.48)
    assert "rainbow_noop" not in scores.published("Jamesbond")
    assert "nature_dqn" not in scores.published("AirRaid")
    assert "dopamine_dqn_40m" not in scores.published("Surround")
    assert scores.published("NoSuchGame") == {}


AGGREGATES = [  # in percent, computed independently from the sources: a shifted row would show
    # games, median, interquartile mean, games above a human
    ("nature_dqn", 49, 79, 95, 22),
    ("dqn_noop", 57, 79, 89, 24),
    ("double_dqn_noop", 57, 118, 136, 33),
    ("prioritized_noop", 54, 137, 197, 34),
    ("dueling_noop", 57, 151, 201, 37),
    ("c51_noop", 57, 178, 211, 40),
    ("qr_dqn_noop", 57, 211, 280, 41),
    ("iqn_noop", 57, 238, 305, 40),
    ("rainbow_noop", 54, 227, 271, 40),
    ("dopamine_dqn_40m", 55, 64, 75, 19),
    ("dopamine_dqn_200m", 55, 109, 141, 29),
    ("dopamine_rainbow_200m", 55, 135, 167, 37),
    ("dopamine_iqn_200m", 55, 140, 195, 37),
    ("dopamine_impala_iqn_40m", 55, 172, 229, 36),
    ("pfrl_dqn_200m", 55, 70, 84, 20),
]


def test_columns_have_their_known_aggregates():
    rows = [(game, scores.published(game)) for game in set(GAMES) - WITHOUT_HUMAN]
    for column, games, median, interquartile, above_human in AGGREGATES:
        found = [scores.human_normalised(game, row[column]) for game, row in rows if column in row]
        quarter = games // 4
        middle = np.sort(found)[quarter : games - quarter]
        assert (len(found), sum(value > 1 for value in found)) == (games, above_human), column
        assert round(100 * float(np.median(found))) == median, column
        assert round(100 * float(middle.mean())) == interquartile, column


def test_every_column_has_its_agent_and_protocol():
    for name, column in scores.COLUMNS.items():
        assert column.agent and column.protocol
        assert column.frames_millions == (40 if name.endswith("_40m") else 200)
        assert ("sticky actions .25" in column.protocol) == name.startswith("dopamine")


def test_mean_interval_by_hand():
    # 2, 4, 6: mean 4, deviation 2, error 2 / sqrt(3) = 1.1547, t(2) = 4.3027
    assert scores.mean_interval([2, 4, 6]) == pytest.approx((4, -0.96833, 8.96833), abs=1e-4)
    assert scores.mean_interval([7, 7, 7, 7]) == (7, 7, 7)
    assert scores.mean_interval([7]) == (7, -math.inf, math.inf)
    with pytest.raises(ValueError, match="one or more"):
        scores.mean_interval([])


def test_student_quantiles():
    """As tables have them; the expansion for 10 degrees of freedom and more is a little below."""
    table = {
        1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 6: 2.44691, 7: 2.36462,
        8: 2.306, 9: 2.26216, 10: 2.22814, 12: 2.17881, 15: 2.13145, 20: 2.08596, 29: 2.04523,
        60: 2.0003, 120: 1.97993, 1000: 1.96234,
    }  # fmt: skip
    for freedom, quantile in table.items():
        returns = np.arange(freedom + 1.0)
        mean, _, high = scores.mean_interval(returns)
        ours = (high - mean) / (returns.std(ddof=1) / math.sqrt(freedom + 1))
        below = 2e-4 if freedom > 9 else 1e-5
        assert -1e-5 < quantile - ours < below, freedom


def test_median_interval_by_hand():
    """Of n values k fall below the median as often as heads of n coins."""
    assert scores.median_interval([7]) == (7, 7, 7, 0)
    assert scores.median_interval([3, 1, 2]) == (2, 1, 3, 0.75)
    assert scores.median_interval([5, 1, 2, 9, 3]) == (3, 1, 9, 1 - 2 / 32)
    nine = [1, 2, 3, 4, 5, 6, 7, 8, 100]
    assert scores.median_interval(nine) == (5, 2, 8, 1 - 2 * (1 + 9) / 512)
    with pytest.raises(ValueError, match="one or more"):
        scores.median_interval([])


def test_published_curves_end_at_the_published_scores():
    """Which average the 38th to the 40th million frames, and the last five."""
    games = [game for game in GAMES if scores.published_curves(game)]
    assert len(games) == 10
    assert scores.published_curves("Maze-v0") == ()
    for game in games:
        table = scores.published(game)
        for agent in scores.published_curves(game):
            name = agent.agent.lower().replace(" ", "_")
            assert len(agent.returns) == 200
            assert agent.protocol == scores.COLUMNS[f"{name}_40m"].protocol
            assert np.mean(agent.returns[37:40]) == pytest.approx(table[f"{name}_40m"], rel=1e-3)
            assert np.mean(agent.returns[195:]) == pytest.approx(table[f"{name}_200m"], rel=1e-3)
