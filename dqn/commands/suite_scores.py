"""The scores of a suite: by game and config over seeds, and over all games."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dqn.commands.suite_plan import PlannedRun
from dqn.config import ConfigError
from dqn.envs.atari import FRAME_SKIP
from dqn.envs.names import atari_rom
from dqn.evaluation import scores
from dqn.evaluation.aggregate import RESAMPLES, aggregate, normalised_scores
from dqn.report.run_record import EVALUATION_FIELDS, checked_lines

log = logging.getLogger("dqn")

Cells = list[list[str]]


class Score(NamedTuple):
    """The last evaluation of a finished run."""

    run: PlannedRun
    record: dict[str, Any]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.record["mean"])

    @property
    def how(self) -> str:
        """How it was measured."""
        return (
            f"episodes: {len(self.record['returns'])}, protocol {self.record['protocol']}, epsilon "
            f"{self.record['epsilon']:g}"
        )


def read_scores(runs: Sequence[PlannedRun]) -> list[Score]:
    """The final evaluations of finished runs. Those that cannot be read are left out, with a
    warning."""
    found = []
    for run in runs:
        try:
            found.append(Score(run, _final(run.folder / "evaluations.jsonl")))
        except ConfigError as error:
            log.warning("warning: %s; the run has no score here.", error)
    return found


def _final(file: Path) -> dict[str, Any]:
    try:
        lines = checked_lines(file, EVALUATION_FIELDS)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    if not lines:
        raise ConfigError(f"{file} has no evaluation, though the run is finished")
    return lines[-1]


def _heading(found: list[Score]) -> list[str]:
    """How the scores were measured: a line for each way."""
    lines = []
    for how in dict.fromkeys(score.how for score in found):
        alike = [score for score in found if score.how == how]
        steps = sorted({int(score.record["step"]) for score in alike})
        frames = [FRAME_SKIP * step for step in steps if atari_rom(alike[0].run.config.game)]
        of_frames = f" ({_range(frames)} frames)" if frames else ""
        lines.append(f"final evaluation at step {_range(steps)}{of_frames}, {how}")
    return lines


def _range(values: list[int]) -> str:
    return " to ".join(f"{value:,}" for value in dict.fromkeys((values[0], values[-1])))


def summary(found: list[Score]) -> tuple[str, dict[str, Any]]:
    """The tables as text, and the same for suite.json."""
    names = list(dict.fromkeys(score.run.name for score in found))
    games = list(dict.fromkeys(score.run.game for score in found))
    means = {
        (game, name): [s.mean for s in found if (s.run.game, s.run.name) == (game, name)]
        for game in games
        for name in names
    }
    data: dict[str, Any] = {"how": _heading(found), "games": []}
    table: Cells = [["game", *names]]
    for game in games:
        row = [game]
        for name in names:
            values = means[game, name]
            row.append(_interval(*scores.mean_interval(values), len(values)) if values else "-")
            if values:
                mean, low, high = scores.mean_interval(values)
                data["games"].append({
                    "game": game, "config": name, "scores": values, "mean": mean,
                    "low": _finite(low), "high": _finite(high),
                    "human_normalised": scores.human_normalised(game, mean),
                })  # fmt: skip
        table.append(row)
    text = ["Mean return [95% interval over seeds] (seeds)", *data["how"], "", *_aligned(table)]
    over_games, data["aggregates"] = _over_games(games, names, means)
    return "\n".join([*text, *over_games]), data


def _over_games(
    games: list[str], names: list[str], means: dict[tuple[str, str], list[float]]
) -> tuple[list[str], dict[str, Any]]:
    """The table of statistics over the games whose human score is known and that every config has
    been trained on."""
    usable, normalised = normalised_scores(means)
    if not usable:
        return [], {}
    estimates = {name: aggregate(normalised[name]) for name in names}
    table: Cells = [["statistic", *names]]
    for statistic in estimates[names[0]]:
        table.append([statistic, *(str(estimates[name][statistic]) for name in names)])
    heading = f"Human-normalised score over games: {', '.join(usable)}"
    if left_out := [game for game in games if game not in usable]:
        heading += f"; left out: {', '.join(left_out)}"
    how = f"[95% interval by a stratified bootstrap over runs, {RESAMPLES:,} draws]"
    data = {
        name: {
            statistic: {"value": e.value, "low": _finite(e.low), "high": _finite(e.high)}
            for statistic, e in found.items()
        }
        for name, found in estimates.items()
    }
    return ["", heading, how, "", *_aligned(table)], data


def _interval(mean: float, low: float, high: float, seeds: int) -> str:
    ends = f"[{low:.1f}, {high:.1f}]" if np.isfinite(low) else "[-]"
    return f"{mean:.1f} {ends} ({seeds})"


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if np.isfinite(value) else None


def _aligned(table: Cells) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
