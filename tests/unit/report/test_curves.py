"""``curves.png`` shows every curve that is not empty, and no empty panel."""

import json

import cv2
import pytest
from matplotlib.figure import Figure

from dqn.report.curves import draw_curves, points, running_mean


def test_running_mean_by_hand():
    assert running_mean([1, 3, 5, 9], 2) == [1, 2, 4, 7]
    assert running_mean([], 3) == []


def test_points_are_of_the_lines_that_have_the_key():
    lines = [{"step": 1, "loss": None}, {"step": 2, "loss": 0.5}, {"step": 3}]
    assert points(lines, "loss") == [(2, 0.5)]


@pytest.mark.parametrize("loss, epsilon, rows", [(0.5, 0.1, 2), (None, 0.0, 1), (0.5, 0.0, 1)])
def test_each_curve_has_a_panel_unless_it_is_zero(loss, epsilon, rows, tmp_path):
    lines = [
        {"step": step, "mean_return": 1.0, "loss": loss, "epsilon": epsilon} for step in (1, 2, 3)
    ]
    (tmp_path / "training.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    draw_curves(tmp_path, "a run", "CartPole-v1")
    height, width, _ = cv2.imread(str(tmp_path / "curves.png")).shape
    assert (width, height) == (990, 315 * rows + 90)


def test_a_single_report_can_be_seen(tmp_path):
    line = {"step": 5000, "mean_return": None, "loss": 0.5, "epsilon": 0.9}
    (tmp_path / "training.jsonl").write_text(f"{json.dumps(line)}\n")
    draw_curves(tmp_path, "a run", "CartPole-v1")
    picture = cv2.imread(str(tmp_path / "curves.png"))
    for name, blue_green_red in {"loss": (40, 39, 214), "epsilon": (180, 119, 31)}.items():
        assert (picture == blue_green_red).all(-1).sum() > 9, name


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    saved, savefig = [], Figure.savefig

    def save(figure, *given, **named):
        saved.append(figure)
        savefig(figure, *given, **named)

    monkeypatch.setattr(Figure, "savefig", save)
    return saved


def test_one_legend_says_what_each_bar_is_and_steps_have_separators(tmp_path, figures):
    """The thick bars are single games, the thin ones standard errors."""
    games = {100_000: [1.0, 2.0, 6.0], 200_000: [4.0]}
    lines = [
        {"step": step, "mean": sum(returns) / len(returns), "returns": returns, "held_out_q": 1.0}
        for step, returns in games.items()
    ]
    (tmp_path / "evaluations.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    draw_curves(tmp_path, "a run", "Pong")
    (figure,) = figures
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {
        "random player (published)",
        "evaluation, single games: lowest to highest",
        "evaluation, mean of its games ± standard error",
    }
    scores, values = figure.axes
    assert scores.get_legend() is values.get_legend() is None
    games_drawn, errors_drawn = (bars.get_segments() for bars in scores.collections)
    assert [[y for _, y in bar] for bar in games_drawn] == [[1, 6], [4, 4]]
    half = 7**0.5 / 3**0.5  # the variance of 1, 2 and 6 is 7
    expected = [[3 - half, 3 + half], [4, 4]]
    assert [[y for _, y in bar] for bar in errors_drawn] == [pytest.approx(e) for e in expected]
    shown = [label.get_text() for label in values.get_xticklabels()]
    assert "100,000" in shown and "200,000" in shown


def test_a_run_without_reports_can_be_drawn(tmp_path):
    draw_curves(tmp_path, "a run", "Breakout")
    assert (tmp_path / "curves.png").exists()


def test_the_black_line_is_a_running_mean_of_ten_reports(tmp_path, figures):
    lines = [{"step": step, "mean_return": 11.0 * (step == 1)} for step in range(1, 13)]
    (tmp_path / "training.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    draw_curves(tmp_path, "a run", "CartPole-v1")
    returns, smooth = figures[0].axes[0].lines
    assert list(returns.get_ydata()) == [11, *[0] * 11]
    expected = [*(11 / n for n in range(1, 11)), 0, 0]
    assert list(smooth.get_ydata()) == pytest.approx(expected)
