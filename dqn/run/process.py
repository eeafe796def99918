"""The process of a run: its stop signals, its clock and its log."""

import contextlib
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from dqn.device import in_terminal
from dqn.storage.files import Journal

log = logging.getLogger("dqn")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Whether Ctrl-C, SIGTERM or SIGHUP was received; the loop asks at each step.

    The first one lets the run finish its step and save; a second Ctrl-C ends the process at once.
    Signals that the parent ignores (nohup: SIGHUP) stay ignored.
    """

    SAME_SECONDS = 0.5
    """Ctrl-C within this time is the same one, forwarded by a parent such as make or timeout."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._interrupted: float | None = None  # when Ctrl-C was received first
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._before = {n: h for n, h in handlers.items() if h != signal.SIG_IGN}

    def __enter__(self) -> "StopSignals":
        for number in self._before:
            signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # If stopped, everything is saved: another signal must not turn the exit into a crash.
            signal.signal(number, signal.SIG_IGN if self.received else handler)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.received is not None

    @property
    def exit_status(self) -> int:
        """128 + the signal's number, as shells expect, or 0."""
        return 128 + self.received if self.received else 0

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if number != signal.SIGINT:
            return
        if self._interrupted is None:
            self._interrupted = time.monotonic()
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopping; what is new is saved; Ctrl-C again stops at once\n")
        elif time.monotonic() - self._interrupted > self.SAME_SECONDS:
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopped at once; what the last checkpoint holds is safe\n")
            os._exit(130)


class Clock:
    """Is due once every so many minutes of wall time."""

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._next = time.monotonic() + self._seconds

    def is_due(self) -> bool:
        """Whether it is due; if so, the next interval starts now."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._seconds
        return True


class TerminalHandler(logging.Handler):
    """Prints lines above the progress bar; ignores a terminal that is gone."""

    def __init__(self) -> None:
        super().__init__()
        self._is_gone = sys.stderr is None  # as after 2>&-

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_gone or (getattr(record, "only_without_bar", False) and in_terminal()):
            return
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except (OSError, ValueError):
            self._is_gone = True


def log_to_terminal() -> None:
    """Log to stderr, where the progress bar is too."""
    log.setLevel(logging.INFO)
    for handler in [handler for handler in log.handlers if isinstance(handler, TerminalHandler)]:
        log.removeHandler(handler)  # the last run's terminal may be gone
    log.addHandler(TerminalHandler())


class LogFile(logging.Handler):
    """Writes lines with their times; if the disk is full, later."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._journal = Journal(path)
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        self._journal.append(f"{self.format(record)}\n".encode(errors="backslashreplace"))


def log_to_file(path: Path) -> logging.Handler:
    """Log to a file too."""
    handler = LogFile(path)
    log.addHandler(handler)
    return handler
