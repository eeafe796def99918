"""A run of Weights & Biases (https://wandb.ai) that mirrors what TensorBoard gets.

Only a run with ``wandb`` imports the package, and only that may use the network; with
``WANDB_MODE=offline`` it writes files alone.
"""

import logging
import os
import re
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dqn.config import Config, ConfigError, flatten
from dqn.storage.files import replace_file
from dqn.types import Array

log = logging.getLogger("dqn")

OFFLINE = ("offline", "dryrun", "disabled")
"""Values of WANDB_MODE that need no account."""


def check_ready(project: str) -> None:
    """Raises ConfigError if the package or an account is missing, or the project's name is invalid;
    asks for the account's key in a terminal."""
    if not find_spec("wandb"):
        raise ConfigError("--wandb needs its package; type `pip install -r requirements-wandb.txt`")
    import wandb

    try:
        wandb.Settings(project=project)
    except (wandb.Error, ValueError):
        raise ConfigError(f"--wandb must be the name of a project, not {project}") from None
    if os.environ.get("WANDB_MODE") in OFFLINE:
        return
    try:
        wandb.login()
    except wandb.Error as error:
        raise ConfigError(
            f"--wandb has no account to write to ({error}); set WANDB_MODE=offline to write files "
            "for `wandb sync`"
        ) from None


class WandbRun:
    """The run of a project that belongs to a run's folder: its id is kept there, so a run that is
    resumed continues it. Files are in ``wandb/`` there.

    No method raises: whatever fails is logged once, and the training goes on without it.
    """

    def __init__(self, folder: Path, project: str, config: Config) -> None:
        """Start or continue it.

        Raises:
            ConfigError: it cannot be started, or what is there is no id.
            OSError: the id cannot be written.
        """
        import wandb

        run_id = _run_id(folder / "wandb" / "run_id")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        quiet = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True,
            x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True,
            x_save_requirements=False,
        )  # fmt: skip
        try:
            self._run: Any = wandb.init(
                project=project,
                id=run_id,
                name=f"{folder.parent.name}/{folder.name}",
                dir=folder,
                resume="allow",
                config=flatten(config),
                settings=quiet,
            )
        except (wandb.Error, OSError, ValueError) as error:
            raise ConfigError(f"Weights & Biases cannot be started: {error}") from None
        self._wandb = wandb

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a point of a curve."""
        self._log(tag, lambda: value, step)

    def image(self, tag: str, pixels: Array, step: int) -> None:
        """Write a gray image ``[H, W]``, uint8."""
        self._log(tag, lambda: self._wandb.Image(pixels), step)

    def film(self, tag: str, pictures: Path, frames_per_second: int, step: int) -> None:  # noqa: ARG002
        """Write the video of an episode, which lies beside its pictures."""
        video = pictures.with_suffix(".mp4")
        if video.exists():
            self._log(tag, lambda: self._wandb.Video(str(video), format="mp4"), step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Nothing: the one text is the config, which it has."""

    def close(self) -> None:
        """Wait until everything is written or sent."""
        self._attempt(lambda run: run.finish())

    def _log(self, tag: str, make: Callable[[], Any], step: int) -> None:
        self._attempt(lambda run: run.log({tag: make()}, step=step))

    def _attempt(self, call: Callable[[Any], Any]) -> None:
        if self._run is None:
            return
        try:
            call(self._run)
        except Exception as error:  # its errors are of many kinds, and none may stop a training
            log.warning("Weights & Biases gets nothing more from this run: %s.", error)
            self._run = None


def _run_id(file: Path) -> str:
    """The id in a file, which is made if it is missing.

    Raises:
        ConfigError: the file holds something else.
        OSError: it cannot be written.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, uuid.uuid4().hex[:8].encode())
    found = file.read_text(encoding="utf-8", errors="replace")
    if not re.fullmatch("[0-9a-f]{8}", found):
        raise ConfigError(f"{file} is not the id of a run; delete it to start a new one there")
    return found
