"""Trainings in processes of their own: real processes, which get real signals."""

import functools
import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from main import main

ROOT = Path(__file__).parents[2]

PRELOADED = [
    "pytest", "torch", "cv2", "ale_py", "gymnasium", "matplotlib.figure", "main",
    "dqn.commands.train", "dqn.learning.factory", "dqn.tabular.agent",
]  # fmt: skip


def command(folder: Path, options: list[str], *more: str) -> list[str]:
    """``python main.py`` as typed."""
    return [sys.executable, str(ROOT / "main.py"), *options, f"--checkpoints-dir={folder}", *more]


def start_python(folder: Path, options: list[str], *more: str) -> "subprocess.Popen[str]":
    """Train by ``python main.py``: some three seconds before the first step."""
    typed, env = command(folder, options, *more), os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(typed, stderr=subprocess.PIPE, text=True, env=env)


class ForkedMain:
    """``main(arguments)`` in a process forked from a server that has already imported torch.

    The server is a fresh interpreter, started by the first test that needs it: its children share
    no thread, lock or patch with the test process. The methods are those of ``Popen``.
    """

    def __init__(self, arguments: list[str]) -> None:
        reader, writer = multiprocessing.Pipe(duplex=False)
        self._process = _context().Process(target=_run, args=(arguments, writer), daemon=True)
        self._process.start()
        writer.close()
        self.stderr = os.fdopen(os.dup(reader.fileno()))
        assert self._process.pid
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, or minus the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it is still running"
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[None, str]:
        """What it wrote to stderr, once it has ended. (So little that the pipe holds it.)"""
        self.wait(timeout)
        with self.stderr:
            return None, self.stderr.read()


Process = ForkedMain | subprocess.Popen[str]


@functools.cache
def _context() -> multiprocessing.context.ForkServerContext:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the server inherits it
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _run(arguments: list[str], stderr: multiprocessing.connection.Connection) -> None:
    os.dup2(stderr.fileno(), 2)
    # tqdm's own lock is a semaphore: after a SIGKILL, Python would warn of it when pytest ends
    tqdm.set_lock(threading.RLock())
    sys.exit(main(arguments))


def start(folder: Path, options: list[str], *more: str) -> ForkedMain:
    return ForkedMain([*options, f"--checkpoints-dir={folder}", *more])


def wait_for(process: Process, condition: Callable[[], bool]) -> None:
    """Look every few milliseconds, as long as the process lives."""
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
