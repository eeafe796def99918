"""Adam against torch's, and Nature's RMSProp against its formula in double precision."""

from typing import Any

import pytest
import torch
from support.learners import CPU, generator, make_network
from support.plain import NatureRMSprop
from torch import nn

from dqn.config import OptimizerConfig
from dqn.learning.optimizers import make_optimizer

RATE = torch.tensor(0.01)


def step(optimizer):
    optimizer.step(optimizer.gradients(), RATE)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_optimizers_equal_torchs_adam_and_natures_formula(name):
    """Adam to the bit; 30 steps of two parameters, with gradients of very different sizes."""
    ours, theirs = ([torch.ones(4, 3), torch.ones(2)] for _ in range(2))
    named = nn.ParameterDict({str(i): nn.Parameter(part) for i, part in enumerate(ours)})
    optimizer = make_optimizer(OptimizerConfig(name, epsilon=1e-3, decay=0.9), named)
    plain: Any = torch.optim.Adam(theirs, RATE, eps=1e-3, fused=True)
    if name == "rmsprop":
        theirs = [part.double() for part in theirs]
        plain = NatureRMSprop(theirs, 0.01, 1e-3, 0.9)
    random = generator()
    for _ in range(30):
        for mine, other in zip(named.values(), theirs, strict=True):
            size = 10.0 ** torch.randint(-4, 2, mine.shape, generator=random)
            mine.grad = torch.randn(mine.shape, generator=random) * size
            other.grad = mine.grad.to(other.dtype)
        step(optimizer)
        plain.step()
    for mine, other in zip(named.values(), theirs, strict=True):
        tolerance = 0 if name == "adam" else 2e-5
        torch.testing.assert_close(
            mine.detach(), other.float(), rtol=tolerance, atol=tolerance / 10
        )


def test_rmsprop_survives_a_constant_gradient():
    """Its variance is 0, and rounding makes it negative: no root of a negative number."""
    named = nn.ParameterDict({"w": nn.Parameter(torch.zeros(500))})
    optimizer = make_optimizer(OptimizerConfig("rmsprop", epsilon=9.765625e-6), named)
    constant = 100 * torch.rand(500, generator=generator())
    for _ in range(600):
        named["w"].grad = constant.clone()
        step(optimizer)
    assert named["w"].isfinite().all()


def test_a_parameter_without_gradient_is_refused():
    optimizer = make_optimizer(OptimizerConfig(), nn.ParameterDict({"w": nn.Parameter(RATE)}))
    with pytest.raises(AssertionError, match="has no gradient"):
        optimizer.gradients()


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_an_optimizers_state_is_saved_by_parameter_name(name):
    """And loaded into moments in the memory layout of their parameters, whatever its own is."""
    networks = [
        make_network((4, 36, 36), seed=seed, hidden_units=4).place(CPU, "float32")
        for seed in (1, 2)
    ]
    ours, theirs = (make_optimizer(OptimizerConfig(name), network) for network in networks)
    for seed, (network, optimizer) in enumerate(zip(networks, (ours, theirs), strict=True)):
        state = torch.rand(2, 4, 36, 36, generator=generator(seed))
        network(state).square().sum().backward()
        step(optimizer)
    moments = {"adam": {"exp_avg", "exp_avg_sq"}, "rmsprop": {"mean", "mean_square"}}[name]
    saved = ours.state_dict()
    assert set(saved) == moments | ({"step"} if name == "adam" else set())
    plain: Any = {
        key: {n: moment.contiguous().clone() for n, moment in saved[key].items()} for key in moments
    }
    theirs.load_state_dict(saved | plain)
    for key in moments:
        loaded = theirs.state_dict()[key]
        assert list(loaded) == [name for name, _ in networks[1].named_parameters()]
        for parameter, moment in zip(networks[1].parameters(), loaded.items(), strict=True):
            assert moment[1].stride() == parameter.stride()
            assert torch.equal(moment[1], saved[key][moment[0]])


def test_a_state_that_is_no_optimizers_is_refused():
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
