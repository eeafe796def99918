"""Adam against torch's, and Nature's RMSProp against its formula in double precision."""

from typing import Any

import numpy as np
import pytest
import torch
from support.learners import CPU, generator, make_network
from torch import nn

from dqn.config import OptimizerConfig
from dqn.learning.optimizers import NatureRMSprop, Optimizer, make_optimizer
from dqn.networks.q_network import QNetwork


def gradients(steps: int, *shape: int) -> torch.Tensor:
    """Of very different sizes."""
    size = 10.0 ** torch.randint(-4, 2, (steps, *shape), generator=generator(3))
    return torch.randn(steps, *shape, generator=generator()) * size


def test_nature_rmsprop_against_its_formula() -> None:
    """In double precision, over 30 steps, two parameters, one of them a matrix."""
    parameters = [
        nn.Parameter(torch.randn(4, 3, generator=generator())),
        nn.Parameter(torch.ones(2)),
    ]
    config = OptimizerConfig("rmsprop", decay=0.9, epsilon=1e-5)
    optimizer = make_optimizer(config, nn.ParameterDict({"a": parameters[0], "b": parameters[1]}))
    expected = [p.detach().double().numpy().copy() for p in parameters]
    mean = [np.zeros_like(p) for p in expected]
    square = [np.zeros_like(p) for p in expected]
    for step in range(30):
        for i, parameter in enumerate(parameters):
            parameter.grad = gradients(30, *parameter.shape)[step]
            g = parameter.grad.double().numpy()
            mean[i] = 0.9 * mean[i] + 0.1 * g
            square[i] = 0.9 * square[i] + 0.1 * g * g
            expected[i] -= 2.5e-4 * g / np.sqrt(square[i] - mean[i] ** 2 + 1e-5)
        optimizer.step(torch.tensor(2.5e-4))
    for ours, theirs in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(ours.detach(), theirs, rtol=2e-5, atol=1e-7)


def rmsprop(*parameters: nn.Parameter, decay: float, epsilon: float) -> NatureRMSprop:
    named = {str(i): parameter for i, parameter in enumerate(parameters)}
    return NatureRMSprop(named, decay, epsilon)


def test_nature_rmsprop_survives_a_constant_gradient() -> None:
    """Its variance is 0, and rounding makes it negative: no root of a negative number."""
    parameter = nn.Parameter(torch.zeros(500))
    optimizer = rmsprop(parameter, decay=0.95, epsilon=9.765625e-6)
    constant = 100 * torch.rand(500, generator=generator())
    for _ in range(600):
        parameter.grad = constant.clone()
        optimizer.step(torch.tensor(2.5e-4))
    assert parameter.isfinite().all()


def test_a_parameter_without_gradient_is_refused() -> None:
    parameter = nn.Parameter(torch.ones(2))
    with pytest.raises(AssertionError, match="has no gradient"):
        rmsprop(parameter, decay=0.9, epsilon=1.0).step(torch.tensor(1.0))


def test_adam_equals_torchs_to_the_bit() -> None:
    ours, theirs = (nn.Parameter(torch.zeros(7)) for _ in range(2))
    adam = make_optimizer(OptimizerConfig("adam", epsilon=0.1), nn.ParameterDict({"w": ours}))
    torchs = torch.optim.Adam([theirs], torch.tensor(0.01), eps=0.1, fused=True)
    for gradient in gradients(20, 7):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        adam.step(torch.tensor(0.01))
        torchs.step()
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_an_optimizers_state_is_saved_by_parameter_name(name: Any) -> None:
    """Loaded into another optimizer it continues to the bit, in channels-last layout too."""
    config = OptimizerConfig(name)

    def make(seed: int) -> tuple[QNetwork, Optimizer]:
        network = make_network((4, 84, 84), seed=seed, hidden_units=4)
        return network.place(CPU), make_optimizer(config, network)

    def step(network: QNetwork, optimizer: Optimizer, seed: int) -> None:
        state = torch.rand(2, 4, 84, 84, generator=generator(seed))
        network.zero_grad()
        network(state).square().sum().backward()
        optimizer.step(torch.tensor(0.01))

    (ours, first), (theirs, second) = make(1), make(2)
    for seed in range(3):
        step(ours, first, seed)
        step(theirs, second, seed + 50)  # overwritten below
    state = first.state_dict()
    moments = {"adam": {"exp_avg", "exp_avg_sq"}, "rmsprop": {"mean", "mean_square"}}[name]
    assert set(state) == moments | ({"step"} if name == "adam" else set())
    names = [name for name, _ in ours.named_parameters()]
    assert all(list(state[key]) == names for key in moments)
    plain: Any = {
        key: {n: v.contiguous().clone() for n, v in value.items()} if key in moments else value
        for key, value in state.items()
    }
    theirs.load_state_dict(ours.state_dict())
    second.load_state_dict(plain)
    for seed in range(3, 6):
        step(ours, first, seed)
        step(theirs, second, seed)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other), name


def test_a_state_that_is_no_optimizers_is_refused() -> None:
    """That of the other kind, or with a second moment whose root does not exist."""
    parameters = nn.ParameterDict({"w": nn.Parameter(torch.ones(2))})
    adam, nature = (
        make_optimizer(OptimizerConfig(name), parameters) for name in ("adam", "rmsprop")
    )
    with pytest.raises(ValueError, match=r"has \['mean', 'mean_square'\], not \['exp_avg', "):
        nature.load_state_dict(adam.state_dict())
    negative = torch.tensor([1.0, -1e-9])
    for optimizer, key, value in (
        (adam, "exp_avg_sq", {"w": negative}), (nature, "mean_square", {"w": negative}),
        (adam, "step", torch.tensor(-1.0)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{key} is negative"):
            optimizer.load_state_dict(optimizer.state_dict() | {key: value})
    for optimizer, key in ((adam, "exp_avg"), (nature, "mean")):
        optimizer.load_state_dict(optimizer.state_dict() | {key: {"w": negative}})
