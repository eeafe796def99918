"""Measure distributed replay on this machine, predict it from its parts, and forecast more actors.

``python docs/scaling.py`` prints the tables of docs/scaling.md: each part of a round alone, whole
runs predicted from them and measured, and the forecast. Ten minutes on an idle machine.
"""

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent.parent))

import ray
import torch
from ray.cluster_utils import Cluster

from dqn.commands.bench_loop import learning_loop
from dqn.config import Config
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.device import cores, use_threads
from dqn.learning.factory import make_agent
from dqn.scale import distributed
from dqn.scale.cluster import connect
from dqn.scale.compression import compress, decompress
from dqn.scale.rollouts import Rollout, RolloutWorker, Weights

CPU = torch.device("cpu")
MILLISECONDS = 1000


class Parts(NamedTuple):
    """Seconds of each part of a round, alone and with one thread; bytes."""

    playing: dict[int, float]
    """A worker's round, by its number of environments; its weights included."""
    learning: float
    """The learner's round: the rows of all environments, and the updates that are due."""
    publishing: float
    receiving: float
    """Of all K workers, from the object store."""
    compressing: float
    """A worker's frames, of 8 environments."""
    decompressing: float
    raw: int
    packed: int
    weights: int


class Canned:
    """``Workers`` who have always played already: the learner alone."""

    def __init__(self, config: Config, _: Callable[[], bool]) -> None:
        self._worker = RolloutWorker(dataclasses.replace(config, actors=1), 0)
        self.outstanding = 0

    def reset(self) -> Any:
        step = self._worker.reset()
        self._rollout: Rollout | None = None
        return step

    def request(self, turn: int, turns: int, weights: Weights) -> None:
        if self._rollout is None:
            self._rollout = self._worker.play(turn, turns, weights)

    def receive(self, _: object) -> Rollout:
        assert self._rollout is not None
        return self._rollout

    def close(self) -> None: ...


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    options, rest = parser.parse_known_args()
    given = ["--game=Breakout", "--device=cpu", "--threads=1"]
    epsilon = ["--exploration.epsilon-start=.1", "--exploration.epsilon-end=.1"]
    config = parse(TrainOptions, [*given, "--env.threads=1", *epsilon, *rest]).settings
    use_threads(1)
    with connect(None):
        parts = measure_parts(config, options.seconds)
        print_parts(config, parts)
        print("\n| run | predicted steps/s | measured | |\n|---|---|---|---|")
        one = rate(config, make_agent(config, CPU), options.seconds)
        print(f"| one process, one thread | | {one:,.0f} | |")
        for actors in (1, 2):
            for lag in (0, 1):
                row(config, parts, actors, lag, options.seconds)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    with connect(cluster.address):
        row(config, parts, 2, 1, options.seconds, far=True)
    cluster.shutdown()
    forecast(config, parts)


def measure_parts(config: Config, seconds: float) -> Parts:
    """Each part alone, in this process."""
    agent = make_agent(config, CPU)
    agent.environment.close()
    weights = {name: value.numpy() for name, value in agent.learner.online.state_dict().items()}
    playing: dict[int, float] = {}
    for share in (config.num_envs // 2, config.num_envs):
        playing[share], rollout = play_rounds(config, share, weights, seconds)
    frames, stored = rollout.steps.frame, ray.put(rollout)
    packed = compress(frames)
    greedy = dataclasses.replace(config.exploration, epsilon_start=0.0, epsilon_end=0.0)
    alone = dataclasses.replace(config, actors=1, exploration=greedy)
    with patch.object(distributed, "Workers", Canned):
        canned = distributed.make_agent(alone, CPU, lambda: False)
    steps = config.num_envs * config.distributed.round_length
    copies = {name: value.copy() for name, value in weights.items()}
    return Parts(
        playing=playing,
        learning=steps / rate(alone, canned, seconds),
        publishing=took(lambda: ray.put(copies), seconds / 4),
        receiving=took(lambda: Rollout.join([ray.get(stored)]), seconds / 4),
        compressing=took(lambda: compress(frames), seconds / 4),
        decompressing=took(lambda: decompress(packed), seconds / 4),
        raw=frames.nbytes,
        packed=len(packed.data),
        weights=sum(value.nbytes for value in weights.values()),
    )


def play_rounds(
    config: Config, share: int, weights: Weights, seconds: float
) -> tuple[float, Rollout]:
    """Median seconds of the round of a worker with ``share`` environments, and what it played."""
    length = config.distributed.round_length
    worker = RolloutWorker(dataclasses.replace(config, actors=config.num_envs // share), 0)
    worker.reset()
    turns = itertools.count(step=length)

    def play() -> Rollout:
        return worker.play(next(turns), length, weights)

    return took(play, seconds), play()


def took(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of a call."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def rate(config: Config, agent: Any, seconds: float) -> float:
    """Steps per second of the training loop while it learns: the median of three windows."""
    with learning_loop(config, agent, CPU, warm_up=seconds / 4) as (_, run_for):
        windows = [run_for(seconds / 3) for _ in range(3)]
    return median(steps / took for steps, took in windows)


def predicted(config: Config, parts: Parts, actors: int, far: bool = False) -> tuple[float, float]:
    """Seconds of a worker's and of the learner's round."""
    share = 1 / actors
    packing = parts.compressing * share if far else 0.0
    unpacking = parts.decompressing if far else 0.0
    actor = parts.playing[config.num_envs // actors] + packing
    return actor, parts.learning + parts.publishing + parts.receiving + unpacking


def round_seconds(actor: float, learner: float, actors: int, lag: int, cpus: float) -> float:
    """The model: stations with constant service times, so the slowest one sets the pace; without
    lag one waits for the other. Whatever the lag, no more cores work than there are."""
    alone = max(actor, learner) if lag else actor + learner
    return max(alone, (actors * actor + learner) / cpus)


def row(
    config: Config, parts: Parts, actors: int, lag: int, seconds: float, far: bool = False
) -> None:
    """Print a run's predicted and measured speed."""
    steps = config.num_envs * config.distributed.round_length
    model = steps / round_seconds(*predicted(config, parts, actors, far), actors, lag, cores())
    rounds = dataclasses.replace(config.distributed, lag=lag)
    config = dataclasses.replace(config, actors=actors, distributed=rounds)
    measured = rate(config, distributed.make_agent(config, CPU, lambda: False), seconds)
    where = ", each on a node of its own" if far else ""
    print(
        f"| {actors} actors{where}, lag {lag} | {model:,.0f} | {measured:,.0f} "
        f"| {measured / model - 1:+.0%} |", flush=True,
    )  # fmt: skip


def print_parts(config: Config, parts: Parts) -> None:
    """Print the service times."""
    n, length = config.num_envs, config.distributed.round_length
    print(f"{n} environments, rounds of {length} turns, {cores()} cores\n")
    print("| part of a round | ms |\n|---|---|")
    for share, seconds in parts.playing.items():
        print(f"| a worker plays {share} environments | {MILLISECONDS * seconds:.1f} |")
    for name in ("learning", "publishing", "receiving", "compressing", "decompressing"):
        print(f"| {name} | {MILLISECONDS * getattr(parts, name):.2f} |")
    print(
        f"\nbytes a step: {parts.raw / n / length:,.0f} raw, {parts.packed / n / length:,.0f} "
        f"compressed; weights {parts.weights:,} a round and node"
    )


def forecast(config: Config, parts: Parts) -> None:
    """Print what the model says of more actors, each with as many environments and a core."""
    steps = config.num_envs * config.distributed.round_length
    actor = parts.playing[config.num_envs] + parts.compressing
    store = parts.receiving + parts.decompressing
    print("\n| actors | environments | actors alone | this learner | a learner at 13,900 steps/s |")
    print("|---|---|---|---|---|")
    for actors in (4, 8, 16, 32, 64, 128, 256):
        alone = actors * steps / actor
        rows = [f"{actors}", f"{actors * config.num_envs}", f"{alone:,.0f}"]
        for learning in (parts.learning, steps / 13_900):
            learner = actors * (learning + store) + parts.publishing
            total = round_seconds(actor, learner, actors, 1, actors + 1)
            wire = parts.packed * actors / total / 1e6
            rows.append(f"{actors * steps / total:,.0f} ({wire:.1f} MB/s)")
        print(f"| {' | '.join(rows)} |")


if __name__ == "__main__":
    main()
