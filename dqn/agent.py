"""From a config to the parts that do the work, each with a random generator of its own.

``Model`` and ``AnyLearner`` are what a run asks of its method; here stand DQN's, in ``tabular/``
those of the methods it grew out of.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import psutil
import torch

from dqn import envs
from dqn.action_values import ActionValues, make_values
from dqn.actor import Actor, Player, greedy_by
from dqn.config import Config, ConfigError
from dqn.device import resolve_device
from dqn.learner import FirstBad, Learner
from dqn.networks import QNetwork, make_network
from dqn.replay import Replay, ShapedReplay
from dqn.schedule import numpy_generator, torch_generator
from dqn.types import State

log = logging.getLogger("dqn")


QValues = Callable[[torch.Tensor], torch.Tensor]
"""``[B, S, *frame]`` -> ``[B, A]``."""


class Model(Protocol):
    """What a run learns, saves and plays by: a network, or a table."""

    @property
    def q_values(self) -> QValues | None:
        """Its action values; None if it holds preferences instead."""
        ...

    def player(self, generator: np.random.Generator) -> Player:
        """Somebody who plays as well as it knows."""
        ...

    def draw(self, folder: Path) -> None:
        """Leave a picture of it in a run's folder, if it is one that can be looked at.

        Raises:
            OSError: it cannot be written.
        """
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What ``model.safetensors`` holds."""
        ...

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """The counterpart of ``state_dict``; shapes and types must be those that it gives."""
        ...


MakeModel = Callable[[Config, envs.Spec, torch.device], Model]


class AnyLearner(Protocol):
    """What a run asks of a learner beside learning, which is ``Agent.learn``."""

    updates: int
    learning_rate: float
    first_bad: FirstBad

    @property
    def converged(self) -> bool:
        """Whether more learning would change nothing: then the run ends."""
        ...

    def sync_target(self) -> None:
        """Move the target network, if there is one."""
        ...

    def center_on(self, states: torch.Tensor) -> None:
        """Subtract the mean of ``states [M, S, *frame]``; asked with ``network.center`` alone."""
        ...

    def take_means(self) -> dict[str, float | None]:
        """Mean of each measure over the updates since the last call; ``loss`` is one of them."""
        ...

    def finite(self) -> bool:
        """Whether all was a number so far."""
        ...

    def state_dict(self) -> State:
        """What it remembers, the model under ``online``."""
        ...

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        ...


Learner_co = TypeVar("Learner_co", bound=AnyLearner, covariant=True)


@dataclass(frozen=True)
class Agent(Generic[Learner_co]):
    """What acts, remembers and learns."""

    environment: envs.Environment
    replay: Replay
    model: Model
    learner: Learner_co
    actor: Player
    learn: Callable[[int], None]
    """Make so many updates."""


class DeepModel:
    """A Q-network, and what its numbers mean."""

    def __init__(
        self, network: QNetwork, values: ActionValues, num_actions: int, device: torch.device
    ) -> None:
        self._network = network.place(device)
        self._values = values
        self._num_actions = num_actions
        self._device = device

    def q_values(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, A]`` without noise."""
        return self._values.q(self._network(state)[0])

    def player(self, generator: np.random.Generator) -> Actor:
        """Epsilon-greedy on the q-values."""
        return Actor(greedy_by(self.q_values, self._device), self._num_actions, generator)

    def draw(self, folder: Path) -> None:
        """Millions of weights are no picture."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights."""
        return dict(self._network.state_dict())

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """The counterpart of ``state_dict``."""
        self._network.load_state_dict(state)


def make_model(config: Config, spec: envs.Spec, device: torch.device) -> DeepModel:
    """The model of a config for a game, before anything was learned."""
    network, values = make_q_network(config, spec)
    return DeepModel(network, values, spec.num_actions, device)


def make_q_network(config: Config, spec: envs.Spec) -> tuple[QNetwork, ActionValues]:
    """The network of a config for a game, freshly initialised, and what its numbers mean."""
    values = make_values(config.values, config.learner)
    network = make_network(
        config.network,
        config.values,
        (spec.stack, *spec.frame_shape),
        spec.num_actions,
        values.num_outputs,
        torch_generator(config.seed, "network"),
    )
    return network, values


def make_agent(config: Config, device: torch.device) -> Agent[Learner]:
    """Every part of a config, at the beginning of a run."""
    environment = envs.make(config, config.num_envs)
    spec = environment.spec
    network, values = make_q_network(config, spec)
    draws = torch_generator(config.seed, "learner", device=device)
    learner = Learner(network, values, config.optimizer, config.learner, draws)
    replay = make_replay(config, spec, device)

    def learn(updates: int) -> None:
        for _ in range(updates):
            batch = replay.sample(config.learner.batch_size)
            replay.update_priorities(batch.index, learner.update(batch))

    greedy = greedy_by(learner.acting_q_values, device)
    actor = Actor(greedy, spec.num_actions, numpy_generator(config.seed, "actor"))
    model = DeepModel(network, values, spec.num_actions, device)
    return Agent(environment, replay, model, learner, actor, learn)


def make_replay(config: Config, spec: envs.Spec, device: torch.device) -> Replay:
    """The replay memory of a config for a game; ``device`` is the learner's.

    Raises:
        ConfigError: there is not so much memory, or its rewards are not this game's.
    """
    where = config.replay.device
    if where == "auto" and config.replay.storage == "compressed":
        where = "cpu"
    replay_device = device if where == "auto" else resolve_device(where, "replay.device")
    clip = config.replay.clip_reward
    kind = Replay
    if config.replay.shape_reward == "cartpole":
        envs.check_cartpole(spec)
        kind = ShapedReplay
    row = math.prod(spec.frame_shape) * np.dtype(spec.frame_dtype).itemsize
    try:
        replay = kind(
            config.replay,
            config.num_envs,
            frame_shape=spec.frame_shape,
            frame_dtype=spec.frame_dtype,
            stack=spec.stack,
            num_actions=spec.num_actions,
            clip_reward=spec.atari if clip == "auto" else clip,
            generator=torch_generator(config.seed, "replay", device=replay_device),
        )
    except (RuntimeError, MemoryError) as error:  # torch has no error of its own for it on the CPU
        raise ConfigError(
            f"replay.capacity of {config.replay.capacity:,} rows needs "
            f"{config.replay.capacity * row / 1e9:,.1f} GB, more than {replay_device} can give; "
            "name fewer rows"
        ) from error
    if config.replay.storage == "plain":
        _warn_of_memory(config.replay.capacity, row, replay_device)
    return replay


def _warn_of_memory(rows: int, row_bytes: int, device: torch.device) -> None:
    """Memory is taken as the replay fills, so a replay too large ends the process hours later."""
    full, there = rows * row_bytes, psutil.virtual_memory().available
    if device.type == "cpu" and full > there:
        log.warning(
            "The replay memory will take %s MB when it is full, and %s MB are free: "
            "--replay.capacity %s would fit.",
            f"{full / 1e6:,.1f}", f"{there / 1e6:,.1f}", f"{int(0.8 * there / row_bytes):_}",
        )  # fmt: skip
