"""What the charts of learning curves say in words: their numbers, and what is drawn."""

from collections.abc import Sequence

from dqn.evaluation import scores
from dqn.report.curves import SMOOTHED, Lines
from dqn.report.groups import Groups, over_seeds
from dqn.report.run_record import Axis, RunRecord
from dqn.web.report_parts import Published, and_list, number


def drawable(run: RunRecord, axis: Axis) -> Lines:
    """The evaluations that have a place on the axis."""
    return [line for line in run.evaluations if line[axis] is not None]


def where(at: float, axis: Axis) -> str:
    """``step 1,000``; ``3 minutes``."""
    return f"step {at:,.0f}" if axis == "step" else f"{at:,.0f} minutes"


def in_words(game: str, groups: Groups, axis: Axis, published: Sequence[Published]) -> str:
    """The chart's numbers, for those who do not see it."""
    parts = [_config_in_words(name, runs, axis) for name, runs in groups]
    known = [f"{row.who} {row.score}" for row in published if row.drawn and row.value is not None]
    others = [f"Published: {and_list(known)}"] if known else []
    over = "steps" if axis == "step" else "wall time"
    return ". ".join([f"{game}: score over {over}", *parts, *others]) + "."


def _config_in_words(name: str, runs: list[RunRecord], axis: Axis) -> str:
    curve = over_seeds(runs, axis) if len(runs) > 1 else []
    if curve:
        end = curve[-1]
        return (
            f"{name}, {len(runs)} seeds: median {number(end.median)} at {where(end.at, axis)}, "
            f"interval {number(end.low)} to {number(end.high)}"
        )
    ends = [lines[-1] for run in runs if (lines := drawable(run, axis))]
    known = [f"{number(line['mean'])} at {where(line[axis], axis)}" for line in ends]
    return f"{name}: {and_list(known)}" if known else f"{name}: no evaluation to draw"


def over_steps(groups: Groups, published: Sequence[Published]) -> str:
    """What is drawn over steps."""
    note = f"Thin: training returns, a running mean over {SMOOTHED} reports"
    if not all(run.evaluations for _, runs in groups for run in runs):
        note += ", with marks where a run has no evaluations"
    note += ". "
    shared = [runs for _, runs in groups if len(runs) > 1]
    if counts := sorted({len(runs) for runs in shared if over_seeds(runs, "step")}):
        sure = and_list(
            f"{100 * scores.median_interval([0.0] * count)[3]:.0f}% with {count} seeds"
            for count in counts
        )
        note += (
            "Thick, with marks: the median over the seeds of a config, of each seed's newest "
            f"evaluation; band: an interval that holds the median of all seeds ({sure}); small "
            "marks: the seeds. "
        )
    if any(len(runs) == 1 for _, runs in groups):
        note += "A config with one run has no interval: its marks are the means of evaluations. "
    if behind := [f"{row.who} ({row.protocol})" for row in published if row.drawn]:
        note += f"Gray: {and_list(behind)}. "
    return note.strip()


def by_time(groups: Groups) -> str:
    """What is drawn over wall time, and which config has no median."""
    note = "The same over the time that the runs took, pauses between their sessions left out. "
    shared = [(name, over_seeds(runs, "minutes")) for name, runs in groups if len(runs) > 1]
    if any(curve for _, curve in shared):
        note += "The median is that of what each seed had reached by then. "
    if without := [name for name, curve in shared if not curve]:
        note += f"There is no median of {and_list(without)}: no time at which all seeds had scores."
    return note.strip()
