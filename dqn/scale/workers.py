"""The workers of a run as Ray actors, and the replacement of those that are lost.

Ray starts a lost actor again, on another node if need be. It is a new worker then, which refuses to
play before it has been restored.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import ray
import zstandard
from ray.exceptions import ActorUnavailableError, ObjectLostError

from dqn.config import Config
from dqn.envs.environment import EngineStep
from dqn.run.resume import StoppedEarly
from dqn.scale.rollouts import OutOfOrder, Rollout, RolloutWorker, Weights, columns, select_columns
from dqn.types import Array, State

log = logging.getLogger("dqn")

LOST = (ActorUnavailableError, ObjectLostError, OutOfOrder)
"""What a request raises if its worker has died, or its node with the answer, or if it is new."""

POLL_SECONDS = 0.2


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


class CompressedFrames(NamedTuple):
    """Frames on their way to another node."""

    data: bytes
    shape: tuple[int, ...]
    dtype: str


class RemoteWorker(RolloutWorker):
    """A worker on a node of the cluster; frames that leave the node are compressed."""

    def __init__(self, config: Config, worker: int, learner_node: str) -> None:
        super().__init__(config, worker)
        self._leaves_node = ray.get_runtime_context().get_node_id() != learner_node

    def answer(self, turn: int, turns: int, weights: Weights) -> tuple[Rollout, Any]:
        """A rollout without its frames, and those."""
        rollout = self.play(turn, turns, weights)
        frames = rollout.steps.frame
        steps = rollout.steps._replace(frame=np.empty(0))
        packed = compress(frames) if self._leaves_node else frames
        return rollout._replace(steps=steps), packed


class Workers:
    """K workers, and the requests that they have not answered yet."""

    def __init__(self, config: Config, stop: Callable[[], bool]) -> None:
        """``stop`` says whether the run has been asked to stop."""
        self._config = config
        self._stop = stop
        node = ray.get_runtime_context().get_node_id()
        kind = ray.remote(RemoteWorker).options(
            num_cpus=config.distributed.threads, max_restarts=-1, max_task_retries=0
        )
        self._workers: list[Any] = [kind.remote(config, i, node) for i in range(config.actors)]
        self._requests: deque[Request] = deque()
        self._answers: list[deque[Any]] = [deque() for _ in self._workers]  # of the same requests

    def reset(self) -> EngineStep:
        """Start the first episodes; returns the first step of all N environments."""
        everyone = range(len(self._workers))
        steps = self._ask(everyone, lambda worker: self._workers[worker].reset.remote())
        return EngineStep(*map(np.concatenate, zip(*steps, strict=True)))

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot.

        Raises:
            ValueError: the emulators did not return to the saved screens.
            StoppedEarly: the run was asked to stop.
        """
        self._restore(range(len(self._workers)), snapshot)

    @property
    def requested(self) -> int:
        """The number of requests that have not been received."""
        return len(self._requests)

    def request(self, turn: int, turns: int, weights: Weights) -> None:
        """Have turns played, after those requested before, with the same weights throughout."""
        self._requests.append(Request(turn, turns, ray.put(weights)))
        for worker in range(len(self._workers)):
            self._send(worker, self._requests[-1])

    def receive(self, snapshot: Callable[[], Snapshot]) -> Rollout:
        """What all N environments did in the turns that were requested first. ``snapshot`` is the
        run before these turns; workers that were lost are restored from it."""
        rollouts = []
        for worker, answers in enumerate(self._answers):
            while True:
                try:
                    rollout, frames = ray.get(answers[0])
                    break
                except LOST:
                    self._replace(worker, snapshot())
            answers.popleft()
            frames = decompress(frames) if isinstance(frames, CompressedFrames) else frames
            rollouts.append(rollout._replace(steps=rollout.steps._replace(frame=frames)))
        self._requests.popleft()
        return join(rollouts)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            ray.kill(worker)

    def _send(self, worker: int, request: Request) -> None:
        self._answers[worker].append(self._workers[worker].answer.remote(*request))

    def _replace(self, worker: int, snapshot: Snapshot) -> None:
        """Restore a lost worker and send it all requests again."""
        began = time.monotonic()
        which = f"Actor {worker + 1} of {len(self._workers)}"
        log.warning("%s was lost; a new one takes over.", which)
        self._restore([worker], snapshot)
        self._answers[worker].clear()
        for request in self._requests:
            self._send(worker, request)
        log.info("%s is restored (%.1f s).", which, time.monotonic() - began)

    def _restore(self, workers: Iterable[int], snapshot: Snapshot) -> None:
        def ask(worker: int) -> Any:
            mine = select_columns(snapshot.environment, columns(self._config, worker))
            return self._workers[worker].restore.remote(snapshot.turn, mine, snapshot.actor)

        self._ask(workers, ask)

    def _ask(self, workers: Iterable[int], ask: Callable[[int], Any]) -> list[Any]:
        """What some workers answer to ``ask``, which is repeated to those that are lost meanwhile.

        Raises:
            StoppedEarly: the run was asked to stop.
        """
        asked = {worker: ask(worker) for worker in workers}
        answers = []
        for worker, answer in asked.items():
            while True:
                try:
                    while not ray.wait([answer], timeout=POLL_SECONDS)[0]:
                        if self._stop():
                            raise StoppedEarly
                    answers.append(ray.get(answer))
                    break
                except LOST:
                    time.sleep(POLL_SECONDS)
                    answer = ask(worker)
        return answers


def join(rollouts: list[Rollout]) -> Rollout:
    """The rollouts of several workers, side by side."""
    actions, steps = zip(*rollouts, strict=True)
    parts = [np.concatenate(part, axis=1) for part in zip(*steps, strict=True)]
    return Rollout(np.concatenate(actions, axis=1), EngineStep(*parts))


def compress(frames: Array) -> CompressedFrames:
    """Without loss, by zstd."""
    data = zstandard.ZstdCompressor(level=1).compress(frames.data)
    return CompressedFrames(data, frames.shape, frames.dtype.name)


def decompress(frames: CompressedFrames) -> Array:
    """The frames as they were."""
    data = zstandard.ZstdDecompressor().decompress(frames.data)
    return np.frombuffer(data, frames.dtype).reshape(frames.shape)
