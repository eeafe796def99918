"""Small networks, learners and batches for tests."""

from typing import Any

import torch
from torch import nn

from dqn.config import LearnerConfig, NetworkConfig, OptimizerConfig, ValuesConfig
from dqn.learning.factory import make_values
from dqn.learning.learner import Learner
from dqn.networks import q_network
from dqn.networks.q_network import QNetwork
from dqn.networks.spectral import SpectralConvolution
from dqn.types import Batch

CPU = torch.device("cpu")
EXPECTED = ValuesConfig()
FAST = OptimizerConfig(learning_rate=0.01)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    precision: str = "float32",
    **learner: Any,
) -> Learner:
    config, rng = LearnerConfig(**learner), torch.Generator(device).manual_seed(1)
    return Learner(network, make_values(values, config), optimizer, config, precision, rng)


def tiny_learner(kind: Any = "expected", noisy: bool = False, **settings: Any) -> Learner:
    """States ``[1, 2]``, eight hidden units, three actions."""
    values = ValuesConfig(
        kind, atoms=11, v_min=-3, v_max=3, quantiles=7, num_taus=5, num_policy_taus=4
    )
    network = make_network(values=values, mlp_units=(8,), noisy=noisy)
    return make_learner(network, values, **settings)


@torch.no_grad()
def find_singular_vectors(network: nn.Module) -> None:
    """Exactly, for layers with spectral norm, which approach them as they learn."""
    for layer in network.modules():
        if isinstance(layer, SpectralConvolution):
            left, _, _ = torch.linalg.svd(layer.weight.flatten(1), full_matrices=False)
            layer.left.copy_(left[:, 0])


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
