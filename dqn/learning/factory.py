"""The parts of a run, and how DQN's are made, each with a random generator of its own."""

import functools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch

from dqn import envs
from dqn.config import Config, ConfigError, LearnerConfig, ValuesConfig
from dqn.device import free_memory, resolve_device
from dqn.learning.actor import Actor, QModel, make_greedy
from dqn.learning.cuda_graphs import CudaGraphed, CudaGraphedGreedy
from dqn.learning.distributions import Categorical, ImplicitQuantile, Quantile
from dqn.learning.interfaces import LearnerProtocol, Model, Policy, QValues
from dqn.learning.learner import Learner
from dqn.learning.values import Expected, ValueDistribution
from dqn.networks.q_network import QNetwork, make_network
from dqn.replay.buffer import Replay
from dqn.seeds import numpy_generator, torch_generator
from dqn.types import F32, TimeStep

log = logging.getLogger("dqn")

MAX_BATCHES_TOGETHER = 16
MAX_TRANSITIONS_TOGETHER = 4096  # preprocessed, those of Atari take 925 MB
IQN_MEMORY_FACTOR = 8  # it multiplies the features of each state by an embedding of each tau

Learner_co = TypeVar("Learner_co", bound=LearnerProtocol, covariant=True)


@dataclass(frozen=True)
class Agent(Generic[Learner_co]):
    """Every part of a run."""

    environment: envs.Environment
    replay: Replay
    model: Model
    learner: Learner_co
    actor: Policy
    learn: Callable[[int], None]
    """Makes the given number of updates."""

    def begin_learning(self, updates: int) -> Callable[[], None]:
        """``learn`` in two parts: a GPU is given its work now, and what is returned waits until it
        has been given; a CPU learns when that is called."""
        if isinstance(self.learn, CudaGraphed):
            return self.learn.begin(updates)
        return functools.partial(self.learn, updates)


def make_agent(config: Config, device: torch.device) -> Agent[Learner]:
    """Every part of a run of method dqn, freshly initialized.

    Raises:
        ConfigError: the game does not exist, or as ``make_agent_for``.
    """
    return make_agent_for(envs.make(config, config.num_envs), config, device)


def make_agent_for(
    environment: envs.Environment, config: Config, device: torch.device
) -> Agent[Learner]:
    """Every part of a run of method dqn in ``environment``, freshly initialized.

    Raises:
        ConfigError: a device does not exist, there is not enough memory, or the network cannot be
            deterministic on its device.
    """
    if config.deterministic and device.type == "cuda" and config.network.pool:
        raise ConfigError(
            "deterministic is true, but on a GPU torch has no deterministic gradient of adaptive "
            "max pooling; use --network.pool 0 or --deterministic false"
        )
    spec = environment.spec
    network, values = make_q_network(config, spec)
    learner_rng = torch_generator(config.seed, "learner", device=device)
    learner = Learner(
        network, values, config.optimizer, config.learner, config.precision, learner_rng
    )
    replay_device = _replay_device(config, device)
    replay_rng = torch_generator(config.seed, "replay", device=replay_device)
    replay = make_replay(config, spec, replay_rng)
    make_updates: Callable[[int], None] = functools.partial(learn, replay, learner, config)
    noise, q_values = make_acting(config, learner.online, values, device)
    greedy = make_greedy(q_values, device)
    if _use_cuda_graphs(config, device, replay_device):
        make_updates = CudaGraphed(make_updates, [learner_rng, replay_rng])
        replay.wrap_write(lambda write: functools.partial(CudaGraphed(lambda _: write(), []), 1))
        greedy = CudaGraphedGreedy(q_values, replay, [noise] if noise else [])
    actor = Actor(greedy, spec.num_actions, numpy_generator(config.seed, "actor"), noise)
    model = QModel(network, values, spec.num_actions, device)
    return Agent(environment, replay, model, learner, actor, make_updates)


def learn(replay: Replay, learner: Learner, config: Config, updates: int) -> None:
    """Make the given number of updates, each with a batch whose new priorities are written back."""
    together = batches_together(config)
    for begin in range(0, updates, together):
        steps = min(together, updates - begin)
        batch = replay.sample(steps * config.learner.batch_size)
        replay.update_priorities(batch.index, learner.update(batch, steps))


def batches_together(config: Config) -> int:
    """The most batches drawn at once, before the updates that use them: one if each update changes
    the priorities, or needs noise of its own for the target network."""
    alone = config.replay.sampler == "prioritized" or config.network.noisy
    implicit = config.values.kind == "implicit_quantile"
    most = MAX_TRANSITIONS_TOGETHER // (IQN_MEMORY_FACTOR if implicit else 1)
    fitting = max(1, most // config.learner.batch_size)
    return 1 if alone else min(MAX_BATCHES_TOGETHER, fitting)


def make_acting(
    config: Config, network: QNetwork, values: ValueDistribution, device: torch.device
) -> tuple[torch.Generator | None, QValues]:
    """The generator of a noisy network's noise, or None, and the q-values to act on in training,
    which draw from it."""
    noise = torch_generator(config.seed, "noise", device=device) if config.network.noisy else None
    return noise, lambda state: values.q(network(state, noise))


def make_model(config: Config, spec: envs.Spec, device: torch.device) -> QModel:
    """The untrained model of a config and game."""
    network, values = make_q_network(config, spec)
    return QModel(network.place(device, config.precision), values, spec.num_actions, device)


def make_q_network(config: Config, spec: envs.Spec) -> tuple[QNetwork, ValueDistribution]:
    """The untrained network of a config and game, on the CPU, and its return distribution."""
    values = make_values(config.values, config.learner)
    shape, rng = (spec.stack, *spec.frame_shape), torch_generator(config.seed, "network")
    network = make_network(
        config.network, config.values, shape, spec.num_actions, values.num_outputs, rng
    )
    return network, values


def make_values(values: ValuesConfig, learner: LearnerConfig) -> ValueDistribution:
    """The return distribution described by a config."""
    if values.kind == "expected":
        return Expected(learner.loss, values.kappa)
    if values.kind == "categorical":
        return Categorical(values.atoms, values.v_min, values.v_max)
    if values.kind == "quantile":
        return Quantile(values.quantiles, values.kappa)
    return ImplicitQuantile(values.num_taus, values.num_policy_taus, values.kappa)


def make_replay(config: Config, spec: envs.Spec, generator: torch.Generator) -> Replay:
    """The empty replay memory of a config and game, on the device of ``generator``.

    Raises:
        ConfigError: there is not enough memory, or the shaped reward is for another game.
    """
    rows, device = config.replay.capacity, generator.device
    row_bytes = math.prod(spec.frame_shape) * np.dtype(spec.frame_dtype).itemsize
    size = rows * row_bytes
    try:
        replay = Replay(
            config.replay,
            config.num_envs,
            frame_shape=spec.frame_shape,
            frame_dtype=spec.frame_dtype,
            stack=spec.stack,
            num_actions=spec.num_actions,
            reward=_make_reward(config, spec),
            generator=generator,
        )
    except (RuntimeError, MemoryError) as error:  # torch raises a plain RuntimeError on the CPU
        raise ConfigError(
            f"replay.capacity of {rows:,} rows needs {size / 1e9:,.1f} GB, more than "
            f"{device} can give; name fewer rows"
        ) from error
    # Memory is allocated as the replay fills: one that is too large would fail hours later.
    free = free_memory()
    if config.replay.storage == "plain" and device.type == "cpu" and size > free:
        log.warning(
            "The replay memory will take %s MB when it is full, and %s MB are free: "
            "--replay.storage compressed takes a fraction, and --replay.capacity %s would fit.",
            f"{size / 1e6:,.1f}", f"{free / 1e6:,.1f}", f"{int(0.8 * free / row_bytes):_}",
        )  # fmt: skip
    return replay


def _make_reward(config: Config, spec: envs.Spec) -> Callable[[TimeStep], F32]:
    """The reward that the replay memory stores: shaped, then clipped, as the config says."""
    clip = config.replay.clip_reward
    clip = spec.atari if clip == "auto" else clip
    shaped = config.replay.shape_reward == "cartpole"
    if shaped and not spec.game.startswith("CartPole-"):
        raise ConfigError(f"replay.shape_reward cartpole is for CartPole, not {spec.game}")

    def reward(timestep: TimeStep) -> F32:
        value = envs.cartpole_reward(timestep) if shaped else timestep.reward
        return value.clip(-1, 1) if clip else value

    return reward


def _replay_device(config: Config, device: torch.device) -> torch.device:
    """Where the replay memory is stored; ``device`` is the learner's."""
    name = config.replay.device
    if name == "auto" and config.replay.storage == "compressed":
        name = "cpu"
    return device if name == "auto" else resolve_device(name, "replay.device")


def _use_cuda_graphs(config: Config, device: torch.device, replay_device: torch.device) -> bool:
    possible = device.type == replay_device.type == "cuda"
    if config.cuda_graphs is True and not possible:
        raise ConfigError(
            "cuda_graphs is true, and needs device and replay.device to be cuda; here they are "
            f"{device.type} and {replay_device.type}"
        )
    return possible and config.cuda_graphs is not False
