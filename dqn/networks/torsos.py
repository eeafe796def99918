"""Torsos: from a stack of frames to features. Layers are made on the meta device."""

import math
from typing import NamedTuple

import torch
from torch import nn

from dqn.config import ConfigError, NetworkConfig
from dqn.networks.cpu_layout import (
    BlockConvolution,
    ChannelsFirst,
    FlatPixels,
    PatchConvolution,
    Patches,
    SpaceToDepth,
)
from dqn.networks.layers import Activation, Linear, SpectralConvolution

MIN_SIDE = {"nature": 36, "nips": 20, "data_efficient": 25, "patches": 12, "impala": 12}
"""Smallest height and width, in pixels, from which each torso computes any features."""


class Torso(NamedTuple):
    """Preprocessing and layers of a torso."""

    preprocess: nn.Module
    """Stacks of frames ``[B, S, *frame]`` -> the inputs of ``layers``; has no parameters."""
    layers: nn.Sequential
    """Inputs -> ``[B, features]``."""
    features: int
    """Number of features."""


def make_torso(
    config: NetworkConfig, stack_shape: tuple[int, ...], activation: Activation
) -> Torso:
    """The torso described by a config, for stacks ``[S, *frame]``.

    Raises:
        ConfigError: the torso cannot process frames of this shape.
    """
    name = torso_name(config, stack_shape)
    if name == "mlp":
        return mlp(math.prod(stack_shape), config.mlp_units[:-1], activation)
    if len(stack_shape) != 3 or min(stack_shape) < 1 or min(stack_shape[1:]) < MIN_SIDE[name]:
        raise ConfigError(
            f"network.torso {name} needs pictures of {MIN_SIDE[name]}x{MIN_SIDE[name]} or more, "
            f"not {list(stack_shape[1:])}"
        )
    if name == "impala":
        return impala(stack_shape, config.width, config.pool, config.spectral_norm, activation)
    make = {"nature": nature, "nips": nips, "data_efficient": data_efficient, "patches": patches}
    return make[name](stack_shape, activation)


def torso_name(config: NetworkConfig, stack_shape: tuple[int, ...]) -> str:
    """The torso's name; ``auto`` is resolved for stacks ``[S, *frame]``."""
    if config.torso != "auto":
        return config.torso
    pictures = len(stack_shape) == 3 and min(stack_shape[1:]) >= MIN_SIDE["nature"]
    return "nature" if pictures else "mlp"


def nature(stack_shape: tuple[int, ...], activation: Activation) -> Torso:
    """Three convolutions: Mnih et al. 2015, Methods.

    ``[B, S, 84, 84]`` -> 32 of 20x20 -> 64 of 9x9 -> 64 of 7x7 -> ``[B, 3136]``.
    """
    return _convolutions(stack_shape, activation, (32, 8, 4), (64, 4, 2), (64, 3, 1))


def nips(stack_shape: tuple[int, ...], activation: Activation) -> Torso:
    """Two convolutions, a third of Nature's arithmetic: Mnih et al. 2013 (arXiv 1312.5602), section
    4.1, where 256 hidden units follow.

    ``[B, S, 84, 84]`` -> 16 of 20x20 -> 32 of 9x9 -> ``[B, 2592]``.
    """
    return _convolutions(stack_shape, activation, (16, 8, 4), (32, 4, 2))


def data_efficient(stack_shape: tuple[int, ...], activation: Activation) -> Torso:
    """Two convolutions with large strides: van Hasselt et al. 2019 (arXiv 1906.05243), appendix E.

    ``[B, S, 84, 84]`` -> 32 of 15x15 (the 16th row and column are unused) -> 64 of 3x3 ->
    ``[B, 576]``.
    """
    return _two_patch_layers(stack_shape, (5, 5), activation)


def patches(stack_shape: tuple[int, ...], activation: Activation) -> Torso:
    """Two convolutions without overlap, the cheapest torso; ours, for 48x48 frames, where it uses
    every pixel.

    ``[B, S, 48, 48]`` -> 32 of 12x12 -> 64 of 4x4 -> ``[B, 1024]``.
    """
    return _two_patch_layers(stack_shape, (4, 3), activation)


def impala(
    stack_shape: tuple[int, ...],
    width: int,
    pool: int,
    spectral_norm: bool,
    activation: Activation,
) -> Torso:
    """Three blocks of a convolution, max pooling and two residual blocks: Espeholt et al. 2018
    (arXiv 1802.01561), figure 3, right.

    ``[B, S, 84, 84]`` -> 16, 32, 32 (times ``width``) of 42x42, 21x21, 11x11 -> adaptive max
    pooling to ``pool`` x ``pool`` if not 0 -> ``[B, features]``.
    """
    layers: list[nn.Module] = []
    inputs = stack_shape[0]
    for channels in (16 * width, 32 * width, 32 * width):
        convolution = nn.Conv2d if layers else BlockConvolution
        layers += [
            convolution(inputs, channels, 3, padding=1, device="meta"),
            nn.MaxPool2d(3, stride=2, padding=1),
            Residual(channels, spectral_norm),
            Residual(channels, spectral_norm),
        ]
        inputs = channels
    layers.append(activation())
    rows, columns = (-(-side // 8) for side in stack_shape[1:])  # each pooling halves and rounds up
    if pool:
        layers.append(nn.AdaptiveMaxPool2d(pool))
        rows = columns = pool
    features = inputs * rows * columns
    return Torso(SpaceToDepth(stack_shape, 1), nn.Sequential(*layers, nn.Flatten()), features)


class Residual(nn.Module):
    """Two convolutions and a skip connection."""

    def __init__(self, channels: int, spectral_norm: bool) -> None:
        super().__init__()
        kind = SpectralConvolution if spectral_norm else nn.Conv2d
        self.first = kind(channels, channels, 3, padding=1, device="meta")
        self.second = kind(channels, channels, 3, padding=1, device="meta")

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` -> the same shape."""
        inner = self.first(torch.relu(features))
        residual: torch.Tensor = self.second(inner.relu_())
        return features + residual


def mlp(inputs: int, units: tuple[int, ...], activation: Activation) -> Torso:
    """Fully connected layers with ReLU: ``[B, S, *frame]`` -> ``[B, units[-1]]``."""
    layers: list[nn.Module] = []
    for width in units:
        layers += [Linear(inputs, width, device="meta"), activation()]
        inputs = width
    return Torso(FlatPixels(), nn.Sequential(*layers), inputs)


def _convolutions(
    stack_shape: tuple[int, ...], activation: Activation, *convolutions: tuple[int, int, int]
) -> Torso:
    """``convolutions`` of (channels, kernel, stride), with an activation after each."""
    layers: list[nn.Module] = []
    inputs, height, width = stack_shape
    for channels, kernel, stride in convolutions:
        convolution = nn.Conv2d if layers else BlockConvolution
        layers += [convolution(inputs, channels, kernel, stride, device="meta"), activation()]
        inputs = channels
        height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    preprocess = SpaceToDepth(stack_shape, convolutions[0][2])
    return Torso(preprocess, nn.Sequential(*layers, nn.Flatten()), inputs * height * width)


def _two_patch_layers(
    stack_shape: tuple[int, ...], sides: tuple[int, int], activation: Activation
) -> Torso:
    """32 channels per patch of pixels, then 64 per patch of those; ``sides`` of the patches."""
    preprocess = Patches(stack_shape, *sides)
    layers = nn.Sequential(
        PatchConvolution(stack_shape[0], 32, sides[0], of_frames=True, device="meta"),
        activation(),
        PatchConvolution(32, 64, sides[1], of_frames=False, device="meta"),
        activation(),
        ChannelsFirst(64),
    )
    return Torso(preprocess, layers, 64 * preprocess.rows * preprocess.columns)
