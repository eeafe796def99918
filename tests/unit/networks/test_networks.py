"""Whole networks against plain ones written from their papers (``support/plain.py``)."""

import re
from typing import Any

import pytest
import torch
from support.learners import CPU, find_singular_vectors, generator, make_network
from support.plain import PlainNetwork, Recipe, convolutions, impala, mlp

from dqn.config import ConfigError, ValuesConfig
from dqn.networks.q_network import QNetwork

CLOSE = {"rtol": 1e-3, "atol": 1e-4}
C51 = ValuesConfig("categorical", atoms=5)
IQN = ValuesConfig("implicit_quantile", num_taus=7, num_policy_taus=4, num_cosines=6)

NETWORKS: dict[str, tuple[tuple[int, ...], ValuesConfig, dict[str, Any], Recipe]] = {
    "nature": ((4, 52, 44), ValuesConfig(), {}, Recipe(convolutions(4, 2, 1))),
    "nature, C51, dueling": (
        (3, 45, 62), C51, {"dueling": True}, Recipe(convolutions(4, 2, 1), dueling=True, outputs=5),
    ),
    "nature, IQN, dueling, noisy": (
        (4, 40, 36), IQN, {"dueling": True, "noisy": True, "hidden_units": 8},
        Recipe(convolutions(4, 2, 1), dueling=True, noisy=True),
    ),
    "nips, layer norm": (
        (4, 37, 29), ValuesConfig(), {"torso": "nips", "layer_norm": True, "hidden_units": 9},
        Recipe(convolutions(4, 2), layer_norm=True),
    ),
    "data-efficient": (
        (4, 59, 33), ValuesConfig(), {"torso": "data_efficient", "noisy": True},
        Recipe(convolutions(5, 5), noisy=True),
    ),
    "patches, layer norm, center": (
        (4, 50, 39), ValuesConfig(), {"torso": "patches", "layer_norm": True, "center": True},
        Recipe(convolutions(4, 3), layer_norm=True),
    ),
    "impala": (
        (4, 21, 34), ValuesConfig(), {"torso": "impala"}, Recipe(impala(0)),
    ),
    "impala, spectral norm": (
        (4, 26, 37), C51,
        {"torso": "impala", "width": 2, "pool": 3, "spectral_norm": True, "layer_norm": True},
        Recipe(impala(3, spectral_norm=True), layer_norm=True, outputs=5),
    ),
    "mlp, center": ((1, 5), C51, {"center": True}, Recipe(mlp(1), outputs=5)),
    "mlp, IQN, layer norm, noisy": (
        (2, 3, 2), IQN, {"mlp_units": (7, 6, 5), "layer_norm": True, "noisy": True},
        Recipe(mlp(2), layer_norm=True, noisy=True),
    ),
    "linear, dueling": (
        (1, 3), ValuesConfig(), {"mlp_units": (), "dueling": True},
        Recipe(mlp(0), hidden=False, dueling=True),
    ),
    "mlp of many pixels": (
        (4, 26, 24), ValuesConfig(), {"torso": "mlp", "mlp_units": (5, 4)}, Recipe(mlp(1)),
    ),
}  # fmt: skip


def test_networks_compute_what_their_papers_say(subtests):
    """Outputs and gradients, of bytes and of numbers; frames need not be square."""
    for name, (shape, values, settings, recipe) in NETWORKS.items():
        with subtests.test(name):
            network = make_network(shape, values, **settings).place(CPU, "float32")
            pixels = torch.randint(256, (3, *shape), dtype=torch.uint8, generator=generator())
            if "center" in settings:
                network.center_on(pixels)
                center = network.state_dict()["center"].double()
                torch.testing.assert_close(center, pixels.double().mean(0) / 255, rtol=0, atol=1e-7)
            find_singular_vectors(network)
            taus = torch.rand(3, 5, generator=generator(2)) if values is IQN else None
            for state in (pixels, pixels / 255, pixels.double() / 255):
                assert_same_outputs_and_gradients(network, recipe, state, taus)


def assert_same_outputs_and_gradients(
    network: QNetwork, recipe: Recipe, state: torch.Tensor, taus: torch.Tensor | None
) -> None:
    untouched, plain = state.clone(), PlainNetwork(network, recipe)
    theirs = plain(state, generator(3), taus)
    network.zero_grad()
    ours = network.forward_preprocessed(network.preprocess(state), generator(3), taus)
    assert torch.equal(state, untouched)
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-5)
    slopes = torch.randn(ours.shape, generator=generator(4))
    (ours * slopes).sum().backward()
    (theirs * slopes).sum().backward()
    for mine, other in zip(network.parameters(), plain.parameters, strict=True):
        size = other.grad.abs().max()
        torch.testing.assert_close(mine.grad.double() / size, other.grad / size, **CLOSE)


def test_a_network_computes_on_the_device_of_its_input():
    """torch refuses to mix devices, and "meta" is one that every machine has."""
    for shape, values, settings, _ in NETWORKS.values():
        network = make_network(shape, values, **settings).place(torch.device("meta"), "float32")
        inputs = network.preprocess(torch.zeros(3, *shape, dtype=torch.uint8, device="meta"))
        for taus in [None, torch.zeros(3, 5, device="meta")] if values is IQN else [None]:
            assert network.forward_preprocessed(inputs, generator(), taus).device.type == "meta"


def test_initial_weights_come_from_the_generator_alone():
    for shape, values, settings, _ in NETWORKS.values():
        before = torch.get_rng_state()
        same, again, other = (
            make_network(shape, values, seed=seed, **settings).state_dict() for seed in (1, 1, 2)
        )
        assert torch.equal(torch.get_rng_state(), before)
        assert ("center" in same) == ("center" in settings)
        for name, weights in same.items():
            assert torch.equal(weights, again[name])
            constant = name.endswith("sigma") or (weights == 0).all()
            assert torch.equal(weights, other[name]) == constant, name


def test_iqn_acts_at_the_midpoints_and_without_noise():
    shape, values, settings, recipe = NETWORKS["nature, IQN, dueling, noisy"]
    network = make_network(shape, values, **settings)
    state = torch.randint(256, (3, *shape), dtype=torch.uint8, generator=generator())
    middles = torch.tensor([0.125, 0.375, 0.625, 0.875]).expand(3, 4)
    noisy = network(state, generator())  # switched off by the next forward
    quiet, plain = network(state), PlainNetwork(network, recipe)
    torch.testing.assert_close(noisy, plain(state, generator(), middles).float(), **CLOSE)
    torch.testing.assert_close(quiet, plain(state, None, middles).float(), **CLOSE)


ATARI, NATURE = (4, 84, 84), "32x4x8x8 64x32x4x4 64x64x3x3"
MEAN, QR = ValuesConfig(), ValuesConfig("quantile", quantiles=50)
WEIGHTS: list[tuple[tuple[int, ...], ValuesConfig, dict[str, Any], str]] = [
    (ATARI, MEAN, {}, f"{NATURE} 512x3136 6x512"),
    (ATARI, MEAN, {"torso": "nips", "hidden_units": 256},
     "16x4x8x8 32x16x4x4 256x2592 6x256"),
    (ATARI, C51, {"torso": "data_efficient", "dueling": True},
     "32x4x5x5 64x32x5x5 512x576 30x512 512x576 5x512"),
    ((4, 48, 48), QR, {"torso": "patches"}, "32x4x4x4 64x32x3x3 512x1024 300x512"),
    (ATARI, IQN, {"noisy": True},
     f"{NATURE} 3136x6 512x3136 512x3136 6x512 6x512"),
    (ATARI, MEAN, {"torso": "impala"},
     "16x4x3x3 4*16x16x3x3 32x16x3x3 4*32x32x3x3 32x32x3x3 4*32x32x3x3 512x3872 6x512"),
    (ATARI, MEAN, {"torso": "impala", "width": 2, "pool": 6},
     "32x4x3x3 4*32x32x3x3 64x32x3x3 4*64x64x3x3 64x64x3x3 4*64x64x3x3 512x2304 6x512"),
    ((4, 36, 36), MEAN, {}, f"{NATURE} 512x64 6x512"),
    ((4, 35, 36), MEAN, {}, "128x5040 128x128 6x128"),  # too small: an mlp
    ((2, 3, 1), MEAN, {"mlp_units": (7, 5)}, "7x6 5x7 6x5"),
    ((1, 3), MEAN, {"mlp_units": ()}, "6x3"),
]  # fmt: skip


def test_weights_have_the_papers_shapes(subtests):
    for shape, values, settings, weights in WEIGHTS:
        with subtests.test(weights):
            network = make_network(shape, values, actions=6, **settings)
            expected = []
            for group in weights.split():
                times, _, sizes = group.rpartition("*")
                expected += [tuple(map(int, sizes.split("x")))] * int(times or 1)
            assert [tuple(p.shape) for p in network.parameters() if p.ndim > 1] == expected


def test_torsos_take_frames_from_their_least_size_on_and_refuse_others():
    """As kernels and strides have it, of which impala's would take any."""
    sides = {"nature": 36, "nips": 20, "data_efficient": 25, "patches": 12, "impala": 12}
    for torso, least in sides.items():
        network = make_network((4, least, least), torso=torso, hidden_units=8)
        assert network(torch.zeros(2, 4, least, least, dtype=torch.uint8)).isfinite().all()
        for shape in ((1, 4), (4, 84, least - 1), (4, least - 1, 84), (4, 84, 84, 3)):
            needs = f"network.torso {torso} needs gray frames of {least}x{least} or more"
            with pytest.raises(
                ConfigError, match=re.escape(f"{needs}, not of shape {list(shape[1:])}")
            ):
                make_network(shape, torso=torso)
