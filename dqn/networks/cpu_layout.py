"""Layouts of pixels and weights that a CPU computes faster: the same sums in another order."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

_WIDE = 2048  # inputs from which on ``wide_linear`` transposes the product


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

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, S, H, W]`` -> ``[B, pixels]`` float32; uint8 is divided by 255."""
        if state.dtype != torch.uint8 or not self._by_words:
            return to_float(state).index_select(1, self._order)
        # float32, because torch moves it eight times as fast as int32; the bits stay the same
        words = state.flatten(1).view(torch.float32).index_select(1, self._words)
        return to_float(words.view(torch.uint8))


class SpaceToDepth(PixelPermutation):
    """Space to depth: turns each ``side`` x ``side`` block of pixels into one position with
    ``side^2`` times the channels, as 4 channels leave a CPU's vector units idle and 64 do not.
    Incomplete blocks at the border are dropped."""

    def __init__(self, stack_shape: tuple[int, ...], side: int) -> None:
        order = _block_pixels(stack_shape, side)
        self._blocks = order.shape[:2]
        super().__init__(stack_shape, order)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, S, H, W]`` -> ``[B, S * side^2, H / side, W / side]`` float32, channels last in
        memory; uint8 is divided by 255."""
        pixels = super().forward(state)
        return pixels.view(len(state), *self._blocks, -1).permute(0, 3, 1, 2)


class Patches(PixelPermutation):
    """Orders pixels for two ``PatchConvolution`` layers: block after block, and the blocks of each
    patch of the second layer together. Incomplete patches at the border are dropped."""

    def __init__(self, stack_shape: tuple[int, ...], side: int, side_in_blocks: int) -> None:
        """``side`` of a block in pixels, ``side_in_blocks`` of a patch."""
        order = _block_pixels(stack_shape, side)
        self.rows, self.columns = (count // side_in_blocks for count in order.shape[:2])
        """Patches of the second layer."""
        order = order[: self.rows * side_in_blocks, : self.columns * side_in_blocks]
        order = order.unflatten(1, (-1, side_in_blocks)).unflatten(0, (-1, side_in_blocks))
        super().__init__(stack_shape, order.transpose(1, 2))


class FlatPixels(nn.Module):
    """``[B, S, *frame]`` -> ``[B, inputs]`` float32; uint8 is divided by 255."""

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return to_float(state)


class BlockConvolution(nn.Conv2d):
    """Convolution of frames after ``SpaceToDepth(side=stride)``; the kernel is a multiple of the
    stride. Padding requires a stride of 1."""

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """``[B, S * stride^2, H / stride, W / stride]`` -> ``[B, channels, ...]``."""
        outputs, stack, kernel, _ = self.weight.shape
        side = self.stride[0]
        weight = self.weight.reshape(outputs, stack, kernel // side, side, kernel // side, side)
        weight = weight.permute(0, 2, 4, 1, 3, 5).reshape(
            outputs, kernel // side, kernel // side, stack * side * side
        )
        return F.conv2d(blocks, weight.permute(0, 3, 1, 2), self.bias, padding=self.padding)


class PatchConvolution(nn.Conv2d):
    """Convolution whose stride is its kernel size, on contiguous patches, as ``Patches`` and this
    layer return them: one matrix product without copies."""

    def __init__(
        self, inputs: int, outputs: int, side: int, of_frames: bool, device: str = "cpu"
    ) -> None:
        """``of_frames``: a patch has its channels outermost, as in frames, else innermost."""
        super().__init__(inputs, outputs, side, side, device=device)
        self._of_frames = of_frames

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """``[B, patches * side * side * inputs]`` -> ``[B, patches * outputs]``."""
        weight = self.weight if self._of_frames else self.weight.permute(0, 2, 3, 1)
        weight = weight.flatten(1)
        output = F.linear(patches.view(-1, weight.shape[1]), weight, self.bias)
        return output.view(len(patches), -1)


class ChannelsFirst(nn.Module):
    """``[B, positions * channels]`` -> ``[B, channels * positions]``, as ``nn.Flatten`` orders
    them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._channels = channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.view(len(features), -1, self._channels).transpose(1, 2).flatten(1)


def to_float(state: torch.Tensor) -> torch.Tensor:
    """``[B, ...]`` -> a new ``[B, inputs]`` float32; uint8 is divided by 255."""
    values = state.flatten(1).to(torch.float32, copy=True)
    return values.div_(255) if state.dtype == torch.uint8 else values


def wide_linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """``F.linear``. With many inputs a CPU takes a third of the time for ``weight @ inputs^T``."""
    if inputs.is_cuda or inputs.shape[1] < _WIDE:
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
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        inputs, weight = ctx.saved_tensors
        return gradient @ weight, gradient.t() @ inputs, gradient.sum(0)


def _block_pixels(stack_shape: tuple[int, ...], side: int) -> torch.Tensor:
    """Indices of the pixels of each block: ``[rows, columns, S, side, side]``."""
    pixel = torch.arange(math.prod(stack_shape)).view(stack_shape)
    return pixel.unfold(1, side, side).unfold(2, side, side).permute(1, 2, 0, 3, 4)
