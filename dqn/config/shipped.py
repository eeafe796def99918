"""What comes with the program, presets and trained agents: beside ``dqn/`` in a checkout, inside it
where it is installed. Their names mean the same in every folder."""

import os
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def _shipped(folder: str) -> Path:
    inside = _PACKAGE / folder
    return inside if inside.is_dir() else _PACKAGE.parent / folder


PRESETS = {path.stem: path for path in sorted(_shipped("configs").glob("*.yaml"))}
"""Files by their names without ``.yaml``."""

SUITES = {path.stem: path for path in sorted(_shipped("configs").glob("suites/*.yaml"))}
"""Files by their names without ``.yaml``."""

AGENTS = {path.parent.name: path.parent for path in _shipped("checkpoints").glob("*/best")}
"""Folders by their names."""


def find_preset(typed: str) -> str:
    """The file that ``--config`` means: one that is there, or else the preset of that name, as
    ``laptop`` or ``configs/laptop.yaml``."""
    name = typed.removeprefix("configs/").removesuffix(".yaml")
    return str(PRESETS[name]) if name in PRESETS and not Path(typed).is_file() else typed


def find_suite(typed: str) -> str:
    """The file that SUITE means: one that is there, or else the shipped suite of that name, as
    ``atari5`` or ``configs/suites/atari5.yaml``."""
    name = typed.removeprefix("configs/suites/").removesuffix(".yaml")
    return str(SUITES[name]) if name in SUITES and not Path(typed).is_file() else typed


def distinct_runs(typed: Iterable[str]) -> list[str]:
    """The named runs, each once even if it was named in two ways."""
    return list({os.path.realpath(find_run(name)): name for name in typed}.values())


def find_run(typed: str) -> Path:
    """The folder that RUN means: one that is there, or else the shipped agent's of that name, as
    ``pong-laptop`` or ``checkpoints/pong-laptop``."""
    folder = Path(typed)
    name = str(folder).removeprefix("checkpoints/")
    return AGENTS[name] if name in AGENTS and not folder.is_dir() else folder
