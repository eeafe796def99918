"""What a run's folder records of its training and evaluations."""

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
    "epsilon": int | float,
}  # fmt: skip
REPORT_FIELDS = {"step": int, "mean_return": int | float | None}
"""The fields read of a line and their types."""


class RunRecord(NamedTuple):
    """Config, training reports and evaluations of a run.

    Each line also has ``minutes``, the wall time since the run began, or None if TensorBoard's
    files, the only record of the clock, are incomplete.
    """

    folder: str
    """As it is shown."""
    config: Config
    training: Lines
    evaluations: Lines

    def newest(self, axis: Axis, limit: float) -> dict[str, Any] | None:
        """The newest evaluation up to ``limit``, or None."""
        return next((line for line in reversed(self.evaluations) if line[axis] <= limit), None)


def read_run(run: str) -> RunRecord:
    """Read the record of a run's folder.

    Raises:
        ConfigError: there is no run, or its files are damaged.
    """
    folder = find_run(run)
    config = run_config(folder)
    try:
        evaluations = _checked_lines(folder / "evaluations.jsonl", EVALUATION_FIELDS)
        training = _checked_lines(folder / "training.jsonl", REPORT_FIELDS)
        seconds = read_seconds(folder, ["evaluation/mean", "speed/steps_per_second"])
    except OSError as error:
        raise ConfigError(f"cannot read the files of {run}: {error.strerror}") from None
    return RunRecord(
        printable(str(folder)),
        config,
        _with_minutes(training, seconds["speed/steps_per_second"]),
        _with_minutes(evaluations, seconds["evaluation/mean"]),
    )


def _checked_lines(file: Path, fields: dict[str, Any]) -> Lines:
    """The lines of a file, each of which has ``fields`` of the right types.

    Raises:
        ConfigError: the file is damaged.
    """
    try:
        lines: list[Any] = read_lines(file)
    except ValueError as error:
        raise ConfigError(f"{file} is damaged: {error}") from None
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict) or not all(
            isinstance(line.get(key), kind) for key, kind in fields.items()
        ):
            raise ConfigError(f"{file} is damaged: line {number} has missing or invalid fields")
    return lines


def _with_minutes(lines: Lines, seconds: dict[int, float]) -> Lines:
    """Add ``minutes`` to each line, from the seconds at each step.

    A running run writes a line before its clock: a newest line without one is dropped. If an older
    line has none, part of the clock is lost, and every line gets None.
    """
    if lines and lines[-1]["step"] not in seconds and lines[0]["step"] in seconds:
        lines = lines[:-1]
    known = all(line["step"] in seconds for line in lines)
    return [line | {"minutes": seconds[line["step"]] / 60 if known else None} for line in lines]
