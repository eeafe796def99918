"""``bench``: the limits of this machine, part by part, and how near the whole loop comes to them.

Every rate is the median of several windows after a first one that does not count. The parts are
those of a run, made from its config; the loop is the one of ``train``, past its warm-up.
"""

import dataclasses
import itertools
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dqn.commands.evaluate import write_report
from dqn.commands.peers import check_peers, measure_peers
from dqn.config import Config, ConfigError
from dqn.device import resolve_device, use_threads
from dqn.learning.cuda_graphs import CudaGraphed
from dqn.learning.factory import make_agent
from dqn.learning.interfaces import Agent
from dqn.learning.learner import Learner
from dqn.run.session import Session
from dqn.run.train import loop
from dqn.seeds import numpy_generator
from dqn.storage.manifest import device_name, versions

WINDOWS = 5
ROWS = 10_000
"""Rows of random play in the replay memory while it is measured (at most its capacity)."""
FRAMES = 200_000_000
"""What the field trains for."""

Figures = dict[str, Any]


def bench(config: Config, seconds: float, peers: bool, json_file: str | None) -> int:
    """Measure, print a table, and write the figures to a file if one is named. Each part takes
    about ``seconds``.

    Raises:
        ConfigError: the method is not DQN, the game or a device is none, the file cannot be
            written, or there is no peer to compare with.
    """
    if config.method != "dqn":
        raise ConfigError(f"bench measures method dqn, not {config.method}")
    if json_file:
        write_report(Path(json_file), "")  # what cannot be written is known before it takes minutes
    if peers:
        check_peers(config)
    device = resolve_device(config.device)
    threads = use_threads(config.threads)
    figures = {"device": device_name(device), "threads": threads, "num_envs": config.num_envs}
    figures |= {"versions": versions(), "startup_seconds": seconds_to_first_step(config)}
    figures |= measure_parts(config, device, seconds)
    figures |= measure_loop(config, device, seconds)
    figures |= compare(config, figures)
    if peers:
        figures |= measure_peers(config, 2 * seconds)
    print_table(figures)
    if json_file:
        write_report(Path(json_file), json.dumps(figures, indent=1) + "\n")
    return 0


def measure_parts(config: Config, device: torch.device, seconds: float) -> Figures:
    """Emulator, acting, sampling and learning, each alone, and what the machine could do."""
    n, batch_size = config.num_envs, config.learner.batch_size
    agent = make_agent(config, device)
    with closing(agent.environment):
        spec = agent.environment.spec
        emulator = n * rate(random_player(config, agent), seconds)
        fill(agent, min(ROWS, config.replay.capacity), config.seed)
        acting = n * rate(lambda: act(agent), seconds)
        sampling = rate(waiting(lambda: agent.replay.sample(batch_size), device), seconds)
        batches = itertools.cycle([agent.replay.sample(batch_size) for _ in range(64)])
        if isinstance(agent.learn, CudaGraphed):  # the graph that the loop launches, draws and all
            due = max(1, n // config.learner.update_period)
            updates = due * rate(waiting(lambda: agent.learn(due), device), seconds)
        else:
            updates = rate(waiting(lambda: agent.learner.update(next(batches)), device), seconds)
        with FlopCounterMode(display=False) as counter:
            agent.learner.update(next(batches))
        update_flop = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            stack = torch.from_numpy(agent.environment.timestep.stack)
            agent.learner.acting_q_values(stack.to(device))
    step_flop = update_flop / config.learner.update_period + counter.get_total_flops() / n
    left = torch.ones(2048, 2048, device=device)
    products = 2 * 2048**3 * rate(waiting(lambda: left @ left, device), seconds)
    layout = agent.replay.layout.values()
    return {
        "game": spec.game,
        "frames_per_step": 4 if spec.atari else 1,
        "emulator_steps_per_second": emulator,
        "acting_steps_per_second": acting,
        "sampled_batches_per_second": sampling,
        "learner_updates_per_second": updates,
        "learner_gflop_per_update": update_flop / 1e9,
        "machine_gflop_per_second": products / 1e9,
        "learner_share_of_machine": update_flop * updates / products,
        "arithmetic_limit_steps_per_second": products / step_flop,
        "bytes_per_transition": sum(t.itemsize * math.prod(shape) for t, shape in layout) // n,
    }


def measure_loop(config: Config, device: torch.device, seconds: float) -> Figures:
    """The whole loop once it learns and explores no more than at its end, and a checkpoint of the
    rows since another."""
    n = config.num_envs
    warm = dataclasses.replace(
        config,
        total_steps=sys.maxsize,
        learning_starts=n * (config.replay.n_step + 1),
        evaluate_period=sys.maxsize,
        checkpoint_minutes=1e9,
        exploration=dataclasses.replace(
            config.exploration, epsilon_start=config.exploration.epsilon_end
        ),
    )
    deadline = 0.0
    with tempfile.TemporaryDirectory(prefix="dqn-bench-") as folder:
        agent = make_agent(warm, device)
        session = Session(warm, agent, Path(folder), device, lambda: time.perf_counter() > deadline)
        session.begin()
        session.metrics.open(0, 0, "")

        def window() -> float:
            nonlocal deadline
            step, began = session.step, time.perf_counter()
            deadline = began + seconds / 2
            loop(session)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return (session.step - step) / (time.perf_counter() - began)

        try:
            window()
            session.save()
            rates = [window() for _ in range(WINDOWS)]
            began = time.perf_counter()
            session.save()
            saving = time.perf_counter() - began
        finally:
            session.metrics.close()
            session.agent.environment.close()
    return {"training_steps_per_second": statistics.median(rates), "checkpoint_seconds": saving}


def compare(config: Config, figures: Figures) -> Figures:
    """What follows from the figures."""
    training = figures["training_steps_per_second"]
    learner = figures["learner_updates_per_second"] * config.learner.update_period
    limits = figures["emulator_steps_per_second"], figures["acting_steps_per_second"], learner
    frames = training * figures["frames_per_step"]
    return {
        "training_frames_per_second": frames,
        "share_of_slowest_limit": training / min(limits),
        "share_of_arithmetic_limit": training / figures["arithmetic_limit_steps_per_second"],
        "hours_for_200_million_frames": FRAMES / frames / 3600,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def rate(do: Callable[[], object], seconds: float) -> float:
    """Calls of ``do`` in a second: the median of WINDOWS windows, after one that does not count."""
    rates = []
    for _ in range(WINDOWS + 1):
        calls, began = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - began < seconds / (WINDOWS + 1):
            do()
            calls += 1
        rates.append(calls / (time.perf_counter() - began))
    return statistics.median(rates[1:])


def waiting(do: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The same, and wait until a GPU has done it."""
    if device.type != "cuda":
        return do

    def whole() -> None:
        do()
        torch.cuda.synchronize(device)

    return whole


def random_player(config: Config, agent: Agent[Learner]) -> Callable[[], object]:
    """A step of every environment at once, by random actions."""
    environment = agent.environment
    generator = numpy_generator(config.seed, "bench")
    environment.reset(config.seed, "bench")

    def step() -> None:
        environment.send(generator.integers(environment.spec.num_actions, size=config.num_envs))
        environment.receive()

    return step


def act(agent: Agent[Learner]) -> None:
    """Add the present time step to the replay memory and act on it, as the loop does."""
    timestep = agent.environment.timestep
    agent.replay.add_timestep(timestep)
    agent.replay.add_action(agent.actor.act(timestep.stack, 0.0))


def fill(agent: Agent[Learner], rows: int, seed: int) -> None:
    """Play at random until there are so many rows."""
    environment = agent.environment
    generator = numpy_generator(seed, "bench")
    while len(agent.replay) < rows - rows % environment.num_envs:
        action = generator.integers(environment.spec.num_actions, size=environment.num_envs)
        agent.replay.add(environment.timestep, action)
        environment.send(action)
        environment.receive()


def seconds_to_first_step(config: Config) -> float:
    """From typing the command to the first step's report, in a process of its own."""
    main = Path(__file__).parents[2] / "main.py"
    with tempfile.TemporaryDirectory(prefix="dqn-bench-") as folder:
        command = [sys.executable, str(main), f"--game={config.game}", f"--device={config.device}"]
        command += [f"--num-envs={config.num_envs}", "--report-period=1"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, f"--checkpoints-dir={folder}"], stderr=subprocess.DEVNULL
        )
        try:
            while not any(Path(folder).glob("*/*/training.jsonl")) and process.poll() is None:
                time.sleep(0.005)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()


def print_table(figures: Figures) -> None:
    """The figures, one a line, with their names as their units."""
    width = max(map(len, figures))
    for name, value in figures.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items())
        elif isinstance(value, float):
            value = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        elif isinstance(value, int):
            value = f"{value:,}"
        print(f"{name.replace('_', ' '):{width}}  {value}")
