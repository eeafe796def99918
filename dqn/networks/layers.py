"""Layers of some variants: normalized, noisy. None draws from a global generator."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dqn.networks.torsos import wide_linear


class LayerNormReLU(nn.Module):
    """ReLU after layer normalization (Ba et al. 2016, arXiv 1607.06450) over all features of a
    state, without gain and bias (better, according to Xu et al. 2019, arXiv 1911.07013)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, features]`` or ``[B, C, H, W]`` (channels last in memory) -> the same shape."""
        if features.ndim == 2:
            return self._normalize(features).relu_()
        channels_last = features.permute(0, 2, 3, 1)  # the order in memory
        return self._normalize(channels_last).relu_().permute(0, 3, 1, 2)

    def _normalize(self, features: torch.Tensor) -> torch.Tensor:
        shape = features.shape[1:]
        # With explicit gain and bias torch takes half the time that it takes without.
        gain, bias = features.new_ones(shape), features.new_zeros(shape)
        return F.layer_norm(features, shape, gain, bias)


class SpectralConvolution(nn.Conv2d):
    """Convolution with spectral normalization: the weight is divided by its largest singular value
    (Miyato et al. 2018, arXiv 1802.05957, algorithm 1), with one power iteration per forward in
    which gradients are enabled."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        vector = torch.empty(self.out_channels, device=self.weight.device)
        self.register_buffer("left", vector)  # singular vector, saved with the weights
        self.left: torch.Tensor

    def reset_power_iteration(self, generator: torch.Generator) -> None:
        """Approach the left singular vector in 15 iterations from a random one, as torch does.
        After one the estimate would be a fifth too small, and a target network, which does not
        iterate, would be another function than the online network it copies."""
        with torch.no_grad():
            self.left.normal_(generator=generator)
            for _ in range(15):
                self.left.copy_(self._power_iteration(self.weight.flatten(1))[0])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        matrix = self.weight.flatten(1).float()  # [out, in]
        with torch.no_grad():
            left, right = self._power_iteration(matrix)
        if torch.is_grad_enabled():
            self.left.copy_(left)
        largest = left @ (matrix @ right)
        return F.conv2d(features, self.weight / largest, self.bias, self.stride, self.padding)

    def _power_iteration(self, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        right = F.normalize(matrix.t() @ self.left, dim=0)
        return F.normalize(matrix @ right, dim=0), right


class NoisyLinear(nn.Module):
    """Linear layer with factorised Gaussian noise: Fortunato et al. 2018 (arXiv 1706.10295),
    equations 9 to 11. New noise is drawn from ``noise`` in every forward; None means no noise."""

    def __init__(self, inputs: int, outputs: int, sigma: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, device="meta"))
        self.bias = nn.Parameter(torch.empty(outputs, device="meta"))
        self.weight_sigma = nn.Parameter(torch.empty(outputs, inputs, device="meta"))
        self.bias_sigma = nn.Parameter(torch.empty(outputs, device="meta"))
        self.noise: torch.Generator | None = None
        self._sigma = sigma

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Section 3.2: means uniform within 1 / sqrt(inputs), sigmas constant."""
        with torch.no_grad():
            root = math.sqrt(self.weight.shape[1])
            for mean in (self.weight, self.bias):
                mean.uniform_(-1 / root, 1 / root, generator=generator)
            for sigma in (self.weight_sigma, self.bias_sigma):
                sigma.fill_(self._sigma / root)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """``[B, in]`` -> ``[B, out]``, with the same noise for the whole batch."""
        inputs = inputs.to(self.weight.dtype)
        output = wide_linear(inputs, self.weight, self.bias)
        if self.noise is None:
            return output
        outputs, count = self.weight.shape
        in_noise, out_noise = (
            _signed_root(torch.randn(size, device=inputs.device, generator=self.noise)).to(
                inputs.dtype
            )
            for size in (count, outputs)
        )
        # (sigma * outer(out_noise, in_noise)) @ x, without computing the outer product
        noisy = wide_linear(inputs * in_noise, self.weight_sigma, self.bias_sigma)
        return output + out_noise * noisy


def _signed_root(noise: torch.Tensor) -> torch.Tensor:
    return noise.sign() * noise.abs().sqrt()
