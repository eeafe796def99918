"""Torsos: from a stack of frames to features. Layers are made on the meta device.

A CPU is slow at convolutions of few channels, so the pixels are put in another order first, in
which it computes the same sums faster.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from dqn.networks import overlap

_WIDE = 2048  # inputs from which on ``wide_linear`` transposes the product

Activation = Callable[[], nn.Module]
"""Makes a ReLU, plain or with layer normalization."""


class Torso(NamedTuple):
    """Preprocessing and layers of a torso."""

    preprocess: Callable[[torch.Tensor, torch.dtype], torch.Tensor]
    """Stacks of frames ``[B, S, *frame]`` -> the inputs of ``layers``, of a dtype."""
    layers: nn.Sequential
    """Inputs -> ``[B, features]``."""
    features: int
    """Number of features."""


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


def mlp(inputs: int, units: Iterable[int], activation: Activation) -> Torso:
    """Fully connected layers with ReLU: ``[B, S, *frame]`` -> ``[B, units[-1]]``."""
    layers: list[nn.Module] = []
    for width in units:
        layers += [Linear(inputs, width, device="meta"), activation()]
        inputs = width
    return Torso(to_float, nn.Sequential(*layers), inputs)


def _convolutions(
    stack_shape: tuple[int, ...], activation: Activation, *convolutions: tuple[int, int, int]
) -> Torso:
    """``convolutions`` of (channels, kernel, stride), with an activation after each."""
    layers: list[nn.Module] = []
    inputs, height, width = stack_shape
    for channels, kernel, stride in convolutions:
        kind = Convolution if layers else BlockConvolution
        layers += [kind(inputs, channels, kernel, stride, device="meta"), activation()]
        inputs = channels
        height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    preprocess = SpaceToDepth(stack_shape, convolutions[0][2])
    return Torso(preprocess, nn.Sequential(*layers, nn.Flatten()), inputs * height * width)


class PixelPermutation(nn.Module):
    """Selects the pixels of a stack in a given order."""

    def __init__(self, stack_shape: tuple[int, ...], order: torch.Tensor) -> None:
        """``order``: indices into the flattened stack."""
        super().__init__()
        self._order: torch.Tensor
        self._words: torch.Tensor
        self.register_buffer("_order", order.flatten(), persistent=False)
        # If aligned groups of four pixels stay together, they are moved as 32-bit words.
        first = self._order[::4]
        self._by_words = (
            order.numel() % 4 == 0
            and math.prod(stack_shape) % 4 == 0
            and bool((first % 4 == 0).all())
            and torch.equal(self._order.view(-1, 4), first[:, None] + torch.arange(4))
        )
        self.register_buffer("_words", first // 4, persistent=False)

    def forward(self, state: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """``[B, S, H, W]`` -> ``[B, pixels]`` of ``dtype``; uint8 is divided by 255."""
        if state.dtype != torch.uint8 or not self._by_words:
            return to_float(state, dtype).index_select(1, self._order)
        # float32, because torch moves it eight times as fast as int32; the bits stay the same
        words = state.flatten(1).view(torch.float32).index_select(1, self._words)
        return to_float(words.view(torch.uint8), dtype)


class SpaceToDepth(PixelPermutation):
    """Space to depth: turns each ``side`` x ``side`` block of pixels into one position with
    ``side^2`` times the channels, as 4 channels leave a CPU's vector units idle and 64 do not.
    Incomplete blocks at the border are dropped."""

    def __init__(self, stack_shape: tuple[int, ...], side: int) -> None:
        order = block_pixels(stack_shape, side)
        self._blocks = order.shape[:2]
        super().__init__(stack_shape, order)

    def forward(self, state: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """``[B, S, H, W]`` -> ``[B, S * side^2, H / side, W / side]`` of ``dtype``, channels last
        in memory; uint8 is divided by 255."""
        pixels = super().forward(state, dtype)
        return pixels.view(state.shape[0], *self._blocks, -1).permute(0, 3, 1, 2)


class Convolution(nn.Conv2d):
    """Convolution without padding."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` -> ``[B, channels, ...]``."""
        return self._convolve(features, self.stride)

    def _convolve(self, features: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
        assert self.bias is not None
        if _overlaps(self.weight):
            return overlap.convolution(
                features, self.weight, self.bias, stride, self._arranged, self._restored
            )
        return F.conv2d(features, self._arranged(self.weight), self.bias, stride)

    def _arranged(self, weight: torch.Tensor) -> torch.Tensor:
        return weight

    def _restored(self, weight: torch.Tensor) -> torch.Tensor:
        return weight


class BlockConvolution(Convolution):
    """Convolution of frames after ``SpaceToDepth(side=stride)``; the kernel is a multiple of the
    stride."""

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """``[B, S * stride^2, H / stride, W / stride]`` -> ``[B, channels, ...]``."""
        return self._convolve(blocks, (1, 1))

    def _arranged(self, weight: torch.Tensor) -> torch.Tensor:
        """``[O, S, kernel, kernel]`` -> ``[O, S * side^2, kernel / side, kernel / side]``."""
        side = self.stride[0]
        blocks = weight.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        arranged: torch.Tensor = blocks.permute(0, 2, 4, 1, 3, 5).flatten(3)
        return arranged.permute(0, 3, 1, 2)

    def _restored(self, weight: torch.Tensor) -> torch.Tensor:
        """The inverse of ``_arranged``."""
        side = self.stride[0]
        blocks = weight.permute(0, 2, 3, 1).unflatten(3, (-1, side, side))
        restored: torch.Tensor = blocks.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
        return restored.contiguous(memory_format=torch.channels_last)


class Linear(nn.Linear):
    """``nn.Linear``, faster on the CPU with many inputs, which may be of another dtype."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.to(self.weight.dtype)
        if _overlaps(self.weight):
            return overlap.linear(inputs, self.weight, self.bias)
        return wide_linear(inputs, self.weight, self.bias)


def _overlaps(weight: torch.Tensor) -> bool:
    """Whether its gradient is computed beside the backward pass."""
    return weight.is_cuda and torch.is_grad_enabled() and weight.requires_grad


def wide_linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """``F.linear``. With many inputs a CPU takes a third of the time for ``weight @ inputs^T``."""
    if inputs.device.type != "cpu" or inputs.shape[1] < _WIDE:
        return F.linear(inputs, weight, bias)
    product: Any = _TransposedProduct.apply
    output: torch.Tensor = product(inputs, weight, bias)
    return output


class _TransposedProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        return torch.addmm(bias[:, None], weight, inputs.t()).t().contiguous()

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
        inputs, weight = ctx.saved_tensors
        of_inputs = gradient @ weight if ctx.needs_input_grad[0] else None
        return of_inputs, gradient.t() @ inputs, gradient.sum(0)


def to_float(state: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """``[B, ...]`` -> a new ``[B, inputs]`` of ``dtype``; uint8 is divided by 255."""
    values = state.flatten(1).to(dtype, copy=True)
    return values.div_(255) if state.dtype == torch.uint8 else values


def block_pixels(stack_shape: tuple[int, ...], side: int) -> torch.Tensor:
    """Indices of the pixels of each block: ``[rows, columns, S, side, side]``."""
    pixel = torch.arange(math.prod(stack_shape)).view(stack_shape)
    return pixel.unfold(1, side, side).unfold(2, side, side).permute(1, 2, 0, 3, 4)
