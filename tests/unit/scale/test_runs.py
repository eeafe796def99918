"""When a run is started again, and when it is not; without a cluster."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from dqn.config import Config, ConfigError
from dqn.run.folder import FolderInUse
from dqn.scale import runs
from dqn.scale.runs import Driver, Job, Run, execute

DIED, CANCELLED = "WorkerCrashedError", "TaskCancelledError"


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "this_node", lambda: "vm-12ab")
    monkeypatch.setattr(runs.time, "sleep", lambda _: None)
    return Job(Config(game="Pong"), "dqn", tmp_path / "run", tmp_path / "note.json")


def raising(*errors: Exception):
    waiting = list(errors)

    def train(config, name, fresh):
        assert (config.game, name, fresh) == ("Pong", "dqn", False)
        if waiting:
            raise waiting.pop(0)
        return 0

    return train


def test_a_task_says_where_it_runs_and_returns_what_training_does(job):
    assert execute(raising(), job) == (0, "")
    assert json.loads(job.note.read_text())["node"] == "vm-12ab"
    assert execute(raising(ConfigError("no such thing")), job) == (2, "no such thing")


def test_a_task_waits_for_the_folder_that_a_lost_one_still_holds(job, monkeypatch):
    held = FolderInUse("process 7 is training in it already")
    assert execute(raising(held, held), job) == (0, "")
    monkeypatch.setattr(runs, "LOCK_SECONDS", -1)
    assert execute(raising(held, held), job) == (2, str(held))


class Outcomes:
    """Tasks whose results are written in the test, in place of a cluster."""

    def __init__(self, monkeypatch, job: Job, *results: object) -> None:
        self.results, self.job = list(results), job
        self.cancelled: list[object] = []
        self.driver = Driver(raising(), 1, 0, lambda run: None, lambda: None)
        self.driver._task = self
        ray = pytest.importorskip("ray")  # here: other tests import it after they set its options
        monkeypatch.setattr(ray, "wait", lambda tasks, **_: (tasks, []))
        monkeypatch.setattr(ray, "get", self._get)
        monkeypatch.setattr(ray, "cancel", self.cancelled.append)

    def remote(self, train, job: Job) -> object:
        self.job.note.write_text(json.dumps({"node": "vm-12ab"}))
        return object()

    def _get(self, task: object) -> tuple[int, str]:
        result = self.results.pop(0)
        if isinstance(result, Path):  # its process died after it saved this
            result.mkdir(parents=True)
            result = DIED
        if isinstance(result, str):
            raise getattr(pytest.importorskip("ray").exceptions, result)
        return result

    def drive(self, stop=lambda: False) -> Run:
        run = Run(self.job)
        self.driver.drive([run], stop)
        return run


def test_a_lost_run_is_started_again(job, monkeypatch):
    run = Outcomes(monkeypatch, job, DIED, (143, ""), (0, "")).drive()
    assert (run.state, run.attempts, run.failures, run.reason) == ("finished", 3, 0, "")
    run = Outcomes(monkeypatch, job, CANCELLED, (0, "")).drive()
    assert (run.state, run.attempts) == ("finished", 2)


def test_a_run_that_is_lost_three_times_at_one_checkpoint_has_failed(job, monkeypatch):
    outcomes = Outcomes(monkeypatch, job, DIED, DIED, DIED, DIED)
    run = outcomes.drive()
    assert (run.state, run.attempts, len(outcomes.results)) == ("failed", 3, 1)
    assert "died 3 times without a new checkpoint" in run.reason
    saved = [job.folder / f"step_{step:09d}" for step in (1000, 2000)]
    run = Outcomes(monkeypatch, job, DIED, DIED, saved[0], DIED, saved[1], DIED, (0, "")).drive()
    assert (run.state, run.attempts) == ("finished", 7)


def test_a_node_that_was_gone_before_the_run_began_is_not_its_fault(job, monkeypatch):
    monkeypatch.setattr(runs, "EARLY_SECONDS", 0.001)
    monkeypatch.setattr(runs, "POLL_SECONDS", 0.01)
    outcomes = Outcomes(monkeypatch, job, *[DIED] * 5, (0, ""))
    begin = outcomes.remote
    monkeypatch.setattr(
        outcomes, "remote", lambda *a: begin(*a) if len(outcomes.results) == 1 else object()
    )
    run = outcomes.drive()
    assert (run.state, run.attempts) == ("finished", 1)


def test_a_run_that_never_begins_is_tried_ever_later_and_has_then_failed(job, monkeypatch):
    clock = [0.0]
    time = SimpleNamespace(
        monotonic=lambda: clock[0], sleep=lambda seconds: clock.append(clock.pop() + seconds)
    )
    monkeypatch.setattr(runs, "time", time)
    monkeypatch.setattr(runs, "check_resources", lambda *_: None)
    outcomes = Outcomes(monkeypatch, job, *[DIED] * 30)
    began: list[float] = []
    monkeypatch.setattr(outcomes, "remote", lambda *_: began.append(clock[0]) or object())
    run = outcomes.drive()
    waits = [after - before for before, after in itertools.pairwise(began)]
    assert waits == [1, 2, 4, 8, 16, 32, *[60] * 13]
    assert (run.state, run.attempts) == ("failed", 0)
    assert run.reason.startswith("its task died 20 times before it began: its process or node died")


def test_a_run_that_fails_three_times_is_not_started_again(job, monkeypatch):
    outcomes = Outcomes(monkeypatch, job, (1, ""), DIED, (2, "no disk"), (1, ""), (0, ""))
    run = outcomes.drive()
    assert (run.state, run.failures, run.attempts) == ("failed", 3, 4)
    assert run.reason == "it ended with exit status 1"


@pytest.mark.parametrize("result", [(130, ""), DIED, CANCELLED])
def test_when_stopped_nothing_is_started_again(result, job, monkeypatch):
    outcomes = Outcomes(monkeypatch, job, result)
    looks = iter([[]])  # at the first look nothing has ended
    monkeypatch.setattr("ray.wait", lambda tasks, **_: (next(looks, tasks), []))
    assert outcomes.drive(stop=lambda: True).state == "stopped"
    assert len(outcomes.cancelled) == 1, "its task saves itself when it is cancelled"


def test_if_the_only_nodes_that_could_run_it_are_gone_that_is_said(job, monkeypatch, caplog):
    def none(cpus: float, gpus: float) -> None:
        raise ConfigError(f"a run needs {cpus} CPUs")

    monkeypatch.setattr(runs, "check_resources", none)
    outcomes = Outcomes(monkeypatch, job, (0, ""))
    monkeypatch.setattr(outcomes, "remote", lambda *_: object())  # it does not begin
    looks = iter([[], [], []])
    monkeypatch.setattr("ray.wait", lambda tasks, **_: (next(looks, tasks), []))
    outcomes.driver._next_check = 0
    outcomes.drive()
    assert [record.message for record in caplog.records] == [
        "a run needs 1 CPUs: waiting for another node."
    ]


def test_a_task_asks_for_its_share_of_a_node_and_a_process_of_its_own(monkeypatch):
    asked = {}
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "remote", lambda **options: asked.update(options) or (lambda do: do))
    Driver(raising(), 2, 0.5, lambda run: None, lambda: None)
    assert asked == {
        "num_cpus": 2, "num_gpus": 0.5, "max_calls": 1, "max_retries": 0,
        "scheduling_strategy": "SPREAD",
    }  # fmt: skip
