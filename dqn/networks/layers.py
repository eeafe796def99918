"""Layers that torch has not, or has slower. None draws from a global generator."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dqn.networks.cpu_layout import wide_linear

Activation = Callable[[], nn.Module]
"""Makes a ReLU, plain or normalised."""


class LayerNormReLU(nn.Module):
    """ReLU of numbers with mean 0 and variance 1 over all of a state's: layer normalisation, Ba et
    al. 2016 (arXiv 1607.06450), without gain and bias, as Xu et al. 2019 (arXiv 1911.07013) found
    better."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, ...]`` -> the same shape, channels innermost if it has places."""
        if features.ndim == 2:
            return self._normalise(features).relu_()
        places = features.permute(0, 2, 3, 1)  # in the order they have in memory
        return self._normalise(places).relu_().permute(0, 3, 1, 2)

    def _normalise(self, features: torch.Tensor) -> torch.Tensor:
        shape = features.shape[1:]
        # A gain of 1 and a bias of 0, as torch's loop for none of either takes twice the time.
        gain, bias = features.new_ones(shape), features.new_zeros(shape)
        return F.layer_norm(features, shape, gain, bias)


class SpectralConvolution(nn.Conv2d):
    """A convolution whose weight is divided by its largest singular value: Miyato et al. 2018
    (arXiv 1802.05957), algorithm 1, one round of power iteration in each forward that learns."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        vector = torch.empty(self.out_channels, device=self.weight.device)
        self.register_buffer("left", vector)  # travels with the weights
        self.left: torch.Tensor

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Begin near the largest singular value of the weight as it is: by 15 rounds from a random
        direction, as torch's own. By one, its estimate is a fifth too small, and a copy whose
        rounds stand still is another function until it is renewed."""
        self.left.normal_(generator=generator)
        for _ in range(15):
            self.left.copy_(self._round(self.weight.flatten(1))[0])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """As ``nn.Conv2d``."""
        matrix = self.weight.flatten(1)  # [out, in]
        with torch.no_grad():
            left, right = self._round(matrix)
        if torch.is_grad_enabled():
            self.left.copy_(left)
        largest = left @ (matrix @ right)
        return F.conv2d(features, self.weight / largest, self.bias, self.stride, self.padding)

    def _round(self, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        right = F.normalize(matrix.t() @ self.left, dim=0)
        return F.normalize(matrix @ right, dim=0), right


class Linear(nn.Linear):
    """``nn.Linear``, faster from many inputs."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """``[B, in]`` -> ``[B, out]``."""
        return wide_linear(inputs, self.weight, self.bias)


class NoisyLinear(nn.Module):
    """A linear layer with learned, factorised noise: Fortunato et al. 2018 (arXiv 1706.10295),
    equations 9 to 11. ``noise`` draws it, once a forward; None leaves it out."""

    def __init__(self, inputs: int, outputs: int, sigma: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, device="meta"))
        self.bias = nn.Parameter(torch.empty(outputs, device="meta"))
        self.weight_sigma = nn.Parameter(torch.empty(outputs, inputs, device="meta"))
        self.bias_sigma = nn.Parameter(torch.empty(outputs, device="meta"))
        self.noise: torch.Generator | None = None
        self._sigma = sigma

    def draw(self, generator: torch.Generator) -> None:
        """The paper's section 3.2: means uniform within 1 / sqrt(inputs), deviations equal."""
        root = math.sqrt(self.weight.shape[1])
        with torch.no_grad():
            for mean in (self.weight, self.bias):
                mean.uniform_(-1 / root, 1 / root, generator=generator)
            for deviation in (self.weight_sigma, self.bias_sigma):
                deviation.fill_(self._sigma / root)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """``[B, in]`` -> ``[B, out]``, the same noise for the whole batch."""
        output = wide_linear(inputs, self.weight, self.bias)
        if self.noise is None:
            return output
        outputs, count = self.weight.shape
        along, across = (
            _signed_root(torch.randn(size, device=inputs.device, generator=self.noise))
            for size in (count, outputs)
        )
        # (sigma * across along^T) x, without making the matrix of noise
        noisy = wide_linear(inputs * along, self.weight_sigma, self.bias_sigma)
        return output + across * noisy


def _signed_root(noise: torch.Tensor) -> torch.Tensor:
    return noise.sign() * noise.abs().sqrt()
