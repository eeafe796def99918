"""A run's folder: who may write in it, what it belongs to, when it must stop.

``checkpoints/<Game>/<config>-seed<seed>/`` holds one run. One process at a time trains in it;
readers need no permission.
"""

import contextlib
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
from dqn.device import in_terminal
from dqn.journal import Journal

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
        self._made: list[Path] = []
        self._lock = self._locked()

    def set_aside(self) -> Path | None:
        """Rename the folder, if it holds anything, after the moment, and begin an empty one;
        returns where the old run is."""
        if all(entry.name == ".lock" for entry in self.path.iterdir()):
            return None
        moment = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        aside = self.path.with_name(f"{self.path.name}.old-{moment}")
        os.rename(self.path, aside)  # in one instant: half a run in either place helps nobody
        self._lock.close()
        (aside / ".lock").unlink(missing_ok=True)
        self._lock = self._locked()
        return aside

    def _locked(self) -> IO[str]:
        elsewhere = "--checkpoints-dir names another place"
        try:
            self._made += [place for place in (self.path, *self.path.parents) if not place.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            links = [entry.name for entry in self.path.iterdir() if entry.is_symlink()]
            if links:  # what is written through one changes a file of somebody else's
                raise ConfigError(f"{self.path}/{links[0]} is a link; a run's files are its own")
            lock = open(self.path / ".lock", "a+")  # noqa: SIM115  held until the process ends
        except OSError as error:
            reason = error.strerror
            raise ConfigError(f"cannot write in {self.path}: {reason}; {elsewhere}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise ConfigError(
                f"process {owner} is training in {self.path} already; stop it, or name another "
                "--seed, --config or --checkpoints-dir"
            ) from None
        except OSError as error:  # a network disk without locks
            lock.close()
            reason = error.strerror
            raise ConfigError(f"cannot lock {self.path}: {reason}; {elsewhere}") from None
        if not _same_file(lock, self.path / ".lock"):  # just moved aside by another's --fresh
            lock.close()
            return self._locked()
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def close(self) -> None:
        """Let another process train here; a folder in which nothing came about goes again,
        and those above it that were made for it."""
        if [entry.name for entry in self.path.iterdir()] == [".lock"]:
            (self.path / ".lock").unlink()
            with contextlib.suppress(OSError):  # another's run is in it meanwhile
                for folder in self._made:
                    folder.rmdir()
        self._lock.close()


def _same_file(opened: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False


class StopSignals:
    """Ctrl-C, SIGTERM and SIGHUP as a question that the loop may ask at each step.

    The first one asks to finish the step and save; a second Ctrl-C ends the process at once. What
    the parent made us ignore (nohup: SIGHUP) stays ignored.
    """

    SAME_SECONDS = 0.5
    """A parent that hands signals on (make, timeout) doubles one: so soon it is no second wish."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._before = {n: h for n, h in handlers.items() if h != signal.SIG_IGN}

    def __enter__(self) -> "StopSignals":
        for number in self._before:
            signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # Saved and on the way out: an impatient second one must not turn this into a crash.
            signal.signal(number, signal.SIG_IGN if self.received else handler)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.received is not None

    @property
    def exit_status(self) -> int:
        """What the shell expects of a process ended by the signal: 128 + its number."""
        return 128 + self.received if self.received else 0

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.received and number == signal.SIGINT and self._later():
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopped at once; what the last checkpoint holds is safe\n")
            os._exit(130)
        if self.received is None:
            self.received, self._when = signal.Signals(number), time.monotonic()
            if number == signal.SIGINT:
                with contextlib.suppress(OSError):
                    os.write(2, b"\nstopping after this step; what is new is saved first\n")

    def _later(self) -> bool:
        return time.monotonic() - self._when > self.SAME_SECONDS


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

    def __init__(self) -> None:
        super().__init__()
        self._vanished = sys.stderr is None  # as after 2>&-

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line, unless the bar shows the same."""
        if self._vanished or (getattr(record, "only_without_bar", False) and in_terminal()):
            return
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except (OSError, ValueError):
            self._vanished = True


def log_to_terminal() -> None:
    """Show the program's lines on stderr, where the bar is too."""
    log.setLevel(logging.INFO)
    for handler in [handler for handler in log.handlers if isinstance(handler, TerminalHandler)]:
        log.removeHandler(handler)  # the last run's terminal may have vanished, this one's has not
    log.addHandler(TerminalHandler())


class LogFile(logging.Handler):
    """Writes lines with their times; what a full disk refuses comes later."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._journal = Journal(path)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self._journal.append(f"{self.format(record)}\n".encode(errors="replace"))


def log_to_file(path: Path) -> logging.Handler:
    """Keep the program's lines in ``train.log`` too."""
    handler = LogFile(path)
    log.addHandler(handler)
    return handler
