"""``bench --peers``: compares this program with Stable-Baselines3's DQN, unmodified.

Both train the same game with the same settings and threads, each in its own process. They run in
turns, the others suspended, so that other load on the machine affects all of them alike.
"""

import dataclasses
import importlib.util
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from dqn import envs
from dqn.commands.bench_loop import at_full_speed
from dqn.commands.bench_timing import WINDOWS
from dqn.config import Config, ConfigError, flatten
from dqn.config.words import as_typed
from dqn.device import resolve_device, use_precision, use_threads
from dqn.learning.factory import make_agent
from dqn.run.loop import loop
from dqn.run.session import Session

WARM_UP_STEPS = 2_000  # of each program before it is measured
LEARNING_STARTS = 1_000
CAPACITY = 100_000  # rows in each replay memory; a million of the peer's would take 56 GB

HONOURED = (
    "game", "seed", "num_envs", "device", "precision", "threads", "env.threads", "env.niceness",
    "replay.capacity", "replay.gamma", "optimizer.learning_rate", "optimizer.epsilon",
    "learner.batch_size", "learner.update_period", "learner.target_period",
    "exploration.epsilon_end",
)  # fmt: skip
"""Settings that the peer is given too, or that change nothing of what the two compute. Of the
precisions bfloat16 is ours alone: the peer then computes in float32."""

PEER_ENVIRONMENTS = (1, 8)

Counter = Any  # Synchronized[int], which is not generic at run time


def check_peers(config: Config) -> None:
    """Refuse what cannot be compared.

    Raises:
        ConfigError: the peer is not installed, does not play the game, would not honour a setting,
            or cannot make as many updates a step.
    """
    if importlib.util.find_spec("stable_baselines3") is None:
        raise ConfigError(
            "--peers needs Stable-Baselines3: .venv/bin/pip install -r requirements-bench.txt"
        )
    if not envs.atari_rom(config.game):
        raise ConfigError(f"--peers compares Atari games, not {config.game}")
    settings = flatten(config)
    for name, default in flatten(Config()).items():
        if name not in HONOURED and settings[name] != default:
            raise ConfigError(f"--peers compares plain DQN; leave {as_typed(name)} out")
    period = config.learner.update_period
    if any(period % num_envs and num_envs % period for num_envs in PEER_ENVIRONMENTS):
        raise ConfigError(
            f"--peers needs a learner.update_period that divides {PEER_ENVIRONMENTS[-1]} or is a "
            f"multiple of it, not {period}"
        )


def measure_peers(config: Config, seconds: float) -> dict[str, Any]:
    """Training steps per second of each program: medians of WINDOWS windows of ``seconds``."""
    context = multiprocessing.get_context("spawn")
    programs: dict[str, tuple[Any, Counter]] = {}
    try:
        for name, target, num_envs in (
            ("ours", train_ours, config.num_envs),
            *((f"peer, {n} environments", train_peer, n) for n in PEER_ENVIRONMENTS),
        ):
            counter = context.Value("q", 0)
            process = context.Process(target=target, args=(config, num_envs, counter), daemon=True)
            process.start()
            programs[name] = process, counter
            while counter.value < WARM_UP_STEPS:
                if not process.is_alive():
                    raise ConfigError(f"{name} ended during its warm-up; its error is above")
                time.sleep(0.1)
            psutil.Process(process.pid).suspend()
        rates: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(WINDOWS):
            for name, (process, counter) in programs.items():
                psutil.Process(process.pid).resume()
                time.sleep(seconds / 20)  # caches and threads wake up
                steps, began = counter.value, time.perf_counter()
                time.sleep(seconds)
                steps, took = counter.value - steps, time.perf_counter() - began
                psutil.Process(process.pid).suspend()
                rates[name].append(steps / took)
    finally:
        for process, _ in programs.values():
            process.kill()
            process.join()
    ours, *theirs = [statistics.median(values) for values in rates.values()]
    return {
        "training_steps_per_second_beside_peer": ours,
        "peer_training_steps_per_second_1_environment": theirs[0],
        "peer_training_steps_per_second_8_environments": theirs[1],
        "peer_training_steps_per_second": max(theirs),
        "times_the_peer": ours / max(theirs),
    }


def train_ours(config: Config, num_envs: int, counter: "Synchronized[int]") -> None:
    """Train until killed, and count the steps."""
    tqdm.set_lock(threading.RLock())  # its default lock between processes would outlive this one
    use_threads(config.threads)
    use_precision(config.precision)
    replay = dataclasses.replace(config.replay, capacity=CAPACITY)
    config = dataclasses.replace(config, num_envs=num_envs, replay=replay)
    config = at_full_speed(config, LEARNING_STARTS)
    device = resolve_device(config.device)

    def count() -> bool:
        counter.value = session.step
        return False

    with (
        tempfile.TemporaryDirectory(prefix="dqn-bench-") as folder,
        Session(config, make_agent(config, device), Path(folder), device, count) as session,
    ):
        loop(session)


def train_peer(config: Config, num_envs: int, counter: "Synchronized[int]") -> None:
    """The same with Stable-Baselines3: its wrappers, and its defaults for all else."""
    import stable_baselines3
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    use_threads(config.threads)
    use_precision(config.precision)
    games = make_atari_env(envs.gymnasium_id(config.game), n_envs=num_envs, seed=config.seed)
    learner, epsilon = config.learner, config.exploration.epsilon_end
    # Its train_freq counts steps of all environments at once; updates per step are the same.
    every = max(1, learner.update_period // num_envs)
    model = stable_baselines3.DQN(
        "CnnPolicy",
        VecFrameStack(games, n_stack=4),
        learning_rate=config.optimizer.learning_rate,
        buffer_size=CAPACITY,
        learning_starts=LEARNING_STARTS,
        batch_size=learner.batch_size,
        gamma=config.replay.gamma,
        train_freq=every,
        gradient_steps=max(1, every * num_envs // learner.update_period),
        target_update_interval=learner.target_period,
        exploration_initial_eps=epsilon,
        exploration_final_eps=epsilon,
        policy_kwargs={"optimizer_kwargs": {"eps": config.optimizer.epsilon}},
        seed=config.seed,
        device=resolve_device(config.device),
    )

    def count(*_: Any) -> bool:
        counter.value = model.num_timesteps
        return True

    model.learn(total_timesteps=sys.maxsize, callback=count)
