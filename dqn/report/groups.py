"""Several runs side by side: their names, which of them are seeds of one config, and what these
reached at equal steps or equal time."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dqn.config import differing_fields
from dqn.evaluation import scores
from dqn.report.run_record import Axis, RunRecord

Groups = Sequence[tuple[str, list[RunRecord]]]
"""Configs by their names, each with its runs, which differ in the seed."""


def shortened(records: list[RunRecord]) -> list[RunRecord]:
    """The runs, named by as few of the last parts of their paths as tell them apart."""
    names = short_names([run.folder for run in records])
    return [run._replace(folder=name) for run, name in zip(records, names, strict=True)]


def short_names(folders: Sequence[str]) -> list[str]:
    """As few of the last parts of the paths of different folders as tell them apart."""
    paths = [Path(folder).resolve().parts for folder in folders]
    for count in range(1, max(map(len, paths)) + 1):
        names = [str(Path(*parts[-count:])) for parts in paths]
        if len(set(names)) == len(names):
            break
    return names


def by_config(records: list[RunRecord]) -> list[tuple[str, list[RunRecord]]]:
    """Named groups of runs whose configs differ in the seed and in nothing else. A run repeated
    with the same seed is no second seed: runs of one config are then told apart by their folders.
    Where two groups would have one name, their seeds are added to it."""
    alike: list[list[RunRecord]] = []
    for run in records:
        for group in alike:
            first = group[0].config
            if not differing_fields(dataclasses.replace(run.config, seed=first.seed), first):
                group.append(run)
                break
        else:
            alike.append([run])
    groups = [group for runs in alike for group in _without_repetitions(runs)]
    names = [_name(group) for group in groups]
    return [
        (name if names.count(name) == 1 else f"{name} ({_seeds(group)})", group)
        for name, group in zip(names, groups, strict=True)
    ]


def _without_repetitions(runs: list[RunRecord]) -> list[list[RunRecord]]:
    """The runs of a config; where a seed occurs twice, a list for each name but for the seed."""
    if len({run.config.seed for run in runs}) == len(runs):
        return [runs]
    by_name: dict[str, list[RunRecord]] = {}
    for run in runs:
        by_name.setdefault(_without_seed(run.folder), []).append(run)
    return list(by_name.values())


def _name(group: list[RunRecord]) -> str:
    return _without_seed(group[0].folder) if len(group) > 1 else group[0].folder


def _without_seed(folder: str) -> str:
    return re.sub(r"-seed\d+$", "", folder)


def _seeds(group: list[RunRecord]) -> str:
    """``seed 1``, ``seeds 1, 2``."""
    seeds = ", ".join(str(run.config.seed) for run in group)
    return f"seeds {seeds}" if len(group) > 1 else f"seed {seeds}"


def protocol_of(line: dict[str, Any]) -> str:
    """The protocol of an evaluation and its epsilon."""
    return f"{line['protocol']}, epsilon {line['epsilon']:g}"


class OverSeeds(NamedTuple):
    """What the seeds of a config had reached at one point of an axis."""

    at: float
    """Step, or minutes."""
    values: list[float]
    """Mean of each seed's newest evaluation, in the order of the runs."""
    median: float
    low: float
    high: float
    """The ends of ``scores.median_interval``."""


def over_seeds(runs: list[RunRecord], axis: Axis) -> list[OverSeeds]:
    """The median over seeds at each point where one of them was evaluated, from where all have an
    evaluation to where the first one ends."""
    if not all(run.evaluations and run.evaluations[-1][axis] is not None for run in runs):
        return []
    start = max(run.evaluations[0][axis] for run in runs)
    end = min(run.evaluations[-1][axis] for run in runs)
    points = sorted({line[axis] for run in runs for line in run.evaluations})
    curve = []
    for at in points:
        if start <= at <= end:
            newest = [run.newest(axis, at) for run in runs]
            values = [float(line["mean"]) for line in newest if line]
            median, low, high, _ = scores.median_interval(values)
            curve.append(OverSeeds(at, values, median, low, high))
    return curve
