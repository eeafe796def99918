"""Workers of distributed replay in this process, without Ray."""

from collections import deque
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
import pytest

from dqn.config import Config
from dqn.envs.environment import EngineStep
from dqn.scale.rollouts import Rollout, RolloutWorker, Weights, columns, select_columns
from dqn.scale.workers import Snapshot


class LocalWorkers:
    """``Workers`` that play when they are asked for what they played."""

    made: ClassVar[list["LocalWorkers"]] = []

    def __init__(self, config: Config, stop: object) -> None:
        self._config = config
        self._workers = [RolloutWorker(config, worker) for worker in range(config.actors)]
        self._requests: deque[tuple[int, int, Weights]] = deque()
        self.log: list[tuple[int, int, Weights]] = []
        """Turn, turns and weights of every request."""
        self.made.append(self)

    def reset(self) -> EngineStep:
        steps = [worker.reset() for worker in self._workers]
        return EngineStep(*map(np.concatenate, zip(*steps, strict=True)))

    def restore(self, snapshot: Snapshot) -> None:
        for number, worker in enumerate(self._workers):
            mine = select_columns(snapshot.environment, columns(self._config, number))
            worker.restore(snapshot.turn, mine, snapshot.actor)

    @property
    def outstanding(self) -> int:
        return len(self._requests)

    def request(self, *request: Any) -> None:
        self._requests.append(request)
        self.log.append(request)

    def receive(self, snapshot: object) -> Rollout:
        request = self._requests.popleft()
        return Rollout.join([worker.play(*request) for worker in self._workers])

    def close(self) -> None: ...


def play_in_this_process(patch: pytest.MonkeyPatch) -> None:
    """Runs with actors start no Ray and no process."""
    patch.setattr(LocalWorkers, "made", [])
    patch.setattr("dqn.scale.distributed.Workers", LocalWorkers)
    patch.setattr("dqn.scale.cluster.connect", lambda *_: nullcontext())
