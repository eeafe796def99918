"""Charts of one game beside its learning curves: single games of evaluations, losses, q-values,
epsilon."""

from typing import Any

import numpy as np

from dqn.report.curves import points
from dqn.report.groups import Groups
from dqn.report.run_record import RunRecord
from dqn.web.report_parts import (
    Cell,
    Chart,
    Style,
    Table,
    as_data,
    evenly,
    finite,
    for_plotly,
    make_figure,
    number,
    style_of,
)  # fmt: skip

MOST_BOXES = 24
"""In the chart of distributions; of more evaluations some are left out."""

MEASURES = (
    ("loss", "Loss", "mean loss of the updates since the last report", "training"),
    ("held_out_q", "Q-values of held-out states",
     "mean over states of random play of the largest q-value; values that grow without end diverge",
     "evaluations"),
    ("epsilon", "Epsilon", "probability of a random action in training", "training"),
)  # fmt: skip
"""Key, title, meaning and lines of each small chart."""


def distributions(game: str, groups: Groups) -> Chart | None:
    """Boxes over the single games of evaluations; None without evaluations."""
    runs = [(run, style_of(i)) for i, (_, group) in enumerate(groups) for run in group]
    runs = [(run, style) for run, style in runs if run.evaluations]
    if not runs:
        return None
    each = max(1, MOST_BOXES // len(runs))
    longest = max(len(run.evaluations) for run, _ in runs)
    over_steps = each > 1 and longest > 1
    steps = sorted({line["step"] for run, _ in runs for line in evenly(run.evaluations, each)})
    figure = make_figure("step" if over_steps else "", "score of a game", boxmode="group")
    figure.update_xaxes(type="category")
    if over_steps:
        figure.update_xaxes(categoryorder="array", categoryarray=[f"{step:,}" for step in steps])
    words, rows = [], []
    for run, style in runs:
        chosen = evenly(run.evaluations, each)
        _add_boxes(figure, run, chosen, style, over_steps)
        last = sorted(chosen[-1]["returns"])
        words.append(
            f"{run.folder}, last evaluation: median {number(float(np.median(last)))} of "
            f"{len(last)} games from {number(last[0])} to {number(last[-1])}"
        )
        for line in chosen:
            at = Cell(run.folder), Cell(f"{line['step']:,}")
            rows.append([*at, *(Cell(number(value)) for value in _quartiles(line))])
    what = "Each box holds the middle half of an evaluation's games, its line the median; "
    what += "whiskers: the least and the greatest; marks: single games."
    if longest > each:
        shown = "the last evaluation" if each == 1 else f"{each} evaluations, evenly spaced,"
        what += f" Of each run {shown} can be seen."
    headings = ["run", "step", "least", "quarter", "median", "three quarters", "greatest"]
    return Chart(
        "Single games of the evaluations",
        f"{game}: {'; '.join(words)}.", what, as_data(figure),
        Table("Games of each evaluation drawn", headings, rows),
    )  # fmt: skip


def _add_boxes(
    figure: Any, run: RunRecord, chosen: list[dict[str, Any]], style: Style, over_steps: bool
) -> None:
    name = for_plotly(run.folder)
    # given, because Plotly's own quartiles are others, and its whiskers leave games out
    least, q1, median, q3, greatest = zip(
        *(finite(_quartiles(line)) for line in chosen), strict=True
    )
    figure.add_box(
        x=[f"{line['step']:,}" if over_steps else name for line in chosen],
        q1=q1, median=median, q3=q3, lowerfence=least, upperfence=greatest,
        y=[finite(line["returns"]) for line in chosen],
        name=name, boxpoints="all", jitter=0.6, pointpos=0, whiskerwidth=0.4, hoverinfo="y+name",
        line={"color": style.color, "width": 1.5}, fillcolor=f"{style.color}22",
        marker={"color": style.color, "symbol": style.symbol, "size": 4, "opacity": 0.6},
        showlegend=over_steps,
    )  # fmt: skip


def _quartiles(line: dict[str, Any]) -> list[float]:
    """The least of an evaluation's returns, the quarters, and the greatest."""
    return [float(value) for value in np.percentile(line["returns"], [0, 25, 50, 75, 100])]


def measures(game: str, groups: Groups, most: int) -> list[Chart]:
    """A small chart for each measure that a run has values of, in curves of at most ``most``
    points."""
    charts = [_measure(game, groups, most, *measure) for measure in MEASURES]
    return [chart for chart in charts if chart]


def _measure(
    game: str, groups: Groups, most: int, key: str, title: str, note: str, lines: str
) -> Chart | None:
    figure = make_figure("step", title.lower())
    figure.update_layout(height=300)
    figure.update_xaxes(tickformat="~s")
    words = []
    for index, (group, runs) in enumerate(groups):
        style = style_of(index)
        curves = [(run, points(getattr(run, lines), key)) for run in runs]
        curves = [(run, curve) for run, curve in curves if any(value for _, value in curve)]
        for run, curve in curves:
            steps, values = zip(*evenly(curve, most), strict=True)
            figure.add_scatter(
                x=steps, y=finite(values), name=for_plotly(group), legendgroup=index,
                showlegend=run is curves[0][0], mode="lines+markers", hoverinfo="x+y+text",
                hovertext=for_plotly(run.folder),
                line={"color": style.color, "dash": style.dash, "width": 1.5},
                marker={"color": style.color, "symbol": style.symbol, "maxdisplayed": 12},
            )  # fmt: skip
            words.append(f"{run.folder}: {values[-1]:.3g} at step {steps[-1]:,}")
    if not words:
        return None
    note = f"{note[0].upper()}{note[1:]}."
    return Chart(title, f"{game}: {title.lower()} over steps. {'; '.join(words)}.", note,
                 as_data(figure))  # fmt: skip
