"""The section of a suite: scores over games with intervals, and performance profiles."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dqn.config.words import counted
from dqn.evaluation import scores
from dqn.evaluation.aggregate import (
    RESAMPLES,
    STATISTICS,
    Estimate,
    aggregate,
    normalised_scores,
    performance_profile,
)  # fmt: skip
from dqn.storage.suite_record import SuiteRecord
from dqn.web.report_parts import (
    Cell,
    Chart,
    Section,
    Style,
    Table,
    and_list,
    as_data,
    for_plotly,
    make_figure,
    number,
    style_of,
)  # fmt: skip

Runs = dict[str, list[list[float]]]
Aggregates = dict[str, dict[str, Estimate]]
THRESHOLDS = 121
"""Points of a performance profile."""
HOW = f"95% intervals by a stratified bootstrap over runs, {RESAMPLES:,} draws"


def suite_section(name: str, anchor: str, suite: SuiteRecord) -> Section:
    """What a suite's runs scored, over seeds and over games."""
    section = Section(f"Suite {name}", anchor)
    finished = sum(run.state == "finished" for run in suite.runs)
    section.sentences.append(f"{finished} of {counted(len(suite.runs), 'run')} are finished.")
    section.sentences += [f"Scores: {how}." for how in suite.scores.how]
    means = {(row.game, row.config): row.scores for row in suite.scores.games if row.scores}
    if not means:
        section.sentences.append("The suite has no scores yet; they come when its command ends.")
        return section
    section.tables.append(_over_seeds(means))
    games, runs = normalised_scores(means)
    played = list(dict.fromkeys(game for game, _ in means))
    left_out = [game for game in played if game not in games]
    if left_out:
        section.sentences.append(
            f"Left out of the scores over games: {and_list(left_out)}, which lack a published "
            "human score, or have not been finished with every config."
        )
    if games:
        found = {config: aggregate(of) for config, of in runs.items()}
        section.tables.append(_aggregates(found))
        section.charts += [_aggregates_chart(games, found), _profile(runs)]
    return section


def _over_seeds(means: dict[tuple[str, str], list[float]]) -> Table:
    games, names = (list(dict.fromkeys(parts)) for parts in zip(*means, strict=True))
    rows = [
        [Cell(game), *(Cell(_interval(means.get((game, name)))) for name in names)]
        for game in games
    ]
    return Table("Mean return [95% interval over seeds] (seeds)", ["game", *names], rows)


def _interval(values: list[float] | None) -> str:
    if not values:
        return "none"
    mean, low, high = scores.mean_interval(values)
    ends = f"[{number(low)}, {number(high)}]" if math.isfinite(low) else "[-]"
    return f"{number(mean)} {ends} ({len(values)})"


def _aggregates(found: Aggregates) -> Table:
    rows = [
        [Cell(statistic), *(Cell(str(of[statistic])) for of in found.values())]
        for statistic in STATISTICS
    ]
    return Table(f"Human-normalised score over games; {HOW}", ["statistic", *found], rows)


def _aggregates_chart(games: Sequence[str], found: Aggregates) -> Chart:
    figure = make_figure("human-normalised score", "")
    words = []
    for index, (name, of) in enumerate(found.items()):
        style = style_of(index)
        has_interval = all(math.isfinite(estimate.low) for estimate in of.values())
        error: dict[str, Any] = {
            "type": "data", "symmetric": False, "visible": has_interval, "thickness": 2,
            "array": [e.high - e.value if has_interval else 0 for e in of.values()],
            "arrayminus": [e.value - e.low if has_interval else 0 for e in of.values()],
        }  # fmt: skip
        figure.add_scatter(
            x=[e.value for e in of.values()], y=list(of), error_x=error, mode="markers",
            name=for_plotly(name), marker={"color": style.color, "symbol": style.symbol,
            "size": 10}, hoverinfo="x+name",
        )  # fmt: skip
        words.append(f"{name}: " + ", ".join(f"{n} {e}" for n, e in of.items()))
    figure.update_layout(height=300, scattermode="group", yaxis_autorange="reversed")
    title = "Over games"
    note = (
        f"0 is random play, 1 the human. Over {', '.join(games)}; {HOW}. The optimality gap is "
        "better when smaller."
    )
    return Chart(title, f"{title}: {'; '.join(words)}.", note, as_data(figure))


def _profile(runs: Runs) -> Chart:
    figure = make_figure(
        "human-normalised score", "fraction of runs above it", yaxis_range=[0, 1.02]
    )
    all_scores = [score for of in runs.values() for game in of for score in game]
    thresholds = np.linspace(min(0.0, *all_scores), max(1.0, *all_scores), THRESHOLDS).tolist()
    words = []
    for index, (name, of) in enumerate(runs.items()):
        above_random, above_human, *profile = performance_profile(of, [0.0, 1.0, *thresholds])
        _draw_profile(figure, name, thresholds, profile, style_of(index))
        words.append(
            f"{name}: {above_random.value:.0%} of runs above random play, "
            f"{above_human.value:.0%} above the human"
        )
    title = "Performance profiles"
    note = f"How many runs of all games reach which score; a curve above another is better. {HOW}."
    return Chart(title, f"{title}: {'; '.join(words)}.", note, as_data(figure))


def _draw_profile(
    figure: Any, name: str, over: list[float], profile: list[Estimate], style: Style
) -> None:
    if math.isfinite(profile[0].low):
        edge: dict[str, Any] = {
            "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False
        }  # fmt: skip
        figure.add_scatter(x=over, y=[point.low for point in profile], **edge)
        fill = {"fill": "tonexty", "fillcolor": f"{style.color}33"}
        figure.add_scatter(x=over, y=[point.high for point in profile], **edge, **fill)
    figure.add_scatter(
        x=over, y=[point.value for point in profile], name=for_plotly(name), mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 2.5}, hoverinfo="x+y+name",
        marker={"color": style.color, "symbol": style.symbol, "size": 8, "maxdisplayed": 10},
    )  # fmt: skip
