"""``bench`` measures a real game, says where its time goes, and leaves the figures that scripts
depend on."""

import contextlib
import dataclasses
import gc
import io
import json
import logging
import re
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from support.learners import CPU

from dqn.commands import bench_emulator, bench_peers, bench_timing
from dqn.commands.bench import ratios, seconds_to_first_step
from dqn.commands.bench_loop import Stopwatch, at_full_speed, measure_loop, measure_shares
from dqn.commands.bench_parts import OperationCount, fill, measure_parts
from dqn.commands.bench_table import conclusion, print_iteration
from dqn.config import Config, ConfigError, LearnerConfig
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
    assert last.startswith("200 million frames, the usual length of a run, take")
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


def test_a_part_inside_a_graph_has_no_time_alone(capsys):
    part = {"alone_seconds": None, "seconds": 0.001, "share": 1.0}
    print_iteration({"iteration": {"sampling": part}, "num_envs": 64}, updates=16)
    assert capsys.readouterr().out.splitlines()[2].split() == ["sampling", "-", "1.000", "100.0%"]


@pytest.fixture
def two_sizes(monkeypatch):
    monkeypatch.setattr(bench_emulator, "ENVIRONMENTS", (1, 2))
    monkeypatch.setattr(bench_emulator, "cores", lambda: 2)


@pytest.mark.usefixtures("two_sizes")
def test_emulators(tmp_path, capsys):
    file = tmp_path / "emulators.json"
    assert main(["bench", "--emulator", "--game=pong", "--seconds=.1", f"--json={file}"]) == 0
    rows = json.loads(file.read_text())["emulators"]
    sizes = [(row["game"], row["threads"], row["num_envs"]) for row in rows]
    assert sizes == [("Pong", 1, 1), ("Pong", 1, 2), ("Pong", 2, 1), ("Pong", 2, 2)]
    assert all(row["ale_frames_per_second"] > 100 for row in rows), rows
    printed = capsys.readouterr()
    assert max(map(len, printed.out.splitlines())) < 80
    _, table, sentence = printed.out.split("\n\n")
    _, head, *lines = map(str.split, table.splitlines())
    assert head == ["game", "by", "threads", "1", "2", "1", "2"]
    assert [line[:3] for line in lines] == [["Pong", "ALE", "1"], ["Pong", "ALE", "2"]]
    for line, (one, two), used in zip(lines, (rows[:2], rows[2:]), ((1, 1), (1, 2)), strict=True):
        frames = [row["ale_frames_per_second"] for row in (one, two)]
        per_core = [number / threads for number, threads in zip(frames, used, strict=True)]
        assert line[3:] == [f"{number:,.0f}" for number in frames + per_core]
    assert sentence.startswith("One core makes ")
    assert printed.err.splitlines()[3] == "measuring Pong, 2 threads, 2 environments"


ENVPOOL = """
import time
made = []
class Pool:
    class action_space: n = 4
    def reset(self): pass
    def step(self, action):
        time.sleep(.02)
        assert action.shape == (made[-1]["num_envs"],) and action.max() < 4
    def close(self): made[-1]["closed"] = True
def make_gymnasium(game, **settings):
    made.append({"game": game, **settings})
    return Pool()
"""


@pytest.mark.usefixtures("two_sizes")
def test_envpool_beside_it(tmp_path, monkeypatch, capsys):
    """It is not among the test requirements: a stand-in sees what it would be asked."""
    (tmp_path / "envpool.py").write_text(ENVPOOL)
    (tmp_path / "envpool-9.8.7.dist-info").mkdir()
    (tmp_path / "envpool-9.8.7.dist-info" / "METADATA").write_text("Version: 9.8.7\n")
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--game=space_invaders", "--seconds=.05", "--env.protocol=machado"]
    file = tmp_path / "emulators.json"
    assert main(["bench", "--emulator", "--peers", f"--json={file}", *options]) == 0
    figures = json.loads(file.read_text())
    assert figures["versions"]["envpool"] == "9.8.7"
    for row in figures["emulators"]:  # 4 frames in .02 s or somewhat more, in each environment
        assert 60 < row["envpool_frames_per_second"] / row["num_envs"] <= 200
    lines = capsys.readouterr().out.split("\n\n")[1].splitlines()[2:]
    assert [line.split()[:3] for line in lines] == [
        ["SpaceInvaders", program, threads] for threads in "12" for program in ("ALE", "EnvPool")
    ]
    import envpool

    asked = [SimpleNamespace(**pool) for pool in envpool.made]
    assert [(pool.num_threads, pool.num_envs) for pool in asked] == [(1, 1), (1, 2), (1, 1), (2, 2)]
    for pool in asked:
        assert (pool.game, pool.frame_skip, pool.stack_num) == ("SpaceInvaders-v5", 4, 1)
        assert (pool.repeat_action_probability, pool.max_episode_steps) == (0.25, 27_000)
        assert pool.closed


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


NO_PEER = {
    "--config=iqn": "--peers compares plain DQN; leave --values.kind out",
    "--config=double": "leave --learner.target-policy out",
    "--env.frame-size=48": "leave --env.frame-size out",
    "--learning-starts=80": "leave --learning-starts out",
    "--learner.update-period=12": "a learner.update_period that divides 8 or is a multiple of it",
    "--game=CartPole-v1": "--peers compares Atari games, not CartPole-v1",
}


def test_a_peer_that_would_do_something_else_is_refused(refused, monkeypatch, subtests):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    for typed, said in NO_PEER.items():
        with subtests.test(typed):
            assert said in refused(["bench", "--peers", *typed.split()])


def test_a_run_that_does_not_start_is_no_time():
    config = dataclasses.replace(Config(), game="CartPole-v1", wandb="project")
    with pytest.raises(ConfigError, match="a run with these settings does not start; train says"):
        seconds_to_first_step(dataclasses.replace(config, game="NoGame-v0"))
    assert seconds_to_first_step(config) > 0


def test_bench_mirrors_nothing_to_weights_and_biases():
    mirrored = dataclasses.replace(Config(), wandb="project")
    assert at_full_speed(mirrored, learning_starts=1_000).wandb is None


def test_the_end_names_the_limit():
    for device, slow, said in (
        ("cpu", "emulator_steps", "the emulators at 10 steps/s, of which it reaches 80%; more co"),
        ("cpu", "learner_updates", "the learner at 40 steps/s, of which it reaches 80%; a GPU"),
        ("NVIDIA", "acting_steps", "acting at 10 steps/s, of which it reaches 80%; more env"),
    ):
        parts = ("emulator_steps", "acting_steps", "learner_updates")
        rates = dict.fromkeys(parts, 1000.0) | {slow: 10.0}
        figures = {f"{part}_per_second": rate for part, rate in rates.items()}
        figures |= {"share_of_slowest_limit": 0.8, "hours_for_200_million_frames": 818.0}
        figures |= {"device": device, "cores": 2}
        sentence = conclusion(figures | {"load_before": 0.9}, update_period=4)
        assert "take 34 d 2 h." in sentence and said in sentence, sentence
        busy = conclusion(figures | {"load_before": 8.24}, update_period=4)
        assert busy == f"{sentence} The load was 8.2 on 2 cores before: alone they are faster."


def test_figures_follow_from_those_measured():
    """200 steps/s, of limits of 800, 1,600 and 4 x 100: half of the slowest."""
    figures = {
        "training_steps_per_second": 200.0, "frames_per_step": 4,
        "emulator_steps_per_second": 800.0, "acting_steps_per_second": 1600.0,
        "learner_updates_per_second": 100.0, "arithmetic_limit_steps_per_second": 2000.0,
    }  # fmt: skip
    found = ratios(Config(learner=LearnerConfig(update_period=4)), figures)
    memory = found.pop("peak_memory_bytes")
    assert found == {
        "training_frames_per_second": 800, "share_of_slowest_limit": 0.5,
        "share_of_arithmetic_limit": 0.1,
        "hours_for_200_million_frames": pytest.approx(200e6 / 800 / 3600),
    }  # fmt: skip
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert memory > 0.9 * 1024 * int(peak), "bytes"


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


def test_a_rate_is_the_median_of_five_windows_without_the_warm_up(monkeypatch):
    """Windows of a second: calls of 16 s first, then 1, 2, 4, 8 and 16 in a second."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(bench_timing, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    seconds = iter([16.0, *(1 / n for n in (1, 2, 4, 8, 16) for _ in range(n))])

    def work() -> None:
        clock.now += next(seconds)

    assert bench_timing.rate(work, 6) == 4
    assert next(seconds, None) is None


def test_the_end_of_the_emulators_says_what_cores_make():
    """1.5 and 2 times as many; their median."""
    rows = [
        {"game": "Pong", "threads": threads, "num_envs": n, "ale_frames_per_second": frames}
        for threads, n, frames in ((1, 8, 1000.0), (1, 32, 4000.0), (2, 8, 1500.0), (2, 32, 8000.0))
    ]
    alone = (
        "One core makes 1,000 frames/s (Pong in 8 environments) to 4,000 frames/s (Pong in 32 "
        "environments) with ALE"
    )
    assert bench_emulator.conclusion(rows) == f"{alone}; 2 make 1.75 times as many."
    assert bench_emulator.conclusion(rows[:2]) == f"{alone}."


class Trained:
    """In place of a process that trains: so many steps a second while it is not suspended."""

    made: ClassVar[list["Trained"]] = []
    speeds: ClassVar = {("train_ours", 8): 900, ("train_peer", 1): 100, ("train_peer", 8): 300}

    def __init__(self, target: Any, args: Any, daemon: bool) -> None:
        _, num_envs, self.counter = args
        self.speed = self.speeds[target.__name__, num_envs]
        self.pid, self.runs, self.killed = len(self.made), False, False
        self.made.append(self)

    def start(self) -> None:
        self.runs = True

    resume = start

    def suspend(self) -> None:
        self.runs = False

    def kill(self) -> None:
        self.killed = True

    def is_alive(self) -> bool:
        return True

    def join(self) -> None: ...


def test_peers_run_in_turns_and_the_faster_of_the_peers_counts(monkeypatch):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        running = [process for process in Trained.made if process.runs]
        assert len(running) == 1, "the others are suspended"
        running[0].counter.value += running[0].speed * seconds

    clock.sleep = sleep
    monkeypatch.setattr(Trained, "made", [])
    processes = SimpleNamespace(Value=lambda *_: SimpleNamespace(value=0), Process=Trained)
    monkeypatch.setattr(bench_peers.multiprocessing, "get_context", lambda _: processes)
    monkeypatch.setattr(bench_peers.psutil, "Process", Trained.made.__getitem__)
    monkeypatch.setattr(bench_peers, "time", clock)
    assert bench_peers.measure_peers(config_of(), 10) == {
        "training_steps_per_second_beside_peer": pytest.approx(900),
        "peer_training_steps_per_second_1_environment": pytest.approx(100),
        "peer_training_steps_per_second_8_environments": pytest.approx(300),
        "peer_training_steps_per_second": pytest.approx(300),
        "times_the_peer": pytest.approx(3),
    }
    assert all(process.killed for process in Trained.made)
