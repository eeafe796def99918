"""``suite.json`` as other commands read it: a suite's runs and their scores."""

from dataclasses import field
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from dqn.config import ConfigError

FILE = "suite.json"

_CONFIG = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)


def _label(label: object) -> object:
    """Refuses a run outside the folder of all runs."""
    path = PurePosixPath(str(label))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("a run's name leads out of the folder of all runs")
    return label


@dataclass(frozen=True, config=_CONFIG)
class SuiteRun:
    """One run of a suite."""

    run: Annotated[str, BeforeValidator(_label)]
    """``Pong/laptop-seed1``, in the folder of all runs."""
    identity: str
    """Digest of the settings that make it this run."""
    state: str
    """``finished``, ``failed``, ..."""
    attempts: int = 0
    """How often it was started."""
    node: str = ""
    """Where it ran last."""


@dataclass(frozen=True, config=_CONFIG)
class GameScores:
    """The finished runs of one game with one config."""

    game: str
    config: str
    scores: list[float]
    """Mean of each run's last evaluation."""


@dataclass(frozen=True, config=_CONFIG)
class SuiteScores:
    """The scores of all finished runs."""

    how: list[str] = field(default_factory=list)
    """How they were measured, a line for each way."""
    games: list[GameScores] = field(default_factory=list)


@dataclass(frozen=True, config=_CONFIG)
class SuiteRecord:
    """The content of a suite.json."""

    runs: list[SuiteRun]
    scores: SuiteScores


def read_suite(folder: Path) -> SuiteRecord:
    """Read a suite's folder.

    Raises:
        ConfigError: suite.json is missing or damaged.
    """
    file = folder / FILE
    try:
        return TypeAdapter(SuiteRecord).validate_json(file.read_bytes(), strict=True)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "its content"
        raise ConfigError(
            f"{file} is damaged: {where} is missing or invalid; remove it, and the suite's command "
            "writes it anew"
        ) from None


def run_folders(folder: Path, suite: SuiteRecord) -> list[Path]:
    """The folders of a suite's runs; its own is ``suites/NAME`` in the folder of all runs."""
    home = folder.parent.parent
    return [home / run.run for run in suite.runs]
