"""Reading a run, finished or not, from another process: its config and one of its models.

Readers need no lock. If a running run deletes the checkpoint being read, a newer one is read.
"""

import difflib
import re
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from dqn import envs
from dqn.config import Config, ConfigError
from dqn.config.shipped import AGENTS, find_run
from dqn.config.words import as_started
from dqn.config.yaml_file import NUMBER, load_run_config, number
from dqn.learning.interfaces import MakeModel, Model
from dqn.storage.checkpoint import newest_first, step_of
from dqn.storage.manifest import CorruptCheckpoint, read_manifest
from dqn.storage.provenance import as_text
from dqn.storage.tensors import MODEL_FILE, read_tensors

HOME = Path("checkpoints")
"""Where runs are by default."""


@dataclass(frozen=True)
class SavedAgent:
    """A model as it was at some step, and the config and game it was trained under."""

    config: Config
    spec: envs.Spec
    name: str
    """``best`` or ``step_000250000``."""
    step: int
    model: Model


def load_agent(make_model: MakeModel, run: str, which: str, device: torch.device) -> SavedAgent:
    """Load the ``latest`` model, the ``best`` one or that of a step from a run's folder.

    A shipped agent has only ``best``, which is then the latest too.

    Raises:
        ConfigError: there is no run or no such checkpoint, or it is damaged or of another game.
    """
    folder = find_run(run)
    config = run_config(folder)
    environment = envs.make(config, 1)
    environment.close()
    spec = environment.spec
    problems: list[str] = []
    for candidate in _candidates_with_retries(folder, which):
        try:
            manifest = read_manifest(candidate)
            tensors = read_tensors(candidate, manifest, MODEL_FILE)
        except CorruptCheckpoint as error:
            problems.append(str(error))
            continue
        model = make_model(config, spec, device)
        saved = manifest.provenance
        if (saved.game, saved.num_actions) != (spec.game, spec.num_actions):
            raise ConfigError(
                f"{candidate} does not fit {folder}/config.yaml: its game is "
                f"{as_text(saved.game)} with {saved.num_actions} actions"
            )
        if _shapes(tensors) != _shapes(model.state_dict()):
            raise ConfigError(
                f"{candidate} does not fit {folder}/config.yaml: its network has other layers, or "
                "another version of the program saved it"
            )
        model.load_state_dict(tensors)
        for problem in dict.fromkeys(problems):
            print(f"warning: {problem}: reading {candidate.name}", file=sys.stderr)
        return SavedAgent(config, spec, candidate.name, manifest.step, model)
    if not problems and which == "best":
        raise ConfigError(
            f"{folder} has no best model yet; the first is written after the first evaluation, at "
            f"step {config.evaluate_period:,} or the last one"
        )
    if not problems:
        raise ConfigError(
            f"{folder} has no checkpoint ({which}) yet; the first is written after "
            f"{config.checkpoint_minutes:g} minutes of training, or before the first evaluation"
        )
    raise ConfigError(f"no checkpoint in {folder} is whole: {'; '.join(dict.fromkeys(problems))}")


def checkpoint_names(run: str) -> list[str]:
    """The names of the checkpoints that a run has now, which ``load_agent`` takes: oldest first,
    then ``best``."""
    folder = find_run(run)
    best = ["best"] if (folder / "best").exists() else []
    return [path.name for path in reversed(newest_first(folder))] + best


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (value.dtype, value.shape) for name, value in tensors.items()}


def run_config(folder: Path) -> Config:
    """The config of a run.

    Raises:
        ConfigError: the folder has no run.
    """
    try:
        exists, found = folder.is_dir(), (folder / "config.yaml").is_file()
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}") from None
    if not exists:
        near = difflib.get_close_matches(folder.name, AGENTS, n=1)
        advice = f"did you mean {near[0]}?" if near else _advice(folder.parent)
        raise ConfigError(f"there is no folder {folder}; {advice}")
    if not found:
        raise ConfigError(f"{folder} is not a run's folder: no config.yaml; {_advice(folder)}")
    return load_run_config(folder)


def runs_in(folder: Path) -> list[Path]:
    """The folders of all runs in a folder of runs, as ``checkpoints`` and ``checkpoints/Pong`` are;
    not those that were moved aside."""
    configs = [*folder.glob("*/config.yaml"), *folder.glob("*/*/config.yaml")]
    return sorted(path.parent for path in configs if ".old-" not in path.parent.name)


def _advice(folder: Path) -> str:
    """The newest runs in a folder, or else in the default one."""
    for place in (folder, HOME):
        runs = runs_in(place)
        newest = sorted(filter(Path.exists, runs), key=lambda run: run.stat().st_mtime)[:-4:-1]
        if newest:
            return f"try {' or '.join(shlex.quote(str(run)) for run in newest)}"
    return as_started("train one first: python main.py --game Breakout")


def _candidates_with_retries(folder: Path, which: str) -> Iterator[Path]:
    """A running run may delete what was listed before it is read; then there is a newer one."""
    for attempt in range(3):
        time.sleep(0.1 * attempt)
        yield from _candidates(folder, which)


def _candidates(folder: Path, which: str) -> list[Path]:
    checkpoints = newest_first(folder)
    best = [folder / "best"] if (folder / "best").exists() else []
    if which == "latest":
        return checkpoints or best
    if which == "best":
        return best
    step = _step(which)
    named = [path for path in checkpoints if step_of(path) == step]
    if not named:
        names = [str(step_of(path)) for path in checkpoints] + [path.name for path in best]
        available = ", ".join(names) or "none"
        raise ConfigError(f"no checkpoint of step {step} in {folder}; available: {available}")
    return named


def _step(which: str) -> int:
    """``250000``, ``250_000``, ``2.5e5`` or ``step_000250000``."""
    text = which.removeprefix("step_")
    value = number(text) if NUMBER.fullmatch(text) else None
    if isinstance(value, int):
        return value
    if not re.fullmatch(r"\d[\d_]{,18}", text):
        raise ConfigError(f"--checkpoint must be latest, best or a step, not {which}")
    return int(text.replace("_", ""))
