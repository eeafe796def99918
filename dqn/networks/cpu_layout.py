"""Layouts of pixels and weights that a CPU computes faster: the same sums, in another order."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

WIDE = 2048
"""From so many inputs on, a linear layer is a wide one."""


class PixelPermutation(nn.Module):
    """A stack's pixels in an order of their own; those that it does not name are left out."""

    def __init__(self, stack_shape: tuple[int, ...], order: torch.Tensor) -> None:
        """``order``: places in the flattened stack."""
        super().__init__()
        self._order: torch.Tensor
        self._words: torch.Tensor
        self.register_buffer("_order", order.flatten(), persistent=False)
        # Four pixels that stay together are moved as one word.
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
        # Called float32, as torch moves those eight times faster than int32; no bit is changed.
        words = state.flatten(1).view(torch.float32).index_select(1, self._words)
        return to_float(words.view(torch.uint8))


class SpaceToDepth(PixelPermutation):
    """Frames as a first convolution wants them: each side x side block of pixels becomes one place
    with as many channels more (space to depth). Four channels leave a processor's vectors idle, 64
    do not. Pixels that no whole block holds are left out."""

    def __init__(self, stack_shape: tuple[int, ...], side: int) -> None:
        order = block_places(stack_shape, side)
        self._places = order.shape[:2]
        super().__init__(stack_shape, order)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, S, H, W]`` -> ``[B, S * side^2, H / side, W / side]`` float32, the channels
        innermost; uint8 is divided by 255."""
        blocks = super().forward(state)
        return blocks.view(len(state), *self._places, -1).permute(0, 3, 1, 2)


class Patches(PixelPermutation):
    """Frames as two layers of patches want them: the blocks that a patch of the second layer is
    made of lie one after the other. Blocks that no whole patch holds are left out."""

    def __init__(self, stack_shape: tuple[int, ...], side: int, side_in_blocks: int) -> None:
        """``side`` of a block in pixels, ``side_in_blocks`` of a patch."""
        order = block_places(stack_shape, side)
        self.rows, self.columns = (count // side_in_blocks for count in order.shape[:2])
        """Patches of the second layer."""
        order = order[: self.rows * side_in_blocks, : self.columns * side_in_blocks]
        order = order.unflatten(1, (-1, side_in_blocks)).unflatten(0, (-1, side_in_blocks))
        super().__init__(stack_shape, order.transpose(1, 2))


def block_places(stack_shape: tuple[int, ...], side: int) -> torch.Tensor:
    """Where the pixels of each block are: ``[rows, columns, S, side, side]``."""
    pixel = torch.arange(math.prod(stack_shape)).view(stack_shape)
    return pixel.unfold(1, side, side).unfold(2, side, side).permute(1, 2, 0, 3, 4)


class FlatPixels(nn.Module):
    """Every number of a stack in a row: ``[B, S, *frame]`` -> ``[B, inputs]``."""

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """float32; uint8 is divided by 255."""
        return to_float(state)


def to_float(state: torch.Tensor) -> torch.Tensor:
    """``[B, ...]`` -> a new ``[B, inputs]`` float32; uint8 is divided by 255."""
    values = state.flatten(1).to(torch.float32, copy=True)
    return values.div_(255) if state.dtype == torch.uint8 else values


class BlockConvolution(nn.Conv2d):
    """A convolution whose kernel is a multiple of its stride, on frames after ``SpaceToDepth`` of
    that side: the same sums, in another order. Only with a stride of 1 may there be padding."""

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """``[B, S * stride^2, H / stride, W / stride]`` -> ``[B, channels, ...]``."""
        return F.conv2d(blocks, self.block_weight(), self.bias, padding=self.padding)

    def block_weight(self) -> torch.Tensor:
        """The weight in the same order: ``[channels, S * stride^2, kernel / stride, ...]``."""
        outputs, stack, kernel, _ = self.weight.shape
        side = self.stride[0]
        weight = self.weight.reshape(outputs, stack, kernel // side, side, kernel // side, side)
        weight = weight.permute(0, 2, 4, 1, 3, 5).reshape(
            outputs, kernel // side, kernel // side, stack * side * side
        )
        return weight.permute(0, 3, 1, 2)


class PatchConvolution(nn.Conv2d):
    """A convolution whose kernel is its stride, on patches that lie one after the other, as
    ``Patches`` gives them and every such layer leaves them: each meets the weights once, so one
    matrix product does it all, and nothing is moved."""

    def __init__(
        self, inputs: int, outputs: int, side: int, of_frames: bool, device: str = "cpu"
    ) -> None:
        """``of_frames``: a patch is frame after frame; else place after place, all channels."""
        super().__init__(inputs, outputs, side, side, device=device)
        self._of_frames = of_frames

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """``[B, patches * side * side * inputs]`` -> ``[B, patches * outputs]``."""
        weight = self.weight if self._of_frames else self.weight.permute(0, 2, 3, 1)
        weight = weight.flatten(1)
        output = F.linear(patches.view(-1, weight.shape[1]), weight, self.bias)
        return output.view(len(patches), -1)


class ChannelsFirst(nn.Module):
    """``[B, places * channels]`` -> ``[B, channels * places]``, as other torsos are flattened."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._channels = channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """A copy in that order."""
        return features.view(len(features), -1, self._channels).transpose(1, 2).flatten(1)


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
