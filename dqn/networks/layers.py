"""Layers of some variants: normalized, noisy. None draws from a global generator."""

import math

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


class NoisyLinear(nn.Module):
    """Linear layer with factorised Gaussian noise: Fortunato et al. 2018 (arXiv 1706.10295),
    equations 9 to 11. ``noise`` of the inputs ``[in]`` and outputs ``[out]`` is set by
    ``set_noise``; None means no noise."""

    def __init__(self, inputs: int, outputs: int, sigma: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, device="meta"))
        self.bias = nn.Parameter(torch.empty(outputs, device="meta"))
        self.weight_sigma = nn.Parameter(torch.empty(outputs, inputs, device="meta"))
        self.bias_sigma = nn.Parameter(torch.empty(outputs, device="meta"))
        self.noise: tuple[torch.Tensor, torch.Tensor] | None = None
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
        weight: torch.Tensor = self.weight
        bias: torch.Tensor = self.bias
        if self.noise is not None:
            of_inputs, of_outputs = (noise.to(weight.dtype) for noise in self.noise)
            weight = weight.addcmul(self.weight_sigma, of_outputs[:, None] * of_inputs)
            bias = bias.addcmul(self.bias_sigma, of_outputs)
        return wide_linear(inputs.to(weight.dtype), weight, bias)


def set_noise(layers: list[NoisyLinear], generator: torch.Generator | None) -> None:
    """Give each layer new noise, all of it from one draw; without a generator none."""
    if generator is None or not layers:
        for layer in layers:
            layer.noise = None
        return
    sizes = [size for layer in layers for size in layer.weight.shape[::-1]]
    noise = torch.randn(sum(sizes), device=layers[0].weight.device, generator=generator)
    parts = noise.abs().sqrt().copysign(noise).split(sizes)
    for layer, of_inputs, of_outputs in zip(layers, parts[::2], parts[1::2], strict=True):
        layer.noise = of_inputs, of_outputs
