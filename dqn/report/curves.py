"""``curves.png``: a run's returns, evaluations, epsilon and loss so far."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dqn.evaluation import scores
from dqn.storage.files import AtomicFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = list[dict[str, Any]]

SMOOTHED = 10  # reports averaged in the running mean of the training return


def read_lines(path: Path) -> Lines:
    """The objects of a .jsonl file except an incomplete last line; empty if there is no file."""
    if not path.exists():
        return []
    complete, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in complete.splitlines()]


def draw_curves(folder: Path, title: str, game: str) -> None:
    """Draw ``training.jsonl`` and ``evaluations.jsonl`` into ``curves.png``, a panel for each curve
    that is not empty.

    Raises:
        OSError: the picture cannot be written; an older one is kept.
    """
    # Imported here because it takes a second.
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    training = read_lines(folder / "training.jsonl")
    evaluations = read_lines(folder / "evaluations.jsonl")
    curves = [
        ("mean max Q on held-out states", points(evaluations, "held_out_q"), "o-", "green"),
        ("epsilon", points(training, "epsilon"), "-", "blue"),
        ("loss", points(training, "loss"), "-", "red"),
    ]
    curves = [curve for curve in curves if any(value for _, value in curve[1])]
    rows = (len(curves) + 2) // 2
    figure = Figure(figsize=(11, 3.5 * rows))
    figure.suptitle(title)
    # Fixed margins: a computed layout doubles the time.
    figure.subplots_adjust(0.07, 0.14 / rows, 0.98, 1 - 0.14 / rows, wspace=0.22, hspace=0.06)
    grid = figure.subplots(rows, 2, sharex=True, squeeze=False).flatten().tolist()
    panels, unused = grid[: len(curves) + 1], grid[len(curves) + 1 :]
    for axes in unused:
        axes.remove()
    _draw_returns(panels[0], training, evaluations, game)
    for axes, (label, drawn, style, color) in zip(panels[1:], curves, strict=True):
        style = style if len(drawn) > 1 else "o"  # a line needs two points
        axes.plot(*zip(*drawn, strict=True), style, color=f"tab:{color}")
        axes.set_ylabel(label)
    for axes in panels:
        axes.grid(alpha=0.3)
    for axes in panels[-2:]:
        axes.set_xlabel("step")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # six digits would overlap
        axes.tick_params(labelbottom=True)
    with AtomicFile(folder / "curves.png") as part:
        figure.savefig(part, dpi=90, format="png")


def points(lines: Lines, key: str, over: str = "step") -> list[tuple[float, float]]:
    """``(step, value)`` of each line that has the key; ``over`` replaces ``step``."""
    return [(line[over], line[key]) for line in lines if line.get(key) is not None]


def running_mean(values: list[float], window: int) -> list[float]:
    """The mean of each value and up to ``window - 1`` values before it."""
    parts = (values[max(0, end - window) : end] for end in range(1, len(values) + 1))
    return [sum(part) / len(part) for part in parts]


def draw_random_score(axes: "Axes", game: str, color: str) -> None:
    """A dotted line at the published score of random play, if there is one."""
    if (score := scores.random_score(game)) is not None:
        axes.axhline(score, color=color, linestyle=":", label="random player (published)")


def _draw_returns(axes: "Axes", training: Lines, evaluations: Lines, game: str) -> None:
    ended = points(training, "mean_return")
    steps, returns = [step for step, _ in ended], [value for _, value in ended]
    if returns:
        style, label = "-" if len(returns) > 1 else "o", "training episodes (mean per report)"
        axes.plot(steps, returns, style, color="tab:gray", alpha=0.5, label=label)
    if len(returns) > 1:
        smooth, label = running_mean(returns, SMOOTHED), f"running mean over {SMOOTHED} reports"
        axes.plot(steps, smooth, color="black", linewidth=1, label=label)
    if evaluations:
        evaluated, means = zip(*points(evaluations, "mean"), strict=True)
        worst, best = ([pick(e["returns"]) for e in evaluations] for pick in (min, max))
        label = "evaluation, worst to best"
        axes.fill_between(evaluated, worst, best, color="tab:blue", alpha=0.15, label=label)
        axes.plot(evaluated, means, "o-", color="tab:blue", label="evaluation, mean")
    draw_random_score(axes, game, "tab:red")
    axes.set_ylabel("score")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
