"""Layers: spectral norm against torch's, initial weights, and pixels in another order."""

import math

import pytest
import torch
import torch.nn.functional as F
from support.learners import generator, make_network
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.profiler import profile

from dqn.networks.layers import NoisyLinear
from dqn.networks.spectral import SpectralConvolution, normalized
from dqn.networks.torsos import PixelPermutation, wide_linear


def test_spectral_norm_equals_torchs():
    """Outputs, gradients (through the norm too) and singular vectors, as the weights change. torch
    begins its iteration with the other vector: it gets the matrix transposed."""
    layer, plain = SpectralConvolution(3, 4, 3, padding=1), nn.Linear(4, 27, bias=False)
    for seed, part in enumerate((layer.weight, layer.bias, layer.left)):
        nn.init.normal_(part, generator=generator(seed))
    plain.weight = nn.Parameter(layer.weight.detach().flatten(1).T.clone())
    theirs = spectral_norm(plain).parametrizations.weight
    theirs[0]._v.copy_(layer.left)
    for step in range(4):
        features = torch.randn(2, 3, 5, 6, generator=generator(step))
        with torch.no_grad(), normalized([layer]):
            before, acting = layer.left.clone(), layer(features)
        assert torch.equal(layer.left, before), "acting renews nothing"
        with normalized([layer]):
            ours = layer(features)
        torchs = F.conv2d(features, plain.weight.T.view(4, 3, 3, 3), layer.bias, padding=1)
        torch.testing.assert_close(ours, torchs)
        torch.testing.assert_close(ours.detach(), acting)
        torch.testing.assert_close(layer.left, theirs[0]._v)
        (slope,) = torch.autograd.grad(ours.square().sum(), layer.weight)
        (expected,) = torch.autograd.grad(torchs.square().sum(), theirs.original)
        torch.testing.assert_close(slope.flatten(1).T, expected)
        with torch.no_grad():
            layer.weight -= 0.01 * slope
            theirs.original -= 0.01 * expected


def test_spectral_norm_is_accurate_from_the_start():
    """So that the target network, which does not iterate, equals the online network at first."""
    network = make_network((4, 84, 84), torso="impala", width=2, spectral_norm=True, hidden_units=8)
    layers = [module for module in network.modules() if isinstance(module, SpectralConvolution)]
    assert len(layers) == 12
    for layer in layers:
        matrix = layer.weight.detach().flatten(1)
        assert (matrix.t() @ layer.left).norm() / torch.linalg.matrix_norm(matrix, 2) > 0.97


def test_noisy_layers_are_initialised_as_in_the_paper():
    """Fortunato et al. 2018, section 3.2: means within 1 / sqrt(inputs), sigma_0 / sqrt(inputs)."""
    network = make_network((1, 100), mlp_units=(50,), noisy=True, noisy_sigma=0.3)
    layers = [module for module in network.modules() if isinstance(module, NoisyLinear)]
    for layer, inputs in zip(layers, (100, 50), strict=True):
        for mean in (layer.weight, layer.bias):
            assert mean.detach().abs().max() <= inputs**-0.5
        assert layer.weight.detach().var() == pytest.approx(1 / inputs / 3, rel=0.15)
        assert layer.bias.detach().abs().max() > 0
        for sigma in (layer.weight_sigma, layer.bias_sigma):
            torch.testing.assert_close(sigma.detach(), torch.full_like(sigma, 0.3 * inputs**-0.5))


def test_initial_weights_are_kaiming_uniform_and_biases_zero():
    """Uniform within sqrt(6 / inputs) before a ReLU, sqrt(3 / inputs) in the last layer."""
    network = make_network((4, 84, 84), actions=18, dueling=True)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    inputs = [4 * 64, 32 * 16, 64 * 9, 3136, 512, 3136, 512]
    last = network.head.advantage[2], network.head.value[2]
    for layer, fan_in in zip(layers, inputs, strict=True):
        bound = math.sqrt((3 if layer in last else 6) / fan_in)
        largest = float(layer.weight.detach().abs().max())
        assert 0.99 * bound < largest <= bound
        assert float(layer.weight.detach().var()) == pytest.approx(bound**2 / 3, rel=0.1)
        assert abs(float(layer.weight.detach().mean())) < 0.05 * bound
        assert layer.bias is not None and (layer.bias == 0).all()


@pytest.mark.parametrize("of_inputs", [False, True])
def test_a_wide_layer_computes_only_the_gradients_it_needs(of_inputs):
    """An mlp's pixels need none, which spares a product as large as the layer."""
    layer = nn.Linear(3000, 5)
    inputs = torch.randn(7, 3000, generator=generator(1), requires_grad=of_inputs)
    wanted = [layer.weight, layer.bias, *[inputs] * of_inputs]
    expected = torch.autograd.grad(layer(inputs).square().sum(), wanted)
    loss = wide_linear(inputs, layer.weight, layer.bias).square().sum()
    with profile() as profiled:
        gradients = torch.autograd.grad(loss, wanted)
    torch.testing.assert_close(gradients, expected)
    counts = {event.key: event.count for event in profiled.key_averages()}
    assert counts["aten::mm"] == 1 + of_inputs


def test_pixels_moved_as_float_words_keep_their_bits():
    """Also where four pixels read as one float32 are NaN."""
    state = torch.tensor([1, 0, 160, 127, 255, 255, 255, 255], dtype=torch.uint8)
    state = torch.cat([state, torch.arange(8, dtype=torch.uint8)]).view(1, 1, 4, 4)
    assert state.flatten().view(torch.float32)[:2].isnan().all()
    words = torch.tensor([[4, 5, 6, 7], [0, 1, 2, 3], [12, 13, 14, 15]])
    # The last two break words apart, and are not moved in fours, which is the faster way.
    for order, whole in ((words, True), (words.flip(1), False), (words[:, [0, 2, 1, 3]], False)):
        permutation = PixelPermutation((1, 4, 4), order)
        assert permutation._by_words == whole
        moved = permutation(state, torch.float32)
        assert torch.equal(moved, state.flatten()[order.flatten()][None] / 255)
