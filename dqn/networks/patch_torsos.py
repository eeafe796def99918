"""Torsos of convolutions without overlap: one matrix product a layer, and no copies."""

import torch
import torch.nn.functional as F
from torch import nn

from dqn.networks.torsos import Activation, PixelPermutation, Torso, block_pixels


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


def _two_patch_layers(
    stack_shape: tuple[int, ...], sides: tuple[int, int], activation: Activation
) -> Torso:
    """32 channels per patch of pixels, then 64 per patch of those; ``sides`` of the patches."""
    preprocess = Patches(stack_shape, *sides)
    layers = nn.Sequential(
        PatchConvolution(stack_shape[0], 32, sides[0], of_frames=True),
        activation(),
        PatchConvolution(32, 64, sides[1], of_frames=False),
        activation(),
        ChannelsFirst(64),
    )
    return Torso(preprocess, layers, 64 * preprocess.rows * preprocess.columns)


class Patches(PixelPermutation):
    """Orders pixels for two ``PatchConvolution`` layers: block after block, and the blocks of each
    patch of the second layer together. Incomplete patches at the border are dropped."""

    def __init__(self, stack_shape: tuple[int, ...], side: int, side_in_blocks: int) -> None:
        """``side`` of a block in pixels, ``side_in_blocks`` of a patch."""
        order = block_pixels(stack_shape, side)
        self.rows, self.columns = (count // side_in_blocks for count in order.shape[:2])
        """Patches of the second layer."""
        order = order[: self.rows * side_in_blocks, : self.columns * side_in_blocks]
        order = order.unflatten(1, (-1, side_in_blocks)).unflatten(0, (-1, side_in_blocks))
        super().__init__(stack_shape, order.transpose(1, 2))


class PatchConvolution(nn.Conv2d):
    """Convolution whose stride is its kernel size, on contiguous patches, as ``Patches`` and this
    layer return them: one matrix product without copies."""

    def __init__(self, inputs: int, outputs: int, side: int, of_frames: bool) -> None:
        """``of_frames``: a patch has its channels outermost, as in frames, else innermost."""
        super().__init__(inputs, outputs, side, side, device="meta")
        self._of_frames = of_frames

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """``[B, patches * side * side * inputs]`` -> ``[B, patches * outputs]``."""
        weight = self.weight if self._of_frames else self.weight.permute(0, 2, 3, 1)
        weight = weight.flatten(1)
        output = F.linear(patches.view(-1, weight.shape[1]), weight, self.bias)
        return output.view(patches.shape[0], -1)


class ChannelsFirst(nn.Module):
    """``[B, positions * channels]`` -> ``[B, channels * positions]``, as ``nn.Flatten`` orders
    them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._channels = channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.view(features.shape[0], -1, self._channels).transpose(1, 2).flatten(1)
