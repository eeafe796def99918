"""The workers of a run, some of which are lost; without Ray, whose part ``FakeRay`` plays."""

from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ray")

from dqn.config import Config
from dqn.envs.environment import EngineStep
from dqn.run.resume import RunStopped
from dqn.scale import workers as module
from dqn.scale.rollouts import OutOfOrder, Rollout
from dqn.scale.workers import Snapshot, Workers


class FakeRay:
    """Handles of workers that note what they are asked and answer at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[object, ...]] = []
        """Method, worker and first turn of each request."""
        self.lost: deque[tuple[int, int]] = deque()
        """Workers that are lost with the answer of a turn, in this order."""
        self.cannot: set[tuple[str, int]] = set()
        """Methods, and the workers that are lost by each call of them."""
        for name in ("check_places", "probe"):
            monkeypatch.setattr(module, name, lambda *_: ({}, "", False))
        monkeypatch.setattr(module, "ray", self)

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(get_node_id=lambda: "here")

    def remote(self, kind: type) -> SimpleNamespace:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._worker))

    def put(self, weights: object) -> object:
        return weights

    def wait(self, answers: list[object], timeout: float) -> tuple[list[object], list[object]]:
        return answers, []

    def get(self, answer: tuple[str, int, tuple[int, ...]]) -> object:
        name, worker, arguments = answer
        if (name, worker) in self.cannot:
            raise OutOfOrder
        if name != "answer":
            return None
        turn, turns, _ = arguments
        if self.lost and self.lost[0] == (worker, turn):
            self.lost.popleft()
            raise OutOfOrder
        played = np.full((turns, 1), worker)
        return Rollout(played, EngineStep(np.empty(0), *[played] * 4)), played

    def _worker(self, config: Config, worker: int, *_: object) -> SimpleNamespace:
        def method(name: str) -> SimpleNamespace:
            def remote(*arguments: object) -> object:
                self.asked.append((name, worker, *arguments[:1]))
                return name, worker, arguments

            return SimpleNamespace(remote=remote)

        names = ("started", "reset", "restore", "answer")
        return SimpleNamespace(**{name: method(name) for name in names})


@pytest.fixture
def ray(monkeypatch):
    return FakeRay(monkeypatch)


def snapshot() -> Snapshot:
    n = np.zeros(2, np.int64)
    actions = np.zeros((0, 2))
    return Snapshot(
        0, {"timestep": {}, "lives": n, "count": n, "seed": n, "age": n, "actions": actions}, {}
    )


def two_workers() -> Workers:
    return Workers(Config(game="Pong", num_envs=2, actors=2), lambda: False)


def test_a_lost_worker_is_restored_and_asked_again_for_all_that_is_under_way(ray):
    workers = two_workers()
    for turn in (0, 4):
        workers.request(turn, 4, {})
    ray.asked.clear()
    ray.lost.append((1, 0))
    rollout = workers.receive(snapshot)
    assert ray.asked == [("started", 1), ("restore", 1, 0), ("answer", 1, 0), ("answer", 1, 4)]
    assert rollout.action.tolist() == [[0, 1]] * 4 and workers.outstanding == 1


def test_losses_end_a_run_only_without_a_round_in_between(ray):
    workers = two_workers()
    for turn in range(0, 80, 4):
        workers.request(turn, 4, {})
        ray.lost.append((0, turn))
        workers.receive(snapshot)
    workers.request(80, 4, {})
    ray.lost.extend([(0, 80)] * (module.LOSSES + 1))
    with pytest.raises(RunStopped, match="actor 1 of 2 is lost again and again"):
        workers.receive(snapshot)


@pytest.mark.parametrize("method", ["reset", "restore"])
def test_a_worker_that_is_lost_in_each_reset_or_restore_ends_the_run(ray, method):
    workers = two_workers()
    ray.cannot.add((method, 1))
    with pytest.raises(RunStopped, match="actor 2 of 2 is lost again and again"):
        workers.reset() if method == "reset" else workers.restore(snapshot())
