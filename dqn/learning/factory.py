"""From a config to DQN's parts that do the work, each with a random generator of its own."""

import functools
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch

from dqn import envs
from dqn.config import Config, ConfigError
from dqn.device import resolve_device
from dqn.learning.actor import Actor, greedy_by
from dqn.learning.cuda_graphs import CudaGraphed, CudaGraphedGreedy, Eager
from dqn.learning.interfaces import Agent
from dqn.learning.learner import Learner
from dqn.learning.values import ValueDistribution, make_values
from dqn.networks.q_network import QNetwork, make_network
from dqn.replay.buffer import Replay, ShapedReplay
from dqn.seeds import numpy_generator, torch_generator

log = logging.getLogger("dqn")


class QModel:
    """A Q-network on its device, and what its numbers mean."""

    def __init__(
        self, network: QNetwork, values: ValueDistribution, num_actions: int, device: torch.device
    ) -> None:
        self._network = network
        self._values = values
        self._num_actions = num_actions
        self._device = device

    def q_values(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, A]`` without noise."""
        return self._values.q(self._network(state))

    def make_policy(self, generator: np.random.Generator) -> Actor:
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


def make_model(config: Config, spec: envs.Spec, device: torch.device) -> QModel:
    """The model of a config for a game, before anything was learned."""
    network, values = make_q_network(config, spec)
    return QModel(network.place(device), values, spec.num_actions, device)


def make_q_network(config: Config, spec: envs.Spec) -> tuple[QNetwork, ValueDistribution]:
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
    replay_device = device_of_replay(config, device)
    replay_draws = torch_generator(config.seed, "replay", device=replay_device)
    replay = make_replay(config, spec, replay_draws)
    once = functools.partial(learn_once, replay, learner, config.learner.batch_size)
    learn: Callable[[int], None] = Eager(once)
    q_values = learner.acting_q_values
    greedy = greedy_by(q_values, device)
    if _captures(config, device, replay_device):
        learn = CudaGraphed(once, [draws, replay_draws])
        replay.wrap_write(lambda work: functools.partial(CudaGraphed(work, []), 1))
        greedy = CudaGraphedGreedy(q_values, replay, lambda: environment.timestep, [draws])
    actor = Actor(greedy, spec.num_actions, numpy_generator(config.seed, "actor"))
    model = QModel(network, values, spec.num_actions, device)
    return Agent(environment, replay, model, learner, actor, learn)


def device_of_replay(config: Config, device: torch.device) -> torch.device:
    """Where the rows live; ``device`` is the learner's.

    Raises:
        ConfigError: there is no such device.
    """
    where = config.replay.device
    if where == "auto" and config.replay.storage == "compressed":
        where = "cpu"
    return device if where == "auto" else resolve_device(where, "replay.device")


def make_replay(config: Config, spec: envs.Spec, generator: torch.Generator) -> Replay:
    """The replay memory of a config for a game; ``generator`` draws the batches, where it lives.

    Raises:
        ConfigError: there is not so much memory, or the shape of its rewards is another game's.
    """
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
            generator=generator,
        )
    except (RuntimeError, MemoryError) as error:  # torch has no error of its own for it on the CPU
        raise ConfigError(
            f"replay.capacity of {config.replay.capacity:,} rows needs "
            f"{config.replay.capacity * row / 1e9:,.1f} GB, more than {generator.device} can give; "
            "name fewer rows"
        ) from error
    if config.replay.storage == "plain":
        _warn_of_memory(config.replay.capacity, row, generator.device)
    return replay


def learn_once(replay: Replay, learner: Learner, batch_size: int) -> None:
    """Draw a batch, learn from it, tell the replay memory the new priorities."""
    batch = replay.sample(batch_size)
    replay.update_priorities(batch.index, learner.update(batch))


def _captures(config: Config, device: torch.device, replay_device: torch.device) -> bool:
    """Whether acting, remembering and updates become CUDA graphs.

    Raises:
        ConfigError: they shall, and cannot.
    """
    possible = device.type == replay_device.type == "cuda"
    if config.cuda_graphs is True and not possible:
        raise ConfigError(
            "cuda_graphs is true, and needs device and replay.device to be cuda; here they are "
            f"{device.type} and {replay_device.type}"
        )
    return possible and config.cuda_graphs is not False


def _warn_of_memory(rows: int, row_bytes: int, device: torch.device) -> None:
    """Memory is taken as the replay fills, so a replay too large ends the process hours later."""
    full, there = rows * row_bytes, psutil.virtual_memory().available
    if device.type == "cpu" and full > there:
        log.warning(
            "The replay memory will take %s MB when it is full, and %s MB are free: "
            "--replay.capacity %s would fit.",
            f"{full / 1e6:,.1f}", f"{there / 1e6:,.1f}", f"{int(0.8 * there / row_bytes):_}",
        )  # fmt: skip
