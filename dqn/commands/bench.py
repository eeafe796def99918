"""``bench``: the speed of each part of a run on this machine, and how close the loop comes to it.

Every rate is the median of several windows; the first window is warm-up and is not counted. The
loop is that of ``train``, once learning has begun.
"""

import dataclasses
import gc
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

import torch
from torch.utils.flop_counter import FlopCounterMode

from dqn.commands.bench_table import Figures, limits, print_table
from dqn.commands.evaluate import write_report
from dqn.commands.peers import WINDOWS, at_full_speed, check_peers, measure_peers
from dqn.config import Config, ConfigError
from dqn.config.commands import BenchOptions
from dqn.device import resolve_device, use_threads
from dqn.learning.cuda_graphs import CudaGraphed
from dqn.learning.factory import Agent, make_agent
from dqn.learning.learner import Learner
from dqn.run.loop import loop
from dqn.run.session import Session
from dqn.seeds import numpy_generator
from dqn.storage.provenance import device_name, versions

ROWS = 10_000  # of random play in the replay memory when it is measured, if it can hold them
FRAMES = 200_000_000  # the usual length of a training run in the literature


def run(options: BenchOptions) -> int:
    """Measure each part, print a table, and write it to a file if asked.

    Raises:
        ConfigError: the method is not DQN, the game or the device does not exist, the file cannot
            be written, or there is no peer to compare with.
    """
    config = dataclasses.replace(options.settings, game=options.settings.game or "Breakout")
    if config.method != "dqn":
        raise ConfigError(f"bench measures method dqn, not {config.method}")
    if options.json:
        write_report(Path(options.json), "")  # fails now, not after minutes
    if options.peers:
        check_peers(config)
    device = resolve_device(config.device)
    threads = use_threads(config.threads)
    figures = {"device": device_name(device), "threads": threads, "num_envs": config.num_envs}
    figures |= {"versions": versions(), "startup_seconds": seconds_to_first_step(config)}
    for measure in (measure_parts, measure_loop):
        figures |= measure(config, device, options.seconds)
        gc.collect()  # two replay memories might not fit
        if device.type == "cuda":
            torch.cuda.empty_cache()
    figures |= ratios(config, figures)
    if device.type == "cuda":
        figures["peak_gpu_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    if options.peers:
        figures |= measure_peers(config, 2 * options.seconds)
    if options.json:
        write_report(Path(options.json), json.dumps(figures, indent=1) + "\n")
    print_table(figures, config.learner.update_period)
    return 0


def measure_parts(config: Config, device: torch.device, seconds: float) -> Figures:
    """Speed of the emulators, of acting, sampling and learning, and of a plain matrix product."""
    n, batch_size = config.num_envs, config.learner.batch_size
    agent = make_agent(config, device)
    with closing(agent.environment):
        spec = agent.environment.spec
        agent.environment.reset(config.seed, "bench")
        emulator = n * rate(random_player(agent, config.seed, add=False), seconds)
        fill(agent, min(ROWS, config.replay.capacity), config.seed)
        acting = n * rate(lambda: act(agent), seconds)
        sampling = rate(waiting(lambda: agent.replay.sample(batch_size), device), seconds)
        batches = itertools.cycle([agent.replay.sample(batch_size) for _ in range(64)])
        if isinstance(agent.learn, CudaGraphed):  # the loop's graph, which samples too
            due = max(1, n // config.learner.update_period)
            updates = due * rate(waiting(lambda: agent.learn(due), device), seconds)
        else:
            updates = rate(waiting(lambda: agent.learner.update(next(batches)), device), seconds)
        with FlopCounterMode(display=False) as updating:
            agent.learner.update(next(batches))
        with FlopCounterMode(display=False) as choosing, torch.no_grad():
            stack = torch.from_numpy(agent.environment.timestep.stack)
            agent.learner.acting_q_values(stack.to(device))
    update_flop = updating.get_total_flops()
    step_flop = update_flop / config.learner.update_period + choosing.get_total_flops() / n
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
    """Speed of the whole loop while it learns, and of a checkpoint of the rows since the last."""
    config = at_full_speed(config, learning_starts=config.num_envs * (config.replay.n_step + 1))
    deadline = 0.0

    def is_over() -> bool:
        return time.perf_counter() > deadline

    def window() -> float:
        nonlocal deadline
        step, began = session.step, time.perf_counter()
        deadline = began + seconds / 2
        waiting(lambda: loop(session), device)()
        return (session.step - step) / (time.perf_counter() - began)

    with (
        tempfile.TemporaryDirectory(prefix="dqn-bench-") as folder,
        Session(config, make_agent(config, device), Path(folder), device, is_over) as session,
    ):
        window()
        session.save()
        rates = [window() for _ in range(WINDOWS)]
        began = time.perf_counter()
        session.save()
        saving = time.perf_counter() - began
    return {"training_steps_per_second": statistics.median(rates), "checkpoint_seconds": saving}


def ratios(config: Config, figures: Figures) -> Figures:
    """Ratios of the measured figures, and the memory used."""
    training = figures["training_steps_per_second"]
    slowest = min(limits(figures, config.learner.update_period).values())
    frames = training * figures["frames_per_step"]
    return {
        "training_frames_per_second": frames,
        "share_of_slowest_limit": training / slowest,
        "share_of_arithmetic_limit": training / figures["arithmetic_limit_steps_per_second"],
        "hours_for_200_million_frames": FRAMES / frames / 3600,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def rate(do: Callable[[], object], seconds: float) -> float:
    """Calls of ``do`` per second: the median of WINDOWS windows, after one for warm-up."""
    rates = []
    for _ in range(WINDOWS + 1):
        calls, began = 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - began < seconds / (WINDOWS + 1):
            do()
            calls += 1
        rates.append(calls / (time.perf_counter() - began))
    return statistics.median(rates[1:])


def waiting(do: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """``do``, then wait until a GPU has finished it."""

    def do_and_wait() -> None:
        do()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return do_and_wait


def random_player(agent: Agent[Learner], seed: int, add: bool) -> Callable[[], object]:
    """A function that steps every environment at random; ``add``: into the replay memory too."""
    environment = agent.environment
    generator = numpy_generator(seed, "bench")

    def step() -> None:
        action = generator.integers(environment.spec.num_actions, size=environment.num_envs)
        if add:
            agent.replay.add(environment.timestep, action)
        environment.send(action)
        environment.receive()

    return step


def act(agent: Agent[Learner]) -> None:
    """Add the present time step to the replay memory and act on it, as the loop does."""
    timestep = agent.environment.timestep
    agent.replay.add_timestep(timestep)
    agent.replay.add_action(agent.actor.act(timestep.stack, 0.0))


def fill(agent: Agent[Learner], rows: int, seed: int) -> None:
    """Play at random until the replay memory has ``rows`` rows."""
    step = random_player(agent, seed, add=True)
    while len(agent.replay) < rows - rows % agent.environment.num_envs:
        step()


def seconds_to_first_step(config: Config) -> float:
    """Time from starting the command, in a new process, to the report of its first step."""
    with tempfile.TemporaryDirectory(prefix="dqn-bench-") as folder:
        command = [sys.executable, "-m", "dqn", "--report-period=1"]
        command += [f"--game={config.game}", f"--device={config.device}"]
        command += [f"--num-envs={config.num_envs}", f"--checkpoints-dir={folder}"]
        began = time.perf_counter()
        beside = Path(__file__).parents[2]  # dqn/, where -m finds it, installed or not
        process = subprocess.Popen(command, cwd=beside, stderr=subprocess.DEVNULL)
        try:
            while not any(Path(folder).glob("*/*/training.jsonl")) and process.poll() is None:
                time.sleep(0.005)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()
