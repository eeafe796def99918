"""A finished or still running run, read from outside: its config and one of its networks.

Readers need no lock. A running run may delete the checkpoint that is being read; then the next
newest is taken.
"""

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from dqn import envs
from dqn.config import Config, ConfigError
from dqn.config.options import load_config
from dqn.config.yaml_files import NUMBER, number
from dqn.learning.interfaces import MakeModel, Model
from dqn.storage.checkpoint import Checkpoints
from dqn.storage.manifest import CorruptCheckpoint, in_words, read_meta, read_tensors


@dataclass(frozen=True)
class SavedAgent:
    """A network or table as it was at some step, and the config it was trained under."""

    config: Config
    name: str
    """Which one it is: ``best``, ``step_000250000``."""
    step: int
    model: Model


def load_agent(make_model: MakeModel, run: str, which: str, device: torch.device) -> SavedAgent:
    """Load ``latest``, ``best`` or a step's network from a run's folder.

    A shipped agent has ``best`` alone, which is then the latest too.

    Raises:
        ConfigError: no run there, no such checkpoint, or it is damaged or of another game.
    """
    folder = Path(run)
    config = run_config(folder)
    spec = _spec(config)
    problems: list[str] = []
    for candidate in _candidates_of_running_run(folder, which):
        try:
            meta = read_meta(candidate)
            tensors = read_tensors(candidate, meta, "model.safetensors")
        except CorruptCheckpoint as damage:
            problems.append(str(damage))
            continue
        model = make_model(config, spec, device)
        if meta["game"] != spec.game or meta["num_actions"] != spec.num_actions:
            raise ConfigError(
                f"{candidate} does not fit {folder}/config.yaml: it is of "
                f"{in_words(meta['game'])} with {meta['num_actions']} actions"
            )
        if _shapes(tensors) != _shapes(model.state_dict()):
            raise ConfigError(
                f"{candidate} does not fit {folder}/config.yaml: its network has other layers, or "
                "the program that saved it kept them in another way"
            )
        model.load_state_dict(tensors)
        for problem in dict.fromkeys(problems):
            print(f"warning: {problem}: taking {candidate.name}", file=sys.stderr)
        return SavedAgent(config, candidate.name, meta["step"], model)
    if not problems:
        raise ConfigError(f"{folder} has no checkpoint ({which}) yet")
    raise ConfigError(f"no checkpoint in {folder} is whole: {'; '.join(dict.fromkeys(problems))}")


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (value.dtype, value.shape) for name, value in tensors.items()}


def run_config(folder: Path) -> Config:
    """The config of a run's folder.

    Raises:
        ConfigError: there is no run there.
    """
    try:
        found = (folder / "config.yaml").is_file()
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}") from None
    if not found:
        raise ConfigError(f"{folder} is no run's folder: it has no config.yaml")
    return load_config(folder / "config.yaml")


def _spec(config: Config) -> envs.Spec:
    environment = envs.make(config, 1)
    environment.close()
    return environment.spec


def _candidates_of_running_run(folder: Path, which: str) -> Iterator[Path]:
    """What was listed may be deleted or replaced before it is read; then there are newer ones."""
    for moment in range(3):
        time.sleep(0.1 * moment)
        yield from _candidates(folder, which)


def _candidates(folder: Path, which: str) -> list[Path]:
    checkpoints = Checkpoints(folder, "all").newest_first()
    best = [folder / "best"] if (folder / "best").exists() else []
    if which == "latest":
        return checkpoints or best
    if which == "best":
        return best
    step = _step(which)
    named = [path for path in checkpoints if int(path.name[5:]) == step]
    if not named:
        steps = [f"{int(path.name[5:])}" for path in checkpoints]
        held = ", ".join(steps + [path.name for path in best]) or "none"
        raise ConfigError(f"no checkpoint of step {step} in {folder}; there are: {held}")
    return named


def _step(which: str) -> int:
    """``250000``, ``250_000``, ``2.5e5`` or ``step_000250000``."""
    text = which.removeprefix("step_")
    value = number(text) if NUMBER.fullmatch(text) else None
    if isinstance(value, int):
        return value
    if not re.fullmatch(r"\d[\d_]*", text):
        raise ConfigError(f"--checkpoint must be latest, best or a step, not {which}")
    return int(text.replace("_", ""))
