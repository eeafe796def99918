"""A worker's part of distributed replay: it plays some of the environments, a round at a time.

A round is a number of turns, a turn one step of every environment. All that a worker does is a
function of the run's config, its own number and the weights it is sent, so it can be replaced.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import torch

from dqn import envs
from dqn.config import Config
from dqn.device import resolve_precision, use_threads
from dqn.envs.environment import EngineStep
from dqn.learning.actor import Actor, make_greedy
from dqn.learning.factory import make_acting, make_q_network
from dqn.schedule import epsilons
from dqn.seeds import numpy_generator
from dqn.types import I64, Array, State

Weights = dict[str, Array]
"""A network's ``state_dict``."""

CPU = torch.device("cpu")


class Rollout(NamedTuple):
    """What M environments did in C turns, and what came of it."""

    action: I64
    """``[C, M]``."""
    steps: EngineStep
    """After each action: ``[C, M, ...]``."""

    @classmethod
    def join(cls, rollouts: "list[Rollout]") -> "Rollout":
        """Those of several workers, side by side."""
        actions, steps = zip(*rollouts, strict=True)
        parts = [np.concatenate(part, axis=1) for part in zip(*steps, strict=True)]
        return cls(np.concatenate(actions, axis=1), EngineStep(*parts))


def columns(config: Config, worker: int) -> slice:
    """The environments that a worker plays, of all N."""
    share = config.num_envs // config.actors
    return slice(worker * share, (worker + 1) * share)


def select_columns(state: State, chosen: slice) -> State:
    """Some of the environments' part of the state of all (``Environment.state_dict``)."""
    timestep = {name: value[chosen] for name, value in state["timestep"].items()}
    parts = {name: state[name][chosen] for name in ("lives", "count", "seed", "age")}
    actions = state["actions"][len(state["actions"]) - parts["age"].max() :, chosen]
    return {"timestep": timestep, "actions": actions, **parts}


def store_bytes(config: Config) -> int:
    """What Ray's object store holds of a run at most: the lag + 1 rounds that are played, and one
    that is read."""
    frame = config.env.frame_size**2  # Atari's; most other observations are smaller
    return (config.distributed.lag + 2) * config.distributed.round_length * config.num_envs * frame


class OutOfOrder(Exception):
    """A worker was asked for a turn other than its next: it is new, or has played that one."""


class RolloutWorker:
    """Plays one worker's environments, with random draws made for all N."""

    def __init__(self, config: Config, worker: int) -> None:
        use_threads(config.distributed.threads)
        self._config = config
        self._columns = columns(config, worker)
        threads = config.env.threads or config.distributed.threads
        own = dataclasses.replace(config, env=dataclasses.replace(config.env, threads=threads))
        self._environment = envs.make(own, config.num_envs // config.actors)
        spec = self._environment.spec
        network, values = make_q_network(config, spec)
        precision = "float32" if config.precision == "tf32" else config.precision
        self._network = network.place(CPU, resolve_precision(precision, CPU))
        noise, q_values = make_acting(config, network, values, CPU)
        generator = numpy_generator(config.seed, "actor")
        self._actor = Actor(make_greedy(q_values, CPU), spec.num_actions, generator, noise)
        self._turn: int | None = None  # the next one

    def reset(self) -> EngineStep:
        """Start the first episodes."""
        self._turn = 0
        self._environment.reset(self._config.seed, "training", first=self._columns.start)
        return self._environment.engine_step

    def restore(self, turn: int, environment: State, actor: State) -> None:
        """Continue at a turn, with the states of these environments and of the actor as they were.

        Raises:
            ValueError: the emulators did not return to the saved screens.
        """
        self.reset()
        self._environment.load_state_dict(environment)
        self._actor.load_state_dict(actor)
        self._turn = turn

    def play(self, turn: int, turns: int, weights: Weights) -> Rollout:
        """Play a number of turns.

        Raises:
            OutOfOrder: ``turn`` is not the next one.
        """
        if turn != self._turn:
            raise OutOfOrder(f"asked for turn {turn}, the next is {self._turn}")
        self._network.load_state_dict({name: torch.tensor(w) for name, w in weights.items()})
        played = [self._play_turn(turn + i) for i in range(turns)]
        self._turn = turn + turns
        actions, steps = zip(*played, strict=True)
        return Rollout(np.stack(actions), EngineStep(*map(np.stack, zip(*steps, strict=True))))

    def _play_turn(self, turn: int) -> tuple[I64, EngineStep]:
        """The actions of a turn, and the step after them."""
        environment, n = self._environment, self._config.num_envs
        explore, random = self._actor.draw(n, epsilons(self._config, turn * n))
        mine = self._columns
        action = self._actor.choose(environment.timestep.stack, explore[mine], random[mine])()
        environment.send(action)
        environment.receive()
        return action, environment.engine_step
