"""Torsos: shapes, parameters, initial weights, and what they compute."""

import math
from typing import Any

import pytest
import torch
from support.learners import CPU, PIXELS, generator, make_network
from torch import nn
from torch.nn import functional as F

from dqn.config import ConfigError, ValuesConfig
from dqn.networks.q_network import MIN_SIDE


@pytest.mark.parametrize(
    "torso, convolutions, shapes, parameters",
    [
        ("nature", [(8, 4), (4, 2), (3, 1)], [(32, 20, 20), (64, 9, 9), (64, 7, 7)], 77_984),
        ("nips", [(8, 4), (4, 2)], [(16, 20, 20), (32, 9, 9)], 16 * 257 + 32 * 257),
        ("data_efficient", [(5, 5), (5, 5)], [(32, 16, 16), (64, 3, 3)], 32 * 101 + 64 * 801),
    ],
)
def test_convolutional_torsos(
    torso: str, convolutions: list[Any], shapes: list[Any], parameters: int
) -> None:
    """Equal to torch's own convolutions of these kernels and strides."""
    network = make_network((4, 84, 84), torso=torso)
    layers = [module for module in network.torso if isinstance(module, nn.Conv2d)]
    assert [(layer.kernel_size[0], layer.stride[0]) for layer in layers] == convolutions
    assert sum(p.numel() for p in network.torso.parameters()) == parameters
    features = PIXELS.float() / 255
    for layer, shape in zip(layers, shapes, strict=True):
        features = F.conv2d(features, layer.weight, layer.bias, layer.stride).relu()
        assert features.shape == (2, *shape)
    ours = network.torso(network.preprocess(PIXELS))
    torch.testing.assert_close(ours, features.flatten(1), rtol=1e-4, atol=1e-5)


def test_the_nature_network() -> None:
    network = make_network((4, 84, 84), actions=6)
    assert network(PIXELS).shape == (2, 6, 1)
    assert sum(p.numel() for p in network.parameters()) == 1_684_128 + 512 * 6 + 6


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("pool, side", [(0, 11), (6, 6)])
def test_the_impala_torso(width: int, pool: int, side: int) -> None:
    network = make_network((4, 84, 84), torso="impala", width=width, pool=pool)
    assert network.torso(network.preprocess(PIXELS)).shape == (2, 32 * width * side * side)
    convolutions = [m for m in network.torso.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 15
    sizes = [(m.in_channels, m.out_channels) for m in convolutions]
    one, two = 16 * width, 32 * width
    rest = [(two, two)] * 4
    assert sizes == [(4, one), *[(one, one)] * 4, (one, two), *rest, (two, two), *rest]
    first = convolutions[0]
    plain = F.conv2d(PIXELS.float() / 255, first.weight, first.bias, padding=1)
    torch.testing.assert_close(first(network.preprocess(PIXELS)), plain, rtol=1e-4, atol=1e-5)


def test_shapes_of_the_mlp_and_other_settings() -> None:
    mlp = make_network((1, 3, 2), ValuesConfig("quantile", quantiles=2), 4, mlp_units=(7, 5))
    assert [tuple(p.shape) for p in mlp.parameters()] == [(7, 6), (7,), (5, 7), (5,), (8, 5), (8,)]
    assert mlp(torch.zeros(9, 1, 3, 2)).shape == (9, 4, 2)
    linear = make_network((1, 3), actions=2, mlp_units=())
    assert [tuple(p.shape) for p in linear.parameters()] == [(2, 3), (2,)]
    narrow = make_network((4, 84, 84), hidden_units=10)
    assert narrow.head.advantage[2].in_features == 10
    forced = make_network((4, 84, 84), torso="mlp", mlp_units=(3, 2))
    assert isinstance(forced.torso[0], nn.Linear)


@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 5)])
def test_pixels_are_divided_by_255_exactly_once(shape: tuple[int, ...]) -> None:
    network = make_network(shape).place(CPU)
    pixels = torch.randint(256, (5, *shape), dtype=torch.uint8, generator=generator())
    untouched = pixels.clone()
    torch.testing.assert_close(network(pixels), network(pixels.float() / 255), rtol=0, atol=1e-6)
    assert torch.equal(pixels, untouched)
    assert not torch.allclose(network(pixels), network(pixels.float()), rtol=0.1)


def test_other_dtypes_are_converted_but_not_scaled() -> None:
    network = make_network((1, 5))
    state = torch.randn(4, 1, 5, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(network(state), network(state.float()))
    assert network(torch.randint(9, (4, 1, 5), generator=generator())).dtype == torch.float32


def test_initial_weights_are_kaiming_uniform_and_biases_zero() -> None:
    """Uniform within sqrt(6 / inputs) before a ReLU, sqrt(3 / inputs) in the last layer."""
    network = make_network((4, 84, 84), actions=18)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    inputs = [4 * 64, 32 * 16, 64 * 9, 3136, 512]
    for layer, fan_in in zip(layers, inputs, strict=True):
        bound = math.sqrt((3 if layer is network.head.advantage[2] else 6) / fan_in)
        largest = float(layer.weight.detach().abs().max())
        assert 0.995 * bound < largest <= bound
        assert float(layer.weight.detach().var()) == pytest.approx(bound**2 / 3, rel=0.05)
        assert abs(float(layer.weight.detach().mean())) < 0.05 * bound
        assert layer.bias is not None and (layer.bias == 0).all()


@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 5)])
def test_initial_weights_come_from_the_generator_alone(shape: tuple[int, ...]) -> None:
    before = torch.get_rng_state()
    same, again, other = (make_network(shape, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, weights in same.items():
        assert torch.equal(weights, again[name])
        assert torch.equal(weights, other[name]) == name.endswith("bias")


@pytest.mark.parametrize("torso", ["nature", "data_efficient", "impala", "mlp"])
def test_center(torso: str) -> None:
    """The mean of the given states is subtracted, and saved with the weights."""
    network, other = (
        make_network((4, 84, 84), torso=torso, center=True, hidden_units=8, mlp_units=(8,))
        for _ in range(2)
    )
    plain = make_network((4, 84, 84), torso=torso, hidden_units=8, mlp_units=(8,))
    assert torch.equal(network.preprocess(PIXELS), plain.preprocess(PIXELS)), "zero at first"
    network.center_on(PIXELS)
    seen, raw = network.preprocess(PIXELS), plain.preprocess(PIXELS)
    torch.testing.assert_close(seen.mean(0), torch.zeros_like(seen[0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(seen, raw - raw.mean(0))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.preprocess(PIXELS), seen)
    numbers = PIXELS / 255
    before = numbers.clone()
    torch.testing.assert_close(network.preprocess(numbers), seen)
    assert torch.equal(numbers, before), "the input is not modified"
    assert torch.equal(network(PIXELS), network.forward_preprocessed(seen))


def test_convolutional_torsos_refuse_small_and_flat_frames() -> None:
    for torso, least in MIN_SIDE.items():
        for shape in ((1, 4), (4, 84, least - 1), (4, 84, 84, 3)):
            with pytest.raises(
                ConfigError, match=rf"network\.torso {torso} needs frames of {least}x"
            ):
                make_network(shape, torso=torso)


@pytest.mark.parametrize("torso", MIN_SIDE)
def test_torsos_accept_frames_of_any_larger_size(torso: str) -> None:
    """Square or not; the number of features is as declared."""
    for height, width in ((MIN_SIDE[torso], MIN_SIDE[torso] + 3), (48, 48), (84, 50)):
        network = make_network((4, height, width), torso=torso, hidden_units=8)
        state = torch.zeros(2, 4, height, width, dtype=torch.uint8)
        features = network.torso(network.preprocess(state))
        assert features.shape[1] == network.head.advantage[0].in_features
        assert network(state).isfinite().all()
