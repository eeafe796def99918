"""Heads and layers against their equations."""

import math

import numpy as np
import pytest
import torch
from support.learners import CPU, PIXELS, generator, make_network, tiny_learner
from torch import nn

from dqn.config import LearnerConfig, ValuesConfig
from dqn.learning.actor import QModel
from dqn.learning.factory import make_values
from dqn.networks.layers import LayerNormReLU, NoisyLinear, SpectralConvolution


def test_dueling_by_hand() -> None:
    values = ValuesConfig(kind="quantile", quantiles=4)
    network = make_network(values=values, mlp_units=(5,), dueling=True)
    state = torch.randn(6, 1, 2, generator=generator())
    z = network(state)
    assert z.shape == (6, 3, 4)
    features = network.torso(network.preprocess(state))
    value = network.head.value(features).view(6, 1, 4)
    advantage = network.head.advantage(features).view(6, 3, 4)
    torch.testing.assert_close(z, value + advantage - advantage.mean(1, keepdim=True))
    torch.testing.assert_close(z.mean(1), value[:, 0])


def test_taus_are_embedded_by_cosines() -> None:
    values = ValuesConfig(kind="implicit_quantile", num_taus=5, num_policy_taus=4, num_cosines=6)
    network = make_network(values=values, mlp_units=(7, 5))
    state = torch.randn(3, 1, 2, generator=generator())
    taus = make_values(values, LearnerConfig()).online_taus(3, generator(5))
    assert taus is not None and taus.shape == (3, 5) and len(taus.unique()) == 15
    inputs = network.preprocess(state)
    z = network.forward_preprocessed(inputs, None, taus)
    assert z.shape == (3, 3, 5)
    head, features = network.head, network.torso(inputs)
    linear = head.embedding[0]
    for b, k in np.ndindex(3, 5):
        waves = torch.cos(math.pi * torch.arange(6) * taus[b, k])
        embedded = torch.relu(linear.weight @ waves + linear.bias)
        expected = head.head((features[b] * embedded)[None])[0, :, 0]
        torch.testing.assert_close(z[b, :, k], expected)
    middles = torch.tensor([0.125, 0.375, 0.625, 0.875]).expand(3, 4)
    torch.testing.assert_close(network(state), network.forward_preprocessed(inputs, None, middles))


def test_noise_against_its_equation() -> None:
    """W x + b with factorised noise on both, the same for the whole batch."""
    layer = NoisyLinear(4, 3, 0.5).to_empty(device="cpu")
    layer.reset_parameters(generator(3))
    with torch.no_grad():
        layer.weight_sigma.uniform_(generator=generator(4))
        layer.bias_sigma.uniform_(generator=generator(5))
    inputs = torch.randn(6, 4, generator=generator(6))
    layer.noise = generator(7)
    output = layer(inputs)
    again = generator(7)
    noise_in, noise_out = torch.randn(4, generator=again), torch.randn(3, generator=again)
    noise_in, noise_out = (e.sign() * e.abs().sqrt() for e in (noise_in, noise_out))
    weight = layer.weight + layer.weight_sigma * torch.outer(noise_out, noise_in)
    bias = layer.bias + layer.bias_sigma * noise_out
    torch.testing.assert_close(output, inputs @ weight.T + bias)
    layer.noise = None
    torch.testing.assert_close(layer(inputs), inputs @ layer.weight.T + layer.bias)


def test_noisy_layers_are_initialised_as_in_the_paper() -> None:
    layer = NoisyLinear(100, 50, 0.5).to_empty(device="cpu")
    layer.reset_parameters(generator())
    for mean in (layer.weight, layer.bias):
        assert 0.05 < mean.detach().abs().max() <= 0.1
    for deviation in (layer.weight_sigma, layer.bias_sigma):
        assert (deviation == 0.05).all()


def test_noise_is_on_in_training_and_off_in_evaluation() -> None:
    learner = tiny_learner(noisy=True)
    state = torch.randn(5, 1, 2, generator=generator())
    assert not torch.equal(learner.acting_q_values(state), learner.acting_q_values(state))
    before = learner.state_dict()["generator"].clone()
    model = QModel(learner.online, learner._values, 3, CPU)
    assert torch.equal(model.q_values(state), model.q_values(state))
    assert torch.equal(learner.state_dict()["generator"], before), "evaluation draws nothing"
    plain = tiny_learner()
    quiet = QModel(plain.online, plain._values, 3, CPU)
    assert torch.equal(plain.acting_q_values(state), quiet.q_values(state))


def test_spectral_norm() -> None:
    """After forwards with gradients the largest singular value is 1; acting changes nothing."""
    network = make_network((4, 84, 84), torso="impala", spectral_norm=True, hidden_units=8)
    layers = [m for m in network.modules() if isinstance(m, SpectralConvolution)]
    assert len(layers) == 12
    layer = layers[0]
    features = torch.randn(2, 16, 5, 5, generator=generator())
    before = layer.left.clone()
    with torch.no_grad():
        layer(features)
    assert torch.equal(layer.left, before)
    for _ in range(50):
        output = layer(features)
    largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
    plain = nn.functional.conv2d(features, layer.weight / largest, layer.bias, padding=1)
    torch.testing.assert_close(output, plain, rtol=1e-3, atol=1e-3)
    assert "torso.2.first.left" in network.state_dict(), "saved, and copied to the target network"


def test_spectral_norm_is_accurate_from_the_start() -> None:
    """So that the target network, which does not iterate, equals the online network at first."""
    network = make_network((4, 84, 84), torso="impala", width=2, spectral_norm=True, hidden_units=8)
    for layer in network.modules():
        if isinstance(layer, SpectralConvolution):
            matrix = layer.weight.detach().flatten(1)
            assert (matrix.t() @ layer.left).norm() / torch.linalg.matrix_norm(matrix, 2) > 0.97
    with torch.no_grad():
        still = network(PIXELS)
    for _ in range(20):
        learning = network(PIXELS).detach()
    torch.testing.assert_close(learning, still, rtol=0.3, atol=0.05)


@pytest.mark.parametrize(
    "torso, hidden",
    [("nature", 4), ("nips", 3), ("data_efficient", 3), ("patches", 3), ("impala", 2), ("mlp", 2)],
)
@pytest.mark.parametrize("dueling", [False, True])
def test_layer_norm(torso: str, hidden: int, dueling: bool) -> None:
    """The input of each hidden ReLU has mean 0 and variance 1 for every state, so the scale of the
    weights does not matter (except in impala's residual blocks, which add features of two scales);
    there are no new parameters."""
    settings = {"torso": torso, "dueling": dueling, "hidden_units": 8, "mlp_units": (9, 8)}
    normal, plain = (
        make_network((4, 84, 84), layer_norm=wanted, **settings) for wanted in (True, False)
    )
    assert normal.state_dict().keys() == plain.state_dict().keys()
    layers = [m for m in normal.modules() if isinstance(m, LayerNormReLU)]
    assert len(layers) == hidden + dueling
    inputs: list[torch.Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda _m, args, out: inputs.extend((args[0], out)))
    z = normal(PIXELS)
    for before, after in zip(inputs[::2], inputs[1::2], strict=True):
        flat = before.flatten(1)
        variance, mean = torch.var_mean(flat, 1, correction=0, keepdim=True)
        scaled = (flat - mean) / (variance + 1e-5).sqrt()
        torch.testing.assert_close(after.flatten(1), scaled.relu(), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for module in normal.modules():
            if isinstance(module, nn.Conv2d) and torso != "impala":
                module.weight *= 7
    torch.testing.assert_close(normal(PIXELS), z, rtol=1e-3, atol=1e-3)
