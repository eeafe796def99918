"""Where a model or a checkpoint comes from: its game, and the versions and machine behind it."""

import functools
import logging
import os
import platform
import re
import subprocess
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

import dqn
from dqn.config import Config, ConfigError, printable
from dqn.device import cores, gpu_versions
from dqn.envs import Spec
from dqn.envs.names import protocol_name

log = logging.getLogger("dqn")

_CPU_INFO = Path("/proc/cpuinfo")

Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
"""A whole number in a meta.json; pydantic checks it."""


@dataclass(frozen=True)
class Provenance:
    """The game and its shapes, then everything else that a run's bits depend on."""

    game: str
    protocol: str
    num_actions: Annotated[Count, Field(ge=1)]
    stack_shape: list[Count]
    """``[S, *frame]``."""
    versions: dict[str, str]
    device: str
    threads: Count
    commit: str = ""
    """Of the program; empty where that is not a clone. Several, oldest first, where later ones
    continued the run."""
    machine: str = ""

    @property
    def processor(self) -> str:
        """The CPU's model, where the networks are computed on it."""
        return self.machine.rpartition(", ")[0] if self.device == "cpu" else ""

    def as_comments(self) -> str:
        """Lines for the head of config.yaml."""
        names = ("game", "protocol", "commit", "machine", "device", "threads")
        lines = [f"{name}: {value}" for name in names if (value := getattr(self, name))]
        lines += [f"{package} {number}" for package, number in self.versions.items()]
        return "".join(f"# {line}\n" for line in lines)

    def continuing(self, earlier: "Provenance") -> "Provenance":
        """The same, with the commits that made the checkpoint before ours."""
        commits = dict.fromkeys([*earlier.commit.split(", "), self.commit])
        return replace(self, commit=", ".join(filter(None, commits)))

    def check_game(self, folder: Path, ours: "Provenance") -> None:
        """Refuse a checkpoint of another game.

        Raises:
            ConfigError: the first field that differs.
        """
        for name in ("game", "num_actions", "stack_shape"):
            if (theirs := getattr(self, name)) != getattr(ours, name):
                raise ConfigError(
                    f"{folder} belongs to another game: {name} is {as_text(theirs)}, "
                    f"not {as_text(getattr(ours, name))}"
                )

    def check_device(self, folder: Path, ours: "Provenance") -> None:
        """Refuse to continue a GPU's checkpoint on the CPU, or the CPU's on a GPU.

        Raises:
            ConfigError: they differ, and so do their random generators.
        """
        if (self.device == "cpu") != (ours.device == "cpu"):
            raise ConfigError(
                f"{folder} was saved on {as_text(self.device)} and cannot be continued on "
                f"{ours.device}, whose random generators differ; use the same kind of device "
                "(CUDA_VISIBLE_DEVICES= hides a GPU), or start anew with --fresh"
            )

    def warn_of_differences(self, ours: "Provenance") -> None:
        """Log what may change a run's bits from here on."""
        for name in ("versions", "device", "processor", "threads"):
            if (theirs := getattr(self, name)) != getattr(ours, name):
                log.warning(
                    "This checkpoint was made with %s %s, now %s: the run continues, but not "
                    "bit for bit.", name, as_text(theirs), as_text(getattr(ours, name)),
                )  # fmt: skip


def make_provenance(config: Config, spec: Spec, device: torch.device) -> Provenance:
    """The provenance of what this process writes."""
    return Provenance(
        game=spec.game,
        protocol=protocol_name(config, spec.atari),
        num_actions=spec.num_actions,
        stack_shape=[spec.stack, *spec.frame_shape],
        versions=versions() | gpu_versions(device),
        device=device_name(device),
        threads=torch.get_num_threads(),
        commit=commit(),
        machine=machine(),
    )


def as_text(value: Any) -> str:
    """``torch 2.13.0, numpy 2.3.4`` for versions; printable and at most 200 characters long."""
    if isinstance(value, dict):
        value = ", ".join(f"{name} {number}" for name, number in value.items())
    return printable(str(value))[:200]


@functools.cache
def versions() -> dict[str, str]:
    """The versions of this program, of Python and of the packages that decide a run's bits."""
    packages = ("torch", "ale-py", "gymnasium", "numpy")
    ours = {"dqn": dqn.__version__, "python": platform.python_version()}
    return ours | {name: version(name) for name in packages}


@functools.cache
def commit() -> str:
    """The git commit of this program, ``-dirty`` after it if files differ from it; empty if the
    program is not a clone."""
    root = Path(dqn.__file__).parents[1]
    if not (root / ".git").exists():  # git would look for one in the folders above
        return ""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        "--exclude=*",
        "--abbrev=10",
        "--dirty",
    ]
    try:
        done = subprocess.run(
            command, env=clean | {"GIT_OPTIONAL_LOCKS": "0"}, capture_output=True, text=True,
            timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):  # no git, or a folder of another user
        return ""
    return done.stdout.strip()


@functools.cache
def machine() -> str:
    """The processor, and how many of its cores this process may use."""
    try:
        found = re.search(r"^model name\s*: (.+)$", _CPU_INFO.read_text(), re.MULTILINE)
    except OSError:  # macOS
        found = None
    return f"{found[1] if found else platform.machine()}, {cores()} cores"


def device_name(device: torch.device) -> str:
    """``cpu``, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
