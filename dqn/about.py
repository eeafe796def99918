"""What a run is of and what it is made with: kept in every checkpoint, compared on going on."""

import functools
import logging
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dqn.config import Config, ConfigError, printable
from dqn.envs import Spec
from dqn.evaluate import protocol_name

log = logging.getLogger("dqn")


def make_about(config: Config, spec: Spec, device: torch.device) -> dict[str, Any]:
    """Game, protocol and shapes; versions, device and threads, on which its bits depend."""
    return {
        "game": spec.game,
        "protocol": protocol_name(config, spec.atari),
        "num_actions": spec.num_actions,
        "stack_shape": [spec.stack, *spec.frame_shape],
        "versions": versions(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def check_about(folder: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Refuse another game's checkpoint.

    Raises:
        ConfigError: it says what differs.
    """
    for key in ("game", "num_actions", "stack_shape"):
        if theirs[key] != ours[key]:
            raise ConfigError(
                f"{folder} is of another game: {key} is {in_words(theirs[key])}, "
                f"not {in_words(ours[key])}"
            )


def warn_of_differences(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """Say so if other versions may mean other bits."""
    for key in ("versions", "device", "threads"):
        if theirs[key] != ours[key]:
            log.warning(
                "This checkpoint was made with %s %s, now %s: the run goes on, but not to the "
                "same bits.", key, in_words(theirs[key]), in_words(ours[key]),
            )  # fmt: skip


def in_words(value: Any) -> str:
    """``torch 2.13.0, numpy 2.3.4`` of packages; anything else as it is, unless it is long."""
    if isinstance(value, dict):
        value = ", ".join(f"{name} {number}" for name, number in value.items())
    return printable(str(value))[:200]


@functools.cache
def versions() -> dict[str, str]:
    """What decides a run's bits beside its config and the machine."""
    packages = ("torch", "ale-py", "gymnasium", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def device_name(device: torch.device) -> str:
    """``cpu``, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
