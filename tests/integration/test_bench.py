"""``bench`` measures a real game, says where its time goes, and leaves the figures that scripts
depend on."""

import contextlib
import dataclasses
import gc
import io
import json
import logging
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.learners import CPU

from dqn.commands import bench_timing
from dqn.commands.bench import seconds_to_first_step
from dqn.commands.bench_loop import Stopwatch, at_full_speed, measure_loop, measure_shares
from dqn.commands.bench_parts import OperationCount, fill, measure_parts
from dqn.config import Config, ConfigError
from dqn.config.cli import parse
from dqn.config.commands import BenchOptions
from dqn.envs import Environment
from dqn.learning import factory
from dqn.learning.actor import Actor
from dqn.learning.learner import Learner
from dqn.replay.buffer import Replay
from dqn.report.metrics import Metrics
from dqn.run import process
from dqn.run.session import Session
from main import main

CARTPOLE = [
    "bench", "--game=CartPole-v1", "--seconds=0.3", "--threads=1", "--num-envs=8",
    "--replay.capacity=5000",
]  # fmt: skip
PARTS = [
    "emulators", "acting", "replay write", "sampling", "learning", "priorities", "target sync",
    "the rest",
]  # fmt: skip


def config_of(*more: str) -> Config:
    return parse(BenchOptions, [*CARTPOLE[1:], *more]).settings


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One whole measurement, and the replay memories alive when each was made. Every update also
    sorts 300,000 numbers, and only bench itself collects garbage."""
    file = tmp_path_factory.mktemp("bench") / "speed.json"
    out, err = io.StringIO(), io.StringIO()
    made: list[weakref.ref[Replay]] = []
    alive: list[int] = []
    make_replay, update = factory.make_replay, Learner.update
    numbers = torch.arange(300_000).flip(0)

    def make_watched(*arguments: Any) -> Replay:
        alive.append(sum(replay() is not None for replay in made))
        made.append(weakref.ref(replay := make_replay(*arguments)))
        return replay

    def sort_and_update(learner: Learner, batch: Any, steps: int) -> torch.Tensor:
        for _ in range(steps):
            numbers.sort()
        return update(learner, batch, steps)

    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(factory, "make_replay", make_watched)
        patch.setattr(Learner, "update", sort_and_update)
        gc.disable()
        try:
            assert main([*CARTPOLE, "--profile", f"--json={file}"]) == 0
        finally:
            gc.enable()
    figures = json.loads(file.read_text())
    return SimpleNamespace(figures=figures, out=out.getvalue(), err=err.getvalue(), alive=alive)


def test_figures(measured):
    for name in (
        "emulator_steps_per_second", "acting_steps_per_second", "replay_write_steps_per_second",
        "sampled_batches_per_second", "learner_updates_per_second", "training_steps_per_second",
        "bytes_per_transition", "peak_memory_bytes", "startup_seconds", "checkpoint_seconds",
        "share_of_slowest_limit",
    ):  # fmt: skip
        assert measured.figures[name] > 0, name
    assert measured.figures["device"] == "cpu"
    assert measured.figures["bytes_per_transition"] == 4 * 4 + 1 + 4 + 3
    assert "training steps per second" in measured.out
    last = " ".join(measured.out.split("\n\n")[-1].split())
    assert last.startswith("A run of 50,000,000 steps takes ")
    assert max(map(len, measured.out.splitlines())) < 80


def test_the_parts_add_up_to_an_iteration(measured):
    parts = measured.figures["iteration"]
    assert list(parts) == PARTS
    assert sum(part["share"] for part in parts.values()) == pytest.approx(1)
    assert all(0 <= part["share"] < 1 for part in parts.values()), parts
    assert parts["learning"]["share"] > 0.5, "it sorts"
    alone = [name for name in PARTS if parts[name]["alone_seconds"] is None]
    assert alone == ["the rest"]
    assert parts["learning"]["alone_seconds"] == pytest.approx(
        2 / measured.figures["learner_updates_per_second"]  # 8 steps, an update every 4
    )
    for name in PARTS:
        assert f"\n{name}  " in measured.out
    assert "\n8 steps, 2 updates  " in measured.out


SLOW: dict[str, tuple[type, str]] = {
    "emulators": (Environment, "receive"),
    "acting": (Actor, "act"),
    "replay write": (Replay, "add_timestep"),
    "sampling": (Replay, "sample"),
    "learning": (Learner, "update"),
    "priorities": (Replay, "update_priorities"),
    "target sync": (Learner, "sync_target"),
    "the rest": (Metrics, "count"),
}


def slowed(owner: type, name: str, patch: pytest.MonkeyPatch, seconds: float = 0.05) -> None:
    """Make every call of a method longer."""
    method = getattr(owner, name)

    def slow(*arguments: Any) -> Any:
        time.sleep(seconds)
        return method(*arguments)

    patch.setattr(owner, name, slow)


def test_a_slow_part_is_found(subtests):
    config = config_of("--learner.update-period=8", "--learner.target-period=8")
    for part, (owner, name) in SLOW.items():
        with subtests.test(part), pytest.MonkeyPatch.context() as patch:
            slowed(owner, name, patch)
            times = measure_shares(config, CPU, 0.2, lambda _: None)["in_the_loop"]
            assert list(times) == PARTS
            assert max(times, key=times.__getitem__) == part
            assert times[part] >= 0.05


def test_acting_is_measured_without_the_write(monkeypatch):
    slowed(Replay, "add_timestep", monkeypatch)
    config = config_of("--replay.capacity=80")
    alone = measure_parts(config, CPU, 0.1, lambda _: None)["alone"]
    assert alone["acting"] < 0.05 <= alone["replay write"]


def test_operations_are_counted_and_views_are_not(measured):
    ones = torch.ones(4, 4)
    with OperationCount() as counted:
        (ones.T @ ones).view(16)[3:].add_(1)
    assert counted.total == 2, "a product and a sum"
    assert measured.figures["operations_per_update"] > 30


def test_the_profile_names_the_heaviest_operation(measured):
    heaviest, *others = measured.figures["profile"]
    assert heaviest["operation"] == "aten::sort"
    assert heaviest["calls_per_update"] == 1
    assert len(others) == 9
    times = [row["seconds_per_update"] for row in (heaviest, *others)]
    assert times == sorted(times, reverse=True)
    assert 0.5 < heaviest["share"] < 1
    assert heaviest["share"] < sum(row["share"] for row in (heaviest, *others)) <= 1
    assert "\naten::sort  " in measured.out


def test_two_replay_memories_never_exist_at_once(measured):
    assert measured.alive == [0, 0, 0, 0]


def test_each_part_is_announced(measured):
    lines = measured.err.splitlines()
    assert len(lines) == 12
    assert all(line.startswith("measuring ") for line in lines), lines
    assert lines[0] == "measuring the start of a run"
    assert "measuring acting" in lines


def test_a_terminal_has_one_line_for_all(monkeypatch, capsys):
    for module in (bench_timing, process):
        monkeypatch.setattr(module, "in_terminal", lambda: True)
    with bench_timing.Announcer() as announce:
        announce("acting")
        logging.getLogger("dqn").info("what a run says of itself")
        announce("sampling")
    printed = capsys.readouterr().err
    assert "\rmeasuring acting" in printed and "\rmeasuring sampling" in printed
    assert "\n" not in printed and "of itself" not in printed


class Event:
    """In place of a CUDA event: the time is that of its last record."""

    now = 0.0

    def __init__(self, enable_timing: bool, external: bool) -> None:
        assert enable_timing
        assert external, "else the graph would not record it"

    def record(self) -> None:
        Event.now += 1
        self.at = Event.now

    def elapsed_time(self, end: "Event") -> float:
        return end.at - self.at


def test_parts_inside_a_cuda_graph(monkeypatch):
    """Python sees them once, when they are captured; each launch records their events again."""
    config = config_of()
    agent = factory.make_agent(config, CPU)
    agent.environment.reset(1, "training")
    fill(agent, 200, seed=1)
    capturing = False
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: capturing)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    make_updates, captured = agent.learn, False

    def graph(updates: int) -> None:
        nonlocal capturing, captured
        if not captured:
            capturing = captured = True
            make_updates(updates)
            capturing = False

    object.__setattr__(agent, "learn", graph)
    stopwatch = Stopwatch(agent, torch.device("cuda"))
    for _ in range(3):
        stopwatch.agent.learn(2)
    agent.environment.close()
    inside = {name: stopwatch.seconds[name] for name in ("sampling", "learning", "priorities")}
    assert inside == pytest.approx(dict.fromkeys(inside, 3 * 0.001))
    assert stopwatch.seconds["acting"] == 0


REFUSED = {
    "--emulator --profile": "--profile has no effect with --emulator, which makes no updates",
    "--emulator --num-envs=16": "--num-envs has no effect with --emulator; leave it out",
    "--emulator --config=gpu": "has no effect with --emulator; leave it out",
    "--emulator --env.threads=2": "--env.threads has no effect with --emulator; leave it out",
    "--emulator --game=CartPole-v1": "--emulator measures Atari games, not CartPole-v1",
    "--emulator --peers": "--emulator --peers needs EnvPool: .venv/bin/pip install -r requirements",
    "--peers --json=speed.json": "--peers needs Stable-Baselines3: .venv/bin/pip install -r req",
    "--json=speed.json/speed.json": "cannot write speed.json/speed.json: ",
    "--config=maze_sarsa": "bench measures method dqn, not sarsa",
    "--actors=2": "bench measures one process; leave --actors out",
}


def test_combinations_are_refused(refused, monkeypatch, subtests):
    """Before anything is measured; a file of earlier figures is left as it is."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    Path("speed.json").write_text("earlier")
    for typed, said in REFUSED.items():
        with subtests.test(typed):
            assert said in refused(["bench", *typed.split()])


def test_a_run_that_does_not_start_is_no_time():
    config = dataclasses.replace(Config(), game="CartPole-v1", wandb="project")
    with pytest.raises(ConfigError, match="a run with these settings does not start; train says"):
        seconds_to_first_step(dataclasses.replace(config, game="NoGame-v0"))
    assert seconds_to_first_step(config) > 0


def test_bench_mirrors_nothing_to_weights_and_biases():
    mirrored = dataclasses.replace(Config(), wandb="project")
    assert at_full_speed(mirrored, learning_starts=1_000).wandb is None


def test_a_part_alone_is_the_time_of_its_rate(measured):
    """Of 8 environments, an update every 4 steps, so 2 of an iteration."""
    figures, parts = measured.figures, measured.figures["iteration"]
    for part, per_iteration, rate in (
        ("emulators", 8, "emulator_steps_per_second"),
        ("acting", 8, "acting_steps_per_second"),
        ("replay write", 8, "replay_write_steps_per_second"),
        ("sampling", 2, "sampled_batches_per_second"),
    ):
        assert parts[part]["alone_seconds"] == pytest.approx(per_iteration / figures[rate]), part
    machine, update = figures["machine_gflop_per_second"], figures["learner_gflop_per_update"]
    share = update * figures["learner_updates_per_second"] / machine
    assert figures["learner_share_of_machine"] == pytest.approx(share)
    step = machine / figures["arithmetic_limit_steps_per_second"]
    acting = 2 * (4 * 128 + 128 * 128 + 128 * 2) / 1e9  # a product and a sum for each weight
    assert step == pytest.approx(update / 4 + acting)


def test_batches_drawn_together_count_each(monkeypatch):
    slowed(Replay, "sample", monkeypatch, 0.5)
    found = measure_parts(config_of(), CPU, 0.1, lambda _: None)
    assert 2 < found["sampled_batches_per_second"] <= 4, "2 in 500 ms or somewhat more"


def test_a_checkpoint_is_of_the_rows_since_the_last(monkeypatch):
    saved = []
    save = Session.save

    def keep_step(session: Session, **options: Any) -> bool:
        saved.append(session.step)
        return save(session, **options)

    monkeypatch.setattr(Session, "save", keep_step)
    measure_loop(config_of(), CPU, 0.2, lambda _: None)
    before, timed = saved
    assert before < timed
