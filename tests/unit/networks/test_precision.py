"""bfloat16 against float32, and against casts written out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.learners import CPU, generator, make_learner, make_network, random_batch, tiny_learner
from torch import nn
from torch.nn.utils import parameters_to_vector

from dqn.config import ValuesConfig

IQN = ValuesConfig("implicit_quantile", num_policy_taus=8)
NETWORKS: dict[str, tuple[tuple[int, ...], ValuesConfig, dict[str, Any]]] = {
    "nature, dueling": ((4, 84, 84), ValuesConfig(), {"dueling": True, "hidden_units": 64}),
    "nature, noisy, IQN": ((4, 84, 84), IQN, {"noisy": True, "hidden_units": 64}),
    "patches, normalized": ((4, 48, 48), ValuesConfig(), {
        "torso": "patches", "layer_norm": True, "center": True, "hidden_units": 64}),
    "impala": ((4, 84, 84), ValuesConfig(), {
        "torso": "impala", "spectral_norm": True, "pool": 6, "hidden_units": 64}),
    "mlp": ((1, 5), ValuesConfig(), {"mlp_units": (32, 16)}),
    "linear": ((1, 5), ValuesConfig(), {"mlp_units": ()}),
}  # fmt: skip


def states(shape: tuple[int, ...]) -> torch.Tensor:
    rng = torch.Generator().manual_seed(1)
    if len(shape) == 3:
        return torch.randint(256, (6, *shape), dtype=torch.uint8, generator=rng)
    return torch.randn(6, *shape, generator=rng)


def test_every_network_computes_nearly_the_same_in_bfloat16(subtests):
    """With the same noise, at the same taus."""
    for name, (shape, values, settings) in NETWORKS.items():
        with subtests.test(name):
            full, half = (
                make_network(shape, values, **settings).place(CPU, precision)
                for precision in ("float32", "bfloat16")
            )
            taus = torch.rand(6, 5, generator=generator()) if values is IQN else None
            with torch.no_grad():
                z, rounded = (
                    network.forward_preprocessed(
                        network.preprocess(states(shape)), generator(), taus
                    )
                    for network in (full, half)
                )
            assert rounded.dtype == torch.float32
            error = (rounded - z).abs().max() / z.std()
            assert error < 0.1
            assert (error > 1e-5) == (name != "linear"), "its only layer is the last one"


def test_casts_written_out():
    """Hidden layers round their weights, inputs and outputs to bfloat16, the last one nothing; the
    gradients of the float32 weights are those of the rounded ones."""
    network = make_network((1, 5), mlp_units=(32,)).place(CPU, "bfloat16")
    (hidden, _, last) = network.head.advantage
    w, b, w_last, b_last = (
        parameter.detach().clone().requires_grad_()
        for layer in (hidden, last)
        for parameter in (layer.weight, layer.bias)
    )
    state = states((1, 5))
    inner = F.linear(state.flatten(1).bfloat16(), w.bfloat16(), b.bfloat16()).relu()
    expected = F.linear(inner.float(), w_last, b_last)[..., None]
    z = network(state)
    torch.testing.assert_close(z, expected, rtol=0, atol=0)
    expected.square().sum().backward()
    z.square().sum().backward()
    network.move_gradients()
    for ours, plain in zip(network.parameters(), (w, b, w_last, b_last), strict=True):
        assert ours.dtype == ours.grad.dtype == torch.float32
        torch.testing.assert_close(ours.grad, plain.grad, rtol=0, atol=0)


def weights(network: nn.Module) -> torch.Tensor:
    return parameters_to_vector(network.parameters()).detach().clone()


def computed_with(network: nn.Module) -> torch.Tensor:
    """The weights that forward uses, in one vector."""
    return weights(network._bfloat16.module)


def expected_of(network: nn.Module) -> torch.Tensor:
    """The rounded weights; the last layer's are not."""
    (head,) = (module for module in network.modules() if hasattr(module, "output_parameters"))
    kept = {id(parameter) for parameter in head.output_parameters()}
    return torch.cat([
        (p if id(p) in kept else p.bfloat16().float()).detach().flatten()
        for p in network.parameters()
    ])  # fmt: skip


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_a_network_computes_with_its_newest_weights(tau):
    """After an update, a sync of the target, and loading."""
    learner = tiny_learner(precision="bfloat16", target_tau=tau)
    networks = learner.online, learner.target
    for seed in range(3):
        learner.update(random_batch(seed))
        for network in networks:
            assert torch.equal(computed_with(network), expected_of(network))
        assert not torch.equal(weights(learner.online), weights(learner.target))
        learner.sync_target()
        for network in networks:
            assert torch.equal(computed_with(network), expected_of(network))
    other = tiny_learner(precision="bfloat16")
    other.load_state_dict(learner.state_dict())
    for ours, theirs in zip((other.online, other.target), networks, strict=True):
        assert torch.equal(computed_with(ours), computed_with(theirs))


def test_small_steps_are_not_lost():
    """A hundred updates of 1e-5: bfloat16 alone would round away each one of a weight above .01."""
    learner = tiny_learner(precision="bfloat16")
    learner.learning_rate = 1e-5
    before = [weight.detach().clone() for weight in learner.online.parameters()]
    for _ in range(100):
        learner.update(random_batch(1))
    for weight, old in zip(learner.online.parameters(), before, strict=True):
        assert (weight.detach() - old).abs().median() > 2e-4, "those of hidden layers too"


def test_a_network_without_hidden_layers_learns_too():
    networks = [make_network(mlp_units=()) for _ in range(2)]
    learners = [
        make_learner(network, precision=precision)
        for network, precision in zip(networks, ("float32", "bfloat16"), strict=True)
    ]
    for learner in learners:
        learner.update(random_batch(1))
    assert torch.equal(*map(weights, networks))


def test_the_spectral_norm_s_vector_is_the_networks_own():
    network = make_network((4, 84, 84), torso="impala", spectral_norm=True, hidden_units=8)
    network.place(CPU, "bfloat16")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(states((4, 84, 84)))
    changed = [n for n, value in network.state_dict().items() if not torch.equal(value, before[n])]
    assert changed and all(name.endswith(".left") for name in changed)
    assert all(value.dtype == torch.float32 for value in network.state_dict().values())
