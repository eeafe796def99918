"""The IMPALA torso: convolutions with residual connections."""

import torch
from torch import nn

from dqn.networks.spectral import SpectralConvolution
from dqn.networks.torsos import Activation, SpaceToDepth, Torso


def impala(
    stack_shape: tuple[int, ...], width: int, pool: int, spectral_norm: bool, activation: Activation
) -> Torso:
    """Three blocks of a convolution, max pooling and two residual blocks: Espeholt et al. 2018
    (arXiv 1802.01561), figure 3, right.

    ``[B, S, 84, 84]`` -> 16, 32, 32 (times ``width``) of 42x42, 21x21, 11x11 -> adaptive max
    pooling to ``pool`` x ``pool`` if not 0 -> ``[B, features]``.
    """
    layers: list[nn.Module] = []
    inputs = stack_shape[0]
    for channels in (16 * width, 32 * width, 32 * width):
        layers += [
            nn.Conv2d(inputs, channels, 3, padding=1, device="meta"),
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
