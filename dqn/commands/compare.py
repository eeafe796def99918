"""``compare RUN RUN``: scores of runs of one game after equal steps and equal time, beside
published scores."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dqn.config import ConfigError
from dqn.config.commands import CompareOptions
from dqn.config.shipped import distinct_runs
from dqn.evaluation import scores
from dqn.report.curves import SMOOTHED, draw_random_score, points, running_mean, tidy
from dqn.report.groups import by_config, protocol_of, shortened
from dqn.report.progress import duration
from dqn.report.run_record import AXES, Axis, RunRecord, read_run
from dqn.storage.files import AtomicFile, why_unwritable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("-", "--", ":", "-.")
"""Line styles of the first ten configs of a picture, of the next ten and so on."""

THIN = f"training episodes, running mean of {SMOOTHED} reports"
"""What the thin lines are."""


def run(options: CompareOptions) -> int:
    """Print a comparison of runs of one game, and draw their curves if asked.

    Raises:
        ConfigError: a folder is not a run, no run has evaluations, the runs are of different
            games, or the picture cannot be written.
    """
    picture = options.picture
    records = []
    for folder in distinct_runs(options.run):
        record = read_run(folder)
        if record.evaluations:
            records.append(record)
        else:
            print(f"warning: {record.folder} has no evaluations; skipping it", file=sys.stderr)
    if not records:
        raise ConfigError("none of the runs has an evaluation to compare")
    games = sorted({run.evaluations[-1]["game"] for run in records})
    if len(games) > 1:
        raise ConfigError(f"only runs of one game can be compared, not {' and '.join(games)}")
    (game,) = games
    records = shortened(records)
    if picture:
        try:
            draw(records, Path(picture), game)
        except OSError as error:
            raise ConfigError(f"cannot write {why_unwritable(picture, error)}") from None
    print(f"{game}: mean score of an evaluation ± standard error over its episodes")
    print("", _table(records), *_means_over_seeds(records), "", *_published(game), sep="\n")
    if picture:
        print(f"\nwrote {picture}")
    return 0


def _shared_limit(records: list[RunRecord], axis: Axis) -> float | None:
    """How far every run was evaluated; None if that of one of them is unknown."""
    ends = [run.evaluations[-1][axis] for run in records]
    return None if None in ends else min(ends)


def _table(records: list[RunRecord]) -> str:
    """A line of headings and one per run; only columns that add something."""
    last = [run.evaluations[-1] for run in records]
    best = [max(reversed(run.evaluations), key=lambda line: line["mean"]) for run in records]
    columns = {
        "run": [run.folder for run in records],
        "steps": [f"{line['step']:,}" for line in last],
        "time": [
            "-" if line["minutes"] is None else duration(60 * line["minutes"]) for line in last
        ],
        "last": [_score(line) for line in last],
        "best": [_score(line) for line in best],
        "at step": [f"{line['step']:,}" for line in best],
    }
    shown = [[*lines] for lines in zip(last, best, strict=True)]
    for axis in AXES:
        limit = _shared_limit(records, axis)
        if limit is None:
            continue
        newest = [run.newest(axis, limit) for run in records]
        if newest != last:
            heading = f"by {limit:,} steps" if axis == "step" else f"in {duration(60 * limit)}"
            columns[heading] = [_score(line) for line in newest]
            for lines, line in zip(shown, newest, strict=True):
                lines += [line] if line else []
    protocols = [dict.fromkeys(map(protocol_of, lines)) for lines in shown]
    if len(set().union(*protocols)) > 1:
        print("warning: not all of these scores are of one protocol", file=sys.stderr)
        columns["protocol"] = [" and ".join(names) for names in protocols]
    rows = list(zip(*([name, *cells] for name, cells in columns.items()), strict=True))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def _score(line: dict[str, Any] | None) -> str:
    """Mean of an evaluation and its standard error."""
    if line is None:
        return "-"
    error = f" ± {scores.standard_error(line['returns']):.1f}" if len(line["returns"]) > 1 else ""
    return f"{line['mean']:.1f}{error}"


def _means_over_seeds(records: list[RunRecord]) -> list[str]:
    """A line for each config with several runs."""
    lines = []
    for name, runs in by_config(records):
        step = min(run.evaluations[-1]["step"] for run in runs)
        means = [line["mean"] for run in runs if (line := run.newest("step", step))]
        if len(means) > 1:
            mean, low, high = scores.mean_interval(means)
            interval = f"{mean:.1f} (95% interval {low:.1f} to {high:.1f})"
            lines.append(f"{name}, {len(means)} runs, by {step:,} steps: {interval}")
    return lines


def _published(game: str) -> list[str]:
    """Published scores of a game, each with its protocol."""
    people = {"random player": scores.random_score(game), "human": scores.human_score(game)}
    rows = [(score, name) for name, score in people.items() if score is not None]
    for column, score in scores.published(game).items():
        agent, frames, protocol = scores.COLUMNS[column]
        rows.append((score, f"{agent}, {frames} million frames, {protocol}"))
    if not rows:
        return []
    return [f"published scores of {game}:", *(f"{score:12,.1f}  {name}" for score, name in rows)]


def draw(records: list[RunRecord], file: Path, game: str) -> None:
    """Draw training returns (thin) and evaluations (dots) over steps, and over minutes if known: a
    color, after ten configs a dash too, per config, and a line per run. Nothing is averaged over
    seeds, and there are no intervals.

    Raises:
        OSError: the picture cannot be written; an older one is kept.
    """
    # Imported here because it takes a second, and the table does not need it.
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    known_axes = [axis for axis in AXES if _shared_limit(records, axis) is not None]
    groups = by_config(records)
    height = 4.4 + 0.11 * max(0, len(groups) - 2)  # the legend's
    figure = Figure(figsize=(5.5 * len(known_axes), height), layout="constrained")
    panels = figure.subplots(1, len(known_axes), sharey=True, squeeze=False)[0]
    for axis, panel in zip(known_axes, panels, strict=True):
        for i, (group, runs) in enumerate(groups):
            label = f" {group}, {len(runs)} runs" if len(runs) > 1 else f" {group}"
            for run in runs:
                name = label if run is runs[0] else "_"  # "_" hides it from the legend
                _draw_run(
                    panel, run, axis, {"color": f"C{i % 10}", "ls": DASHES[i // 10 % 4]}, name
                )
        draw_random_score(panel, game, "tab:gray")
        panel.set_xlabel("wall time in minutes" if axis == "minutes" else "step")
        tidy(panel)
    panels[0].set_ylabel(f"score in {game}")
    handles, labels = panels[0].get_legend_handles_labels()
    dots = Line2D([], [], color="dimgray", marker="o", markersize=4)
    thin = Line2D([], [], color="dimgray", alpha=0.5, linewidth=1)
    meanings = {"evaluation, mean of its games": dots, THIN: thin}
    figure.legend(
        [*handles, *meanings.values()], [*labels, *meanings],
        loc="outside upper center", fontsize=8, ncols=2, frameon=False,
    )  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    with AtomicFile(file) as part:
        figure.savefig(part, dpi=80, format="png")


def _draw_run(panel: "Axes", run: RunRecord, axis: Axis, style: dict[str, Any], label: str) -> None:
    returns = points([line for line in run.training if line[axis] is not None], "mean_return", axis)
    if len(returns) > 1:
        over, values = zip(*returns, strict=True)
        panel.plot(over, running_mean(list(values), SMOOTHED), alpha=0.5, linewidth=1, **style)
    evaluations = points(run.evaluations, "mean", axis)
    panel.plot(*zip(*evaluations, strict=True), marker="o", markersize=4, label=label, **style)
