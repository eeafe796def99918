"""Runs as tasks of a Ray cluster: each in a process of its own, started again if that is lost.

Ray only places and starts them. A run's state is in its own folder, and a task returns no more
than its exit status.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dqn.config import Config, ConfigError
from dqn.run.folder import FolderInUse
from dqn.scale.cluster import check_resources
from dqn.storage.checkpoint import newest_first, step_of
from dqn.storage.files import remove, replace_file

log = logging.getLogger("dqn")

Train = Callable[[Config, str, bool], int]
"""Trains the run of a config under a name, not anew, and returns its exit status."""

State = Literal["waiting", "running", "finished", "stopped", "failed"]

CHANCES = 3
"""Failures, or losses without a new checkpoint, after which a run is given up."""

EARLY_CHANCES = 20
"""Losses in a row before its task has begun, after which a run is given up: no node can run it."""

EARLY_SECONDS = 1.0
"""How long a run waits after the first of these, doubled each time, up to a minute."""

POLL_SECONDS = 0.5

STUCK_SECONDS = 60.0
"""How often it is checked, while nothing runs, whether a node could."""

LOCK_SECONDS = 120.0
"""How long a run waits for its folder, which the process of a lost task may still hold."""


class Job(NamedTuple):
    """What a task trains, and where."""

    config: Config
    name: str
    folder: Path
    note: Path
    """A file in which the task says where it runs."""


@dataclass(eq=False)
class Run:
    """A run, as the driver sees it."""

    job: Job
    state: State = "waiting"
    attempts: int = 0
    """How often it was started."""
    node: str = ""
    reason: str = ""
    """Why the last attempt ended, if it failed or was lost."""
    failures: int = 0
    losses: int = 0
    """How often it was lost since its last new checkpoint."""
    early_losses: int = 0
    """How often in a row its task was lost before it had begun."""
    start_at: float = 0.0
    """When it may be started again, by ``time.monotonic``."""
    checkpoint: int = -1
    """Step of the newest checkpoint when it was last lost."""


def this_node() -> str:
    """A name of the node that this task runs on; several nodes may share a machine."""
    import ray

    return f"{socket.gethostname()}-{ray.get_runtime_context().get_node_id()[:4]}"


def execute(train: Train, job: Job) -> tuple[int, str]:
    """Train a run in this process; returns its exit status, and why it was refused."""
    replace_file(job.note, json.dumps({"node": this_node(), "pid": os.getpid()}).encode())
    logging.getLogger("dqn").setLevel(logging.INFO)
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return train(job.config, job.name, False), ""
        except FolderInUse as error:
            if time.monotonic() > give_up:
                return 2, str(error)
            time.sleep(1)
        except ConfigError as error:
            return 2, str(error)


class Driver:
    """Starts all runs, and those that are lost again, until each has finished or failed.

    ``changed`` is called with a run whose state, node or number of attempts is new, ``refresh`` at
    each look at the tasks, twice a second.
    """

    def __init__(
        self,
        train: Train,
        cpus: float,
        gpus: float,
        changed: Callable[[Run], None],
        refresh: Callable[[], None],
    ) -> None:
        import ray

        self._task = ray.remote(
            num_cpus=cpus, num_gpus=gpus, max_calls=1, max_retries=0, scheduling_strategy="SPREAD"
        )(execute)
        self._share = cpus, gpus
        self._next_check = time.monotonic() + STUCK_SECONDS
        self._train, self._changed, self._refresh = train, changed, refresh
        self._tasks: dict[Any, Run] = {}

    def drive(self, runs: Sequence[Run], stop: Callable[[], bool]) -> None:
        """Train the runs. When ``stop`` says so, each is saved and stopped."""
        import ray

        for run in runs:
            self._start(run)
        stopping = False
        while self._tasks or (not stopping and any(run.state == "waiting" for run in runs)):
            ended = self._wait()
            for run in self._tasks.values():
                self._look(run)
            for task in ended:
                run = self._tasks.pop(task)
                self._end(run, task, stopping)
                self._changed(run)
            if stop() and not stopping:
                stopping = True
                for task in self._tasks:
                    ray.cancel(task)  # SIGINT, on which a run saves itself
            self._warn_if_stuck()
            self._refresh()
            if not stopping:
                for run in runs:
                    is_due = run.state == "waiting" and time.monotonic() >= run.start_at
                    if is_due and run not in self._tasks.values():
                        self._start(run)

    def _wait(self) -> list[Any]:
        """Tasks that have ended, within POLL_SECONDS."""
        import ray

        if not self._tasks:
            time.sleep(POLL_SECONDS)
            return []
        ended, _ = ray.wait(list(self._tasks), num_returns=1, timeout=POLL_SECONDS)
        return list(ended)

    def _warn_if_stuck(self) -> None:
        """Say why nothing runs if the nodes that could are gone; another may join."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + STUCK_SECONDS
        if all(run.state == "waiting" for run in self._tasks.values()):
            try:
                check_resources(*self._share)
            except ConfigError as error:
                log.warning("%s: waiting for another node.", error)

    def _start(self, run: Run) -> None:
        remove(run.job.note)
        run.state = "waiting"
        self._tasks[self._task.remote(self._train, run.job)] = run

    def _look(self, run: Run) -> None:
        """See whether a task has begun."""
        if run.state != "waiting":
            return
        try:
            run.node = json.loads(run.job.note.read_text())["node"]
        except FileNotFoundError:
            return
        run.state = "running"
        run.attempts += 1
        run.early_losses = 0
        self._changed(run)

    def _end(self, run: Run, task: Any, stopping: bool) -> None:
        """Set the state of a run whose task has ended."""
        import ray

        try:
            status, run.reason = ray.get(task)
        except ray.exceptions.TaskCancelledError:
            self._lost(run, "its task was cancelled", stopping)
        except ray.exceptions.RayTaskError as error:  # a bug, or a package that is missing there
            self._failed(run, str(error).strip().splitlines()[-1])
        except ray.exceptions.RayError as error:
            self._lost(run, f"its process or node died ({type(error).__name__})", stopping)
        else:
            if status == 0:
                run.state, run.reason = "finished", ""
            elif status in (1, 2):
                self._failed(run, run.reason or "it ended with exit status 1")
            elif stopping:
                run.state = "stopped"
            else:
                self._lost(run, f"someone stopped it (exit status {status})", stopping)
        if run.state == "waiting":
            run.node = ""

    def _failed(self, run: Run, reason: str) -> None:
        run.failures, run.reason = run.failures + 1, reason
        run.state = "failed" if run.failures == CHANCES else "waiting"

    def _lost(self, run: Run, reason: str, stopping: bool) -> None:
        newest = next(map(step_of, newest_first(run.job.folder)), 0)
        has_begun = run.state == "running"  # or its node was gone before Ray noticed
        run.losses = has_begun + (run.losses if newest == run.checkpoint else 0)
        run.checkpoint, run.reason = newest, reason
        run.state = "stopped" if stopping else "waiting"
        if not has_begun:
            wait = min(60.0, EARLY_SECONDS * 2.0**run.early_losses)
            run.early_losses, run.start_at = run.early_losses + 1, time.monotonic() + wait
        if run.losses == CHANCES:
            run.state = "failed"
            run.reason = f"it died {CHANCES} times without a new checkpoint: {reason}"
        elif run.early_losses == EARLY_CHANCES:
            run.state = "failed"
            run.reason = f"its task died {EARLY_CHANCES} times before it began: {reason}"
