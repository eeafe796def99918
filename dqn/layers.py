"""Layers that torch has not, or has slower. None draws from a global generator."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

WIDE = 2048
"""From so many inputs on, a linear layer is a wide one."""

SINGULAR_VECTOR = "left"
"""Name of the one thing in a network that no gradient moves."""


class BlockConvolution(nn.Conv2d):
    """A convolution of frames whose kernel is a multiple of its stride.

    Each stride x stride block of pixels becomes one place with as many channels more (space to
    depth), and the kernel shrinks to match: the same sums, in another order. Four channels leave a
    processor's vectors idle, 64 do not. Only with a stride of 1 may there be padding.
    """

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, S, H, W]`` pixels, 0 to 255 if uint8, to ``[B, channels, ...]``."""
        weight = self.block_weight()
        if state.dtype == torch.uint8:
            weight = weight / 255  # as the pixels would be, but there are far fewer weights
        return F.conv2d(self.blocks(state), weight, self.bias, padding=self.padding)

    def blocks(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, S * stride^2, H / stride, W / stride]`` float32, the channels innermost; pixels
        that the kernel would not reach are left out."""
        side = self.stride[0]
        batch, stack, height, width = state.shape
        rows, columns = height // side, width // side
        state = state[:, :, : rows * side, : columns * side]
        if state.dtype == torch.uint8 and side == 4 and width % 4 == 0:
            # four pixels of a row are moved as one word
            words = state.view(torch.int32).view(batch, stack, rows, side, columns)
            words = words.permute(0, 2, 4, 1, 3).contiguous()  # [B, rows, columns, S, 4]
            pixels = words.view(torch.uint8).view(batch, rows, columns, -1)
        else:
            pixels = state.reshape(batch, stack, rows, side, columns, side)
            pixels = pixels.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows, columns, -1)
        return pixels.float().permute(0, 3, 1, 2)

    def block_weight(self) -> torch.Tensor:
        """The weight in the same order: ``[channels, S * stride^2, kernel / stride, ...]``."""
        outputs, stack, kernel, _ = self.weight.shape
        side = self.stride[0]
        weight = self.weight.reshape(outputs, stack, kernel // side, side, kernel // side, side)
        weight = weight.permute(0, 2, 4, 1, 3, 5).reshape(
            outputs, kernel // side, kernel // side, stack * side * side
        )
        return weight.permute(0, 3, 1, 2)


class SpectralConvolution(nn.Conv2d):
    """A convolution whose weight is divided by its largest singular value: Miyato et al. 2018
    (arXiv 1802.05957), algorithm 1, one round of power iteration in each forward that learns."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        vector = torch.empty(self.out_channels, device=self.weight.device)
        self.register_buffer(SINGULAR_VECTOR, vector)  # travels with the weights
        self.left: torch.Tensor

    def draw(self, generator: torch.Generator) -> None:
        """Begin with a random direction."""
        self.left.normal_(generator=generator)
        self.left /= self.left.norm()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """As ``nn.Conv2d``."""
        matrix = self.weight.flatten(1)  # [out, in]
        with torch.no_grad():
            right = F.normalize(matrix.t() @ self.left, dim=0)
            left = F.normalize(matrix @ right, dim=0)
        if torch.is_grad_enabled():
            self.left.copy_(left)
        largest = left @ (matrix @ right)
        return F.conv2d(features, self.weight / largest, self.bias, self.stride, self.padding)


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


def wide_linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """``inputs [B, in] @ weight^T + bias``. From many inputs the CPU's library takes a third of the
    time for ``weight @ inputs^T``."""
    if inputs.is_cuda or inputs.shape[1] < WIDE:
        return F.linear(inputs, weight, bias)
    product: Any = _WideProduct.apply
    output: torch.Tensor = product(inputs, weight, bias)
    return output


class _WideProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        return torch.addmm(bias[:, None], weight, inputs.t()).t().contiguous()

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        inputs, weight = ctx.saved_tensors
        return gradient @ weight, gradient.t() @ inputs, gradient.sum(0)
