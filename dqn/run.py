"""A run's folder: who may write in it, what it belongs to, when it must stop.

``checkpoints/<Game>/<config>-seed<seed>/`` holds one run. One process at a time trains in it;
readers need no permission.
"""

import fcntl
import logging
import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import IO

from tqdm import tqdm

from dqn.config import ConfigError

log = logging.getLogger("dqn")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RunFolder:
    """The folder, locked for this process until it ends, and its ``train.log``."""

    def __init__(self, path: Path) -> None:
        """Make and lock the folder.

        Raises:
            ConfigError: it cannot be written, or another process trains in it.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = open(path / ".lock", "a+")  # noqa: SIM115  held until the process ends
        except OSError as error:
            raise ConfigError(f"cannot write in {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise ConfigError(f"process {owner} is training in {path} already") from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def set_aside(self) -> None:
        """Move what the folder holds, if anything, to a sibling named after the moment."""
        entries = [entry for entry in self.path.iterdir() if entry.name != ".lock"]
        if not entries:
            return
        moment = datetime.now().strftime("%Y%m%d-%H%M%S")
        aside = self.path.with_name(f"{self.path.name}.old-{moment}")
        aside.mkdir()
        for entry in entries:
            os.rename(entry, aside / entry.name)
        log.info("The old run is in %s.", aside)

    def close(self) -> None:
        """Let another process train here."""
        self._lock.close()


class StopSignals:
    """Ctrl-C, SIGTERM and SIGHUP as a question that the loop may ask at each step.

    The first one asks to finish the step and save; a second Ctrl-C ends the process at once.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before = {number: signal.getsignal(number) for number in SIGNALS}

    def __enter__(self) -> "StopSignals":
        for number in SIGNALS:
            signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.received is not None

    @property
    def exit_status(self) -> int:
        """What the shell expects of a process ended by the signal: 128 + its number."""
        return 128 + self.received if self.received else 0

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            os.write(2, b"\nstopped at once; the last checkpoint is whole\n")
            os._exit(130)
        self.received = signal.Signals(number)


class Clock:
    """Says when so many minutes of wall time have passed since it last said so."""

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._next = time.monotonic() + self._seconds

    def rings(self) -> bool:
        """Whether it is time; the next time counts from now."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._seconds
        return True


class TerminalHandler(logging.Handler):
    """Prints lines above the progress bar, never through it; a vanished terminal is ignored."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line, unless the bar shows the same."""
        if getattr(record, "only_without_bar", False) and sys.stderr.isatty():
            return
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except (OSError, ValueError):
            log.removeHandler(self)


def log_to_terminal() -> None:
    """Show the program's lines on stderr, where the bar is too."""
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, TerminalHandler) for handler in log.handlers):
        log.addHandler(TerminalHandler())


def log_to_file(path: Path) -> logging.Handler:
    """Keep the program's lines in ``train.log`` too, each with its time."""
    stream: IO[str] = open(path, "a", encoding="utf-8")  # noqa: SIM115  closed with the handler
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(handler)
    return handler
