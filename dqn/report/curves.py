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
HEAD = 1.0  # of a picture, for its title and legend, in inches


def read_lines(path: Path) -> Lines:
    """The objects of a .jsonl file except an incomplete last line; empty if there is no file.

    Raises:
        ValueError: a line is not JSON.
    """
    if not path.exists():
        return []
    complete, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        return [json.loads(line) for line in complete.splitlines()]
    except RecursionError as error:
        raise ValueError(error) from None


def draw_curves(folder: Path, title: str, game: str) -> None:
    """Draw ``training.jsonl`` and ``evaluations.jsonl`` into ``curves.png``, a panel for each curve
    that is not empty.

    Raises:
        OSError: the picture cannot be written; an older one is kept.
    """
    # Imported here because it takes a second.
    from matplotlib.figure import Figure

    training = read_lines(folder / "training.jsonl")
    evaluations = read_lines(folder / "evaluations.jsonl")
    held_out_q = points(evaluations, "held_out_q")
    curves = [
        ("mean largest q-value on held-out states", held_out_q, "o-", "green"),
        ("epsilon, the probability of a random action", points(training, "epsilon"), "-", "blue"),
        ("loss", points(training, "loss"), "-", "red"),
    ]
    curves = [curve for curve in curves if any(value for _, value in curve[1])]
    rows = (len(curves) + 2) // 2
    height = 3.5 * rows + HEAD
    figure = Figure(figsize=(11, height))
    figure.suptitle(title, y=1 - 0.12 / height, va="top", fontsize=13)
    # Fixed margins: a computed layout doubles the time.
    bottom, top = 0.5 / height, 1 - (HEAD + 0.3) / height
    figure.subplots_adjust(0.065, bottom, 0.985, top, wspace=0.16, hspace=0.2)
    grid = figure.subplots(rows, 2, sharex=True, squeeze=False).flatten().tolist()
    panels, unused = grid[: len(curves) + 1], grid[len(curves) + 1 :]
    for axes in unused:
        axes.remove()
    _draw_returns(panels[0], training, evaluations, game)
    for axes, (label, drawn, style, color) in zip(panels[1:], curves, strict=True):
        axes.plot(*zip(*drawn, strict=True), style_of(drawn, style), ms=5, color=f"tab:{color}")
        axes.set_title(label, loc="left", fontsize=10)
    for axes in panels:
        tidy(axes)
    for axes in panels[-2:]:
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)
    handles = panels[0].get_legend_handles_labels()
    place = 0.5, 1 - 0.42 / height
    figure.legend(
        *handles, loc="upper center", bbox_to_anchor=place, ncols=3, fontsize=9, frameon=False
    )
    with AtomicFile(folder / "curves.png") as part:
        figure.savefig(part, dpi=90, format="png")


def style_of(drawn: list[tuple[float, float]], style: str) -> str:
    """``style``, or a dot for a single point, of which a line shows nothing."""
    return style if len(drawn) > 1 else "o"


def tidy(axes: "Axes") -> None:
    """Thousands separators, few enough steps for long numbers, and lines that do not distract."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    separated = FuncFormatter(lambda value, _: f"{value:,.10g}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(separated)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


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
    drawn = points(training, "mean_return")
    if drawn:
        steps, returns = zip(*drawn, strict=True)
        label = "training episodes, mean of each report"
        axes.plot(steps, returns, style_of(drawn, "-"), color="tab:gray", alpha=0.5, label=label)
        label = f"their running mean over {SMOOTHED} reports"
        smooth = running_mean(list(returns), SMOOTHED)
        axes.plot(steps, smooth, color="black", linewidth=1, label=label)
    if evaluations:
        _draw_evaluations(axes, evaluations)
    draw_random_score(axes, game, "tab:red")
    axes.set_title("score", loc="left", fontsize=10)


def _draw_evaluations(axes: "Axes", evaluations: Lines) -> None:
    """Their means with standard errors, and thinly the range of single games, which is no measure
    of how sure a mean is."""
    steps, means = zip(*points(evaluations, "mean"), strict=True)
    games = [line["returns"] for line in evaluations]
    low, high = ([pick(returns) for returns in games] for pick in (min, max))
    label = "evaluation, single games: lowest to highest"
    axes.vlines(steps, low, high, color="tab:blue", alpha=0.3, linewidth=3, label=label)
    errors = [scores.standard_error(returns) for returns in games]
    axes.errorbar(
        steps, means, errors,
        fmt="o-", markersize=4, capsize=3, color="tab:blue",
        label="evaluation, mean of its games ± standard error",
    )  # fmt: skip
