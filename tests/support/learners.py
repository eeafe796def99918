"""Small networks, learners and batches for tests."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from dqn.config import LearnerConfig, NetworkConfig, OptimizerConfig, ValuesConfig
from dqn.learning.factory import make_values
from dqn.learning.learner import Learner
from dqn.networks import q_network
from dqn.networks.q_network import QNetwork
from dqn.types import Batch

CPU = torch.device("cpu")
EXPECTED = ValuesConfig()
FAST = OptimizerConfig(learning_rate=0.01)
KINDS = ("expected", "categorical", "quantile", "implicit_quantile")


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


PIXELS = torch.randint(256, (2, 4, 84, 84), dtype=torch.uint8, generator=generator())


def make_network(
    shape: tuple[int, ...] = (1, 2),
    values: ValuesConfig = EXPECTED,
    actions: int = 3,
    seed: int = 1,
    **network: Any,
) -> QNetwork:
    outputs = make_values(values, LearnerConfig()).num_outputs
    config = NetworkConfig(**network)
    return q_network.make_network(config, values, shape, actions, outputs, generator(seed))


def make_learner(
    network: QNetwork,
    values: ValuesConfig = EXPECTED,
    optimizer: OptimizerConfig = FAST,
    device: str = "cpu",
    **learner: Any,
) -> Learner:
    config, rng = LearnerConfig(**learner), torch.Generator(device).manual_seed(1)
    return Learner(network, make_values(values, config), optimizer, config, rng)


def tiny_learner(kind: Any = "expected", noisy: bool = False, **settings: Any) -> Learner:
    """States ``[1, 2]``, eight hidden units, three actions."""
    values = ValuesConfig(
        kind, atoms=11, v_min=-3, v_max=3, quantiles=7, num_taus=5, num_policy_taus=4
    )
    network = make_network(values=values, mlp_units=(8,), noisy=noisy)
    return make_learner(network, values, **settings)


def weights(network: nn.Module) -> torch.Tensor:
    """A copy of all parameters, in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def random_batch(seed: int, size: int = 16, scale: float = 1.0) -> Batch:
    """For ``tiny_learner``; every fifth transition is terminal."""
    g = generator(seed)
    return Batch(
        state=torch.randn(size, 1, 2, generator=g),
        action=torch.randint(3, (size,), generator=g),
        reward=scale * torch.randn(size, generator=g),
        discount=0.9 * (torch.rand(size, generator=g) < 0.8),
        next_state=torch.randn(size, 1, 2, generator=g),
        weight=0.2 + torch.rand(size, generator=g),
        index=torch.arange(size),
    )


def algorithm_1(
    atoms: Any, z: torch.Tensor, policy: Any, bonus: Any, reward: Any, discount: Any
) -> Any:
    """C51's projection of a soft policy's mixture, row by row: ``[B, K]``."""
    probability = z.double().softmax(2).numpy()
    batch, actions, count = probability.shape
    expected = np.zeros((batch, count))
    for b, a, j in np.ndindex(batch, actions, count):
        moved = reward[b] + discount[b] * (atoms[j] + bonus[b, a])
        place = (np.clip(moved, atoms[0], atoms[-1]) - atoms[0]) / (atoms[1] - atoms[0])
        share, low = policy[b, a] * probability[b, a, j], math.floor(place)
        expected[b, low] += share * (1 - (place - low))
        expected[b, math.ceil(place)] += share * (place - low)
    return expected
