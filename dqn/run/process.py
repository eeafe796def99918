"""The process of a run: signals that ask it to stop, its clock, its log."""

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

    def is_due(self) -> bool:
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
