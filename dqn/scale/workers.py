"""The workers of a run as Ray actors, and the replacement of those that are lost.

Ray starts a lost actor again, on another node if need be. It is a new worker then, which refuses to
play before it has been restored.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, RayTaskError

from dqn.config import Config, ConfigError
from dqn.envs.environment import EngineStep
from dqn.run.resume import RunStopped, StoppedEarly
from dqn.scale.cluster import Found, check_places, check_same, probe
from dqn.scale.compression import FramesInTransit, compress, decompress
from dqn.scale.rollouts import OutOfOrder, Rollout, RolloutWorker, Weights, columns, select_columns
from dqn.types import State

log = logging.getLogger("dqn")

LOST = (ActorUnavailableError, ObjectLostError, OutOfOrder)
"""What a request raises if its worker has died, or its node with the answer, or if it is new."""

LOSSES = 5
"""An actor that is lost more often, without a round played in between, is not started again."""

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 20.0
"""How long to wait for an answer before it is logged."""


class Snapshot(NamedTuple):
    """A run between two turns, from which its workers are restored."""

    turn: int
    """The next one."""
    environment: State
    actor: State


class Request(NamedTuple):
    """Turns to play, and with which weights."""

    turn: int
    turns: int
    weights: "ray.ObjectRef[Weights]"


class RemoteWorker(RolloutWorker):
    """A worker on a node of the cluster; frames that leave the node are compressed."""

    def __init__(self, config: Config, worker: int, learner_node: str, program: Found) -> None:
        """``program`` is the learner's.

        Raises:
            ConfigError: this node's differs.
        """
        check_same("the learner's node", program)
        super().__init__(config, worker)
        self._leaves_node = ray.get_runtime_context().get_node_id() != learner_node

    def started(self) -> None:
        """Does nothing; who waits for its answer waits for the constructor."""

    def answer(self, turn: int, turns: int, weights: Weights) -> tuple[Rollout, Any]:
        """A rollout without its frames, and those."""
        rollout = self.play(turn, turns, weights)
        frames = rollout.steps.frame
        steps = rollout.steps._replace(frame=np.empty(0))
        packed = compress(frames) if self._leaves_node else frames
        return rollout._replace(steps=steps), packed


class Workers:
    """K workers, and the requests that they have not answered yet.

    Every method that waits for them raises StoppedEarly if the run is asked to stop meanwhile,
    ConfigError if a worker cannot start, and RunStopped if one is lost again and again.
    """

    def __init__(self, config: Config, stop: Callable[[], bool]) -> None:
        """``stop`` says whether the run has been asked to stop.

        Raises:
            ConfigError: the cluster has too few CPUs.
        """
        check_places(config.actors, config.distributed.threads)
        self._config = config
        self._stop = stop
        node = ray.get_runtime_context().get_node_id()
        kind = ray.remote(RemoteWorker).options(
            num_cpus=config.distributed.threads, scheduling_strategy="SPREAD",
            max_restarts=-1, max_task_retries=0,
        )  # fmt: skip
        program = Found(*probe(None))
        self._workers: list[Any] = [
            kind.remote(config, worker, node, program) for worker in range(config.actors)
        ]
        self._everyone = range(config.actors)
        self._requests: deque[Request] = deque()
        self._answers: list[deque[Any]] = [deque() for _ in self._workers]  # of the same requests
        self._losses = [0] * config.actors  # since the last round
        self._patience = math.inf  # when to say what is waited for
        self._wait_for_start(self._everyone)

    def reset(self) -> EngineStep:
        """Start the first episodes; returns the first step of all N environments."""
        steps = self._ask(self._everyone, lambda worker: self._workers[worker].reset.remote())
        return EngineStep(*map(np.concatenate, zip(*steps, strict=True)))

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot.

        Raises:
            ValueError: the emulators did not return to the saved screens.
        """
        self._restore(self._everyone, snapshot)

    @property
    def outstanding(self) -> int:
        """The number of requests that have not been answered."""
        return len(self._requests)

    def request(self, turn: int, turns: int, weights: Weights) -> None:
        """Have turns played, after those requested before, with the same weights throughout."""
        self._requests.append(Request(turn, turns, ray.put(weights)))
        for worker in self._everyone:
            self._send(worker, self._requests[-1])

    def receive(self, snapshot: Callable[[], Snapshot]) -> Rollout:
        """What all N environments did in the turns that were requested first. ``snapshot`` is the
        run before these turns; workers that were lost are restored from it."""
        received: dict[int, tuple[Rollout, Any]] = {}
        while len(received) < len(self._workers):
            lost = []
            for worker in [w for w in self._everyone if w not in received]:
                try:
                    received[worker] = self._wait(worker, self._answers[worker][0])
                except LOST:
                    lost.append(worker)
            if lost:
                self._replace(lost, snapshot())
        self._requests.popleft()
        self._losses = [0] * len(self._workers)
        rollouts = []
        for worker in self._everyone:
            self._answers[worker].popleft()
            rollout, frames = received[worker]
            frames = decompress(frames) if isinstance(frames, FramesInTransit) else frames
            rollouts.append(rollout._replace(steps=rollout.steps._replace(frame=frames)))
        return Rollout.join(rollouts)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            ray.kill(worker)

    def _send(self, worker: int, request: Request) -> None:
        self._answers[worker].append(self._workers[worker].answer.remote(*request))

    def _replace(self, lost: list[int], snapshot: Snapshot) -> None:
        """Restore lost workers and send them all requests again."""
        began = time.monotonic()
        names = ", ".join(self._name(worker) for worker in lost)
        log.warning("Lost %s; a new one takes over.", names)
        for worker in lost:
            self._count_loss(worker)
        self._wait_for_start(lost)
        self._restore(lost, snapshot)
        for worker in lost:
            self._answers[worker].clear()
            for request in self._requests:
                self._send(worker, request)
        log.info("Restored %s in %.1f s.", names, time.monotonic() - began)

    def _restore(self, workers: Iterable[int], snapshot: Snapshot) -> None:
        def ask(worker: int) -> Any:
            mine = select_columns(snapshot.environment, columns(self._config, worker))
            return self._workers[worker].restore.remote(snapshot.turn, mine, snapshot.actor)

        self._ask(workers, ask)

    def _ask(self, workers: Iterable[int], ask: Callable[[int], Any]) -> list[Any]:
        """What some workers answer to ``ask``, which is repeated to those that are lost."""
        asked = {worker: ask(worker) for worker in workers}
        answers = []
        for worker, answer in asked.items():
            while True:
                try:
                    answers.append(self._wait(worker, answer))
                    break
                except LOST:
                    self._count_loss(worker)
                    self._wait_for_start([worker])
                    answer = ask(worker)
        return answers

    def _count_loss(self, worker: int) -> None:
        self._losses[worker] += 1
        if self._losses[worker] > LOSSES:
            raise RunStopped(f"{self._name(worker)} is lost again and again")

    def _wait_for_start(self, workers: Iterable[int]) -> None:
        """Wait until workers have started, however long no CPU is free for them."""
        self._patience = time.monotonic() + PATIENCE_SECONDS
        for worker in workers:
            while True:
                try:
                    self._wait(worker, self._workers[worker].started.remote())
                    break
                except LOST:  # not yet
                    self._say_if_late(worker)
                    time.sleep(POLL_SECONDS)
        self._patience = math.inf

    def _wait(self, worker: int, answer: Any) -> Any:
        """A worker's answer; raises one of LOST if it is lost."""
        while True:
            arrived, _ = ray.wait([answer], timeout=POLL_SECONDS)
            if self._stop():
                raise StoppedEarly
            if arrived:
                break
            self._say_if_late(worker)
        try:
            return ray.get(answer)
        except ActorDiedError as error:
            last = str(error).strip().splitlines()[-1]
            reason = last.partition(": ")[2] or last
            raise ConfigError(f"{self._name(worker)} cannot start: {reason}") from None
        except RayTaskError as error:
            raise error.cause from None

    def _say_if_late(self, worker: int) -> None:
        if time.monotonic() > self._patience:
            self._patience = math.inf
            log.info("Waiting for %s; perhaps the cluster has no free CPU.", self._name(worker))

    def _name(self, worker: int) -> str:
        return f"actor {worker + 1} of {len(self._workers)}"
