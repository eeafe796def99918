"""Learning curves of one game, over steps and over wall time, with what others published behind."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dqn.config.words import counted
from dqn.report.curves import SMOOTHED, points, running_mean
from dqn.report.groups import Groups, OverSeeds, over_seeds
from dqn.report.run_record import Axis, RunRecord
from dqn.web.report_captions import by_time, drawable, in_words, over_steps, where
from dqn.web.report_parts import (
    Cell,
    Chart,
    Published,
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
from dqn.web.report_published import draw_published_curves, draw_published_scores

MOST_POINTS, LEAST_POINTS, ALL_POINTS = 200, 20, 6_000
"""Of a curve; of all curves of a chart, over all games of a page."""
HOURS_FROM = 180
"""Minutes from which on wall time is in hours."""


class Scale(NamedTuple):
    """Over what curves are drawn, and how finely."""

    axis: Axis
    unit: float
    """Minutes in an hour if the axis is in hours; else 1."""
    most_points: int
    """Of a curve."""


def most_points(runs: int) -> int:
    """Of a curve on a page of so many runs, which is to stay small."""
    return max(LEAST_POINTS, min(MOST_POINTS, ALL_POINTS // runs))


def learning_curves(
    game: str, groups: Groups, axis: Axis, published: Sequence[Published], most: int
) -> Chart | None:
    """The score of each config over steps or wall time, in curves of at most ``most`` points; None
    if no run has a point to draw."""
    reach = _reach(groups, axis)
    if not reach:
        return None
    unit = 60.0 if axis == "minutes" and reach > HOURS_FROM else 1.0
    title = "step" if axis == "step" else f"wall time, {'hours' if unit == 60 else 'minutes'}"
    figure = make_figure(title, "score", xaxis_range=[0, 1.03 * reach / unit])
    figure.update_xaxes(tickformat="~s" if axis == "step" else "")
    if axis == "step":
        draw_published_curves(figure, game, reach, published)
    scale = Scale(axis, unit, most)
    for index, (name, runs) in enumerate(groups):
        _draw_config(figure, for_plotly(name), runs, scale, style_of(index))
    draw_published_scores(figure, published)
    return Chart(
        f"Score over {'steps' if axis == 'step' else 'wall time'}",
        in_words(game, groups, axis, published),
        over_steps(groups, published) if axis == "step" else by_time(groups),
        as_data(figure),
        _numbers(groups, most) if axis == "step" else None,
    )


def _reach(groups: Groups, axis: Axis) -> float:
    """How far the longest run is."""
    ends = [
        line[axis]
        for _, runs in groups
        for run in runs
        for line in (*run.training[-1:], *run.evaluations[-1:])
        if line[axis] is not None
    ]
    return float(max(ends, default=0))


def _draw_config(
    figure: go.Figure, name: str, runs: list[RunRecord], scale: Scale, style: Style
) -> None:
    axis, unit, most = scale
    first = len(figure.data)
    for run in runs:
        _draw_training(figure, name, run, scale, style)
    curve = evenly(over_seeds(runs, axis), most) if len(runs) > 1 else []
    if curve:
        _draw_band(figure, curve, unit, style)
    for run in runs:
        _draw_run(figure, name, run, scale, style, is_alone=not curve)
    if curve:
        seeds = [run.config.seed for run in runs]
        hover = [
            f"{name}<br>median {number(point.median)} at {where(point.at, axis)}<br>"
            + "<br>".join(
                f"seed {seed}: {number(value)}"
                for seed, value in zip(seeds, point.values, strict=True)
            )
            for point in curve
        ]
        _add_line(
            figure, [point.at / unit for point in curve], [point.median for point in curve],
            style, name=f"{name} (median of {len(runs)} seeds)", mode="lines+markers",
            line={"width": 2.5}, marker={"size": 8}, hovertext=hover,
        )  # fmt: skip
    if drawn := figure.data[first:]:  # the median, or else an evaluated run, or else a training
        max(drawn, key=lambda trace: trace.line.width).showlegend = True


def _draw_training(
    figure: go.Figure, name: str, run: RunRecord, scale: Scale, style: Style
) -> None:
    """Training returns, a running mean, thin; with marks if they are all that is known of a run."""
    axis, unit, most = scale
    reports = [line for line in run.training if line[axis] is not None]
    returns = points(reports, "mean_return", axis)
    if len(returns) > 1:
        steps, values = zip(*returns, strict=True)
        over, smooth = evenly(steps, most), evenly(running_mean(list(values), SMOOTHED), most)
        look: dict[str, Any] = {"mode": "lines", "hoverinfo": "skip"}
        if not drawable(run, axis):
            seed = f"{name}, seed {run.config.seed}, training"
            look = {"mode": "lines+markers", "marker": {"maxdisplayed": 12}, "hovertext": seed}
        _add_line(
            figure, [at / unit for at in over], smooth, style, name=name,
            line={"width": 1}, opacity=0.6, **look,
        )  # fmt: skip


def _draw_run(
    figure: go.Figure, name: str, run: RunRecord, scale: Scale, style: Style, is_alone: bool
) -> None:  # fmt: skip
    """A run's evaluations: a curve of its own, or, of several seeds, small marks that tell their
    seed when pointed at."""
    axis, unit, most = scale
    lines = evenly(drawable(run, axis), most)
    if not lines:
        return
    hover = [
        f"{name}, seed {run.config.seed}<br>{number(line['mean'])} at {where(line[axis], axis)}"
        f"<br>mean of {counted(len(line['returns']), 'episode')}"
        for line in lines
    ]
    look: dict[str, Any] = {"line": {"width": 1}, "marker": {"size": 5}, "opacity": 0.5}
    if is_alone:
        look = {"line": {"width": 2.5}, "marker": {"size": 8}}
    over, means = [line[axis] / unit for line in lines], [line["mean"] for line in lines]
    _add_line(
        figure, over, means, style, name=name, mode="lines+markers", hovertext=hover, **look
    )  # fmt: skip


def _draw_band(figure: go.Figure, curve: list[OverSeeds], unit: float, style: Style) -> None:
    """The interval over seeds."""
    over = [point.at / unit for point in curve]
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    _add_line(figure, over, [point.low for point in curve], style, **edge)
    fill = {"fill": "tonexty", "fillcolor": f"{style.color}33"}
    _add_line(figure, over, [point.high for point in curve], style, **edge, **fill)


def _add_line(
    figure: go.Figure, over: Sequence[float], values: Sequence[float], style: Style, **look: Any
) -> None:
    line = {"color": style.color, "dash": style.dash} | look.pop("line", {})
    marker = {"color": style.color, "symbol": style.symbol} | look.pop("marker", {})
    look = {"hoverinfo": "text", "showlegend": False} | look
    figure.add_scatter(x=finite(over), y=finite(values), line=line, marker=marker, **look)


def _numbers(groups: Groups, most: int) -> Table | None:
    """The evaluations of the curves."""
    rows = [
        [Cell(run.folder), Cell(f"{line['step']:,}"), Cell(number(line["mean"]))]
        for _, runs in groups
        for run in runs
        for line in evenly(run.evaluations, most)
    ]
    return Table("Mean of each evaluation drawn", ["run", "step", "mean"], rows) if rows else None
