"""Runs of one game beside each other: their evaluations at equal steps and after equal time, and
what others published."""

import dataclasses
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from dqn.config import Config, ConfigError, differing_fields
from dqn.evaluation import scores
from dqn.evaluation.recorders import aside, remove
from dqn.report.curves import SMOOTHED, Lines, points, read_lines, running_mean
from dqn.report.tensorboard import read_seconds
from dqn.storage.saved_run import run_config

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Axis = Literal["step", "minutes"]
AXES: tuple[Axis, ...] = ("step", "minutes")
"""What curves run over: keys of every line told."""

EVALUATION = {
    "step": int, "mean": int | float, "returns": list, "game": str, "protocol": str,
    "epsilon": int | float,
}  # fmt: skip
REPORT = {"step": int, "mean_return": int | float | None}
"""What is read of a line, and of which kind."""


class Told(NamedTuple):
    """What a run's folder tells of it.

    Each line has its ``minutes`` too, of wall time since the run began; None where TensorBoard's
    files, which alone know the clock, do not tell them all.
    """

    run: str
    config: Config
    training: Lines
    evaluations: Lines

    def newest(self, axis: Axis, limit: float) -> dict[str, Any] | None:
        """The newest evaluation at ``limit`` or before."""
        within = [line for line in self.evaluations if line[axis] <= limit]
        return within[-1] if within else None


def compare(runs: list[str], picture: str | None) -> int:
    """Print how runs of one game compare, and draw their curves into ``picture``.

    Raises:
        ConfigError: no run there, none with evaluations, one of another game, or the picture
            cannot be written.
    """
    if picture and not picture.endswith(".png"):
        raise ConfigError(f"--picture must be the name of a .png file, not {picture}")
    told = [tell(run) for run in {Path(run).resolve(): run for run in runs}.values()]
    for run in told:
        if not run.evaluations:
            print(f"warning: {run.run} has no evaluations, and is left out", file=sys.stderr)
    told = [run for run in told if run.evaluations]
    if not told:
        raise ConfigError("there are no evaluations that could be compared")
    _check_comparable(told)
    game = told[0].evaluations[-1]["game"]
    if picture:
        try:
            draw(told, Path(picture), game)
        except OSError as error:
            raise ConfigError(f"cannot write {picture}: {error.strerror}") from None
    print(f"{game}: mean score of an evaluation, and its standard error over the games")
    print("", _table(told), *_over_seeds(told), "", *_published(game), sep="\n")
    return 0


def tell(run: str) -> Told:
    """Read a run's folder.

    Raises:
        ConfigError: there is no run, or its files are damaged.
    """
    folder = Path(run)
    config = run_config(folder)
    evaluations = _lines(folder / "evaluations.jsonl", EVALUATION)
    training = _lines(folder / "training.jsonl", REPORT)
    try:
        seconds = read_seconds(folder, ["evaluation/mean", "speed/steps_per_second"])
    except OSError as error:
        raise ConfigError(f"cannot read TensorBoard's files in {run}: {error.strerror}") from None
    return Told(
        str(folder),
        config,
        _with_minutes(training, seconds["speed/steps_per_second"]),
        _with_minutes(evaluations, seconds["evaluation/mean"]),
    )


def _lines(file: Path, wanted: dict[str, Any]) -> Lines:
    """The lines of a file, each with what is ``wanted``.

    Raises:
        ConfigError: it cannot be read, or is no such file.
    """
    try:
        lines: list[Any] = read_lines(file)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{file} is damaged: {error}") from None
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or not all(
            isinstance(line.get(key), kind) for key, kind in wanted.items()
        ):
            raise ConfigError(f"{file} is damaged: line {number} is not what a run writes")
    return lines


def _with_minutes(lines: Lines, seconds: dict[int, float]) -> Lines:
    """``seconds`` are those of the lines' steps. A newest line that is being written has none yet,
    and waits; where an older one has none, part of the clock is lost, and nothing is known."""
    if lines and lines[-1]["step"] not in seconds and lines[0]["step"] in seconds:
        lines = lines[:-1]
    known = all(line["step"] in seconds for line in lines)
    return [line | {"minutes": seconds[line["step"]] / 60 if known else None} for line in lines]


def _check_comparable(told: list[Told]) -> None:
    """Refuse runs of several games; warn of scores that were come by in different ways."""
    last = {run.run: run.evaluations[-1] for run in told}
    games = sorted({line["game"] for line in last.values()})
    if len(games) > 1:
        raise ConfigError(f"runs of one game compare, and these are of {' and '.join(games)}")
    ways = {
        run: f"protocol {line['protocol']}, epsilon {line['epsilon']:g}"
        for run, line in last.items()
    }
    if len(set(ways.values())) > 1:
        each = "; ".join(f"{run}: {way}" for run, way in ways.items())
        print(f"warning: these scores were not come by in the same way ({each})", file=sys.stderr)


def _shared(told: list[Told], axis: Axis) -> float | None:
    """How far every run was evaluated; None where one of them does not know."""
    ends = [run.evaluations[-1][axis] for run in told]
    return None if None in ends else min(ends)


def _table(told: list[Told]) -> str:
    """A line for each run, under a line of headings."""
    rows = [["run", "steps", "minutes", "last", "best", "of step"]]
    for run in told:
        last, best = run.evaluations[-1], max(run.evaluations, key=lambda line: line["mean"])
        took = "-" if last["minutes"] is None else _number(last["minutes"])
        rows.append(
            [run.run, f"{last['step']:,}", took, _score(last), _score(best), f"{best['step']:,}"]
        )
    for axis in AXES:
        limit = _shared(told, axis)
        if len(told) > 1 and limit is not None:
            steps = f"by {limit:,} steps"
            rows[0].append(steps if axis == "step" else f"in {_number(limit)} minutes")
            for row, run in zip(rows[1:], told, strict=True):
                row.append(_score(run.newest(axis, limit)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def _number(minutes: float) -> str:
    return f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.1f}"


def _score(line: dict[str, Any] | None) -> str:
    """Mean of an evaluation and its standard error."""
    if line is None:
        return "-"
    returns = np.asarray(line["returns"])
    if len(returns) == 1:
        return f"{line['mean']:.1f}"
    return f"{line['mean']:.1f} ± {returns.std(ddof=1) / math.sqrt(len(returns)):.1f}"


def _over_seeds(told: list[Told]) -> list[str]:
    """A line for each config that there are several runs of."""
    lines = []
    for name, runs in _groups(told):
        step = min(run.evaluations[-1]["step"] for run in runs)
        means = [line["mean"] for run in runs if (line := run.newest("step", step))]
        if len(means) > 1:
            mean, low, high = scores.mean_interval(means)
            lines.append(
                f"{name}, {len(means)} runs, by {step:,} steps: {mean:.1f} "
                f"(95% interval {low:.1f} to {high:.1f})"
            )
    return lines


def _groups(told: list[Told]) -> list[tuple[str, list[Told]]]:
    """Runs that differ in nothing but their seeds, each group with a name."""
    groups: list[list[Told]] = []
    for run in told:
        for group in groups:
            first = group[0].config
            if not differing_fields(dataclasses.replace(run.config, seed=first.seed), first):
                group.append(run)
                break
        else:
            groups.append([run])
    return [
        (re.sub(r"-seed\d+$", "", group[0].run) if len(group) > 1 else group[0].run, group)
        for group in groups
    ]


def _published(game: str) -> list[str]:
    """What others published, each with its protocol; nothing of a game without any."""
    people = {"random player": scores.random_score(game), "human": scores.human_score(game)}
    rows = [(score, name) for name, score in people.items() if score is not None]
    for column, score in scores.published(game).items():
        agent, frames, protocol = scores.COLUMNS[column]
        rows.append((score, f"{agent}, {frames} million frames, {protocol}"))
    if not rows:
        return []
    return [f"published scores of {game}:", *(f"{score:12,.1f}  {what}" for score, what in rows)]


def draw(told: list[Told], file: Path, game: str) -> None:
    """Draw training returns (thin) and evaluations (dots) over steps, and over minutes as far as
    they are known: a color for each config, a line for each seed.

    Raises:
        OSError: it cannot be written; an older picture stays.
    """
    # Imported here: it takes a second, and the table needs none of it.
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    axes_of = [axis for axis in AXES if _shared(told, axis) is not None]
    figure = Figure(figsize=(5.5 * len(axes_of), 4), layout="constrained")
    panels = figure.subplots(1, len(axes_of), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes_of, panels, strict=True):
        for i, (group, runs) in enumerate(_groups(told)):
            for run in runs:
                label = f" {group}" if run is runs[0] else "_"  # "_" is left out of a legend
                _draw_run(panel, run, axis, f"C{i}", label)
        random = scores.random_score(game)
        if random is not None:
            label = "random player (published)"
            panel.axhline(random, color="tab:gray", linestyle=":", label=label)
        panel.set_xlabel("wall time, minutes" if axis == "minutes" else "step")
        panel.grid(alpha=0.3)
    panels[0].xaxis.set_major_formatter(EngFormatter(sep=""))
    panels[0].set_ylabel(f"{game}: score\n(dots: evaluations, thin: training)")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", fontsize=8, ncols=2
    )
    part = aside(file)
    try:
        figure.savefig(part, dpi=80, format="png")
        part.replace(file)
    except OSError:
        remove(part)
        raise


def _draw_run(panel: "Axes", run: Told, axis: Axis, color: str, label: str) -> None:
    returns = points([line for line in run.training if line[axis] is not None], "mean_return", axis)
    if len(returns) > 1:
        over, values = zip(*returns, strict=True)
        panel.plot(over, running_mean(list(values), SMOOTHED), color=color, alpha=0.5, linewidth=1)
    panel.plot(
        *zip(*points(run.evaluations, "mean", axis), strict=True), "o-", color=color, label=label
    )
