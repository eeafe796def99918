"""What a run's folder records of its training and evaluations."""

import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dqn.config import Config, ConfigError, printable
from dqn.config.shipped import find_run
from dqn.report.curves import Lines, read_lines
from dqn.report.tensorboard import read_seconds
from dqn.storage.saved_run import run_config

Axis = Literal["step", "minutes"]
AXES: tuple[Axis, ...] = ("step", "minutes")
"""Keys of every line that curves can be drawn over."""

EVALUATION_FIELDS = {
    "step": int, "mean": int | float, "returns": list, "game": str, "protocol": str,
    "epsilon": int | float, "held_out_q": int | float | None,
}  # fmt: skip
REPORT_FIELDS = {
    "step": int, "mean_return": int | float | None, "epsilon": int | float | None,
    "loss": int | float | None,
}  # fmt: skip
"""The fields read of a line and their types."""


class RunRecord(NamedTuple):
    """Config, training reports and evaluations of a run.

    Each line also has ``minutes``, the wall time since the run began, or None if TensorBoard's
    files, the only record of the clock, are incomplete.
    """

    folder: str
    """As it is shown."""
    path: Path
    config: Config
    training: Lines
    evaluations: Lines

    @property
    def has_clock(self) -> bool:
        """Whether the minutes of its lines are known."""
        return all(line["minutes"] is not None for line in self.training + self.evaluations)

    def newest(self, axis: Axis, limit: float) -> dict[str, Any] | None:
        """The newest evaluation up to ``limit``, or None."""
        return next((line for line in reversed(self.evaluations) if line[axis] <= limit), None)


def checked_lines(file: Path, fields: dict[str, Any]) -> Lines:
    """The lines of a file, each of which has ``fields`` of the right types.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        lines: list[Any] = read_lines(file)
    except ValueError as error:
        raise ConfigError(f"{file} is damaged: {error}") from None
    for number, line in enumerate(lines, 1):
        if not has_fields(line, fields):
            raise ConfigError(f"{file} is damaged: line {number} has missing or invalid fields")
    return lines


def read_run(run: str) -> RunRecord:
    """Read the record of a run's folder.

    Raises:
        ConfigError: there is no run, or its files are damaged.
    """
    folder = find_run(run)
    config = run_config(folder)
    try:
        evaluations = checked_lines(folder / "evaluations.jsonl", EVALUATION_FIELDS)
        training = checked_lines(folder / "training.jsonl", REPORT_FIELDS)
        seconds = read_seconds(folder, ["evaluation/mean", "speed/steps_per_second"])
    except OSError as error:
        raise ConfigError(f"cannot read the files of {run}: {error.strerror}") from None
    reported, evaluated = seconds["speed/steps_per_second"], seconds["evaluation/mean"]
    if _has_gaps(training, reported) or _has_gaps(evaluations, evaluated):
        reported = evaluated = {}
    return RunRecord(
        printable(str(folder)),
        folder,
        config,
        _with_minutes(training, reported),
        _with_minutes(evaluations, evaluated),
    )


def has_fields(line: Any, fields: dict[str, Any]) -> bool:
    """Whether a line is an object with ``fields`` of the right types; returns are one or more
    numbers, and no whole number is beyond a float."""
    if not isinstance(line, dict) or not all(
        isinstance(line.get(key), kind) for key, kind in fields.items()
    ):
        return False
    returns = line["returns"] if "returns" in fields else [0]
    numbers = [line[key] for key in fields if isinstance(line.get(key), int)] + returns
    return bool(returns) and all(
        isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)
        for value in numbers
    )


def _has_gaps(lines: Lines, seconds: dict[int, float]) -> bool:
    """Whether the clock of a line before the newest is lost, as in a damaged event file."""
    return any(line["step"] not in seconds for line in lines[:-1])


def _with_minutes(lines: Lines, seconds: dict[int, float]) -> Lines:
    """Add ``minutes`` to each line, from the seconds at each step; None if they are not all known.

    A running run writes a line before its clock: a newest line without one is dropped.
    """
    if lines and lines[-1]["step"] not in seconds and lines[0]["step"] in seconds:
        lines = lines[:-1]
    known = all(line["step"] in seconds for line in lines)
    return [line | {"minutes": seconds[line["step"]] / 60 if known else None} for line in lines]
