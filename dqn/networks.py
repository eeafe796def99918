"""Torsos, heads and how they begin: from a stack of frames to K numbers per action.

No layer draws from a global generator: it is made without values, then filled from a named one.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dqn.config import ConfigError, NetworkConfig


class QNetwork(nn.Module):
    """Stack of frames -> ``z [B, A, K]``."""

    def __init__(self, torso: nn.Module, features: int, num_actions: int, num_outputs: int) -> None:
        super().__init__()
        self.torso = torso
        self.head = _linear(features, num_actions * num_outputs)
        self._outputs = (num_actions, num_outputs)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """``z [B, A, K]`` of ``state [B, S, *frame]``; the torso divides uint8 by 255, once."""
        z: torch.Tensor = self.head(self.torso(state)).unflatten(1, self._outputs)
        return z  # [B, A, K]

    def place(self, device: torch.device) -> "QNetwork":
        """Move to a device, with the channels innermost: the faster layout on both kinds."""
        self.to(device)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self


class BlockConvolution(nn.Conv2d):
    """A convolution of frames whose kernel and sides are multiples of its stride.

    Each stride x stride block of pixels becomes one place with as many channels more (space to
    depth), and the kernel shrinks to match: the same sums, in another order. Four channels leave a
    processor's vectors idle, 64 do not.
    """

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, S, H, W]`` pixels, 0 to 255 if uint8, to ``[B, channels, ...]``."""
        weight = self.block_weight()
        if state.dtype == torch.uint8:
            weight = weight / 255  # as the pixels would be, but there are far fewer weights
        return F.conv2d(self.blocks(state), weight, self.bias)

    def blocks(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, S * stride^2, H / stride, W / stride]`` float32, the channels innermost."""
        side = self.stride[0]
        batch, stack, height, width = state.shape
        rows, columns = height // side, width // side
        assert (height, width) == (rows * side, columns * side), (state.shape, side)
        if state.dtype == torch.uint8 and side == 4:
            # four pixels of a row are moved as one word
            words = state.view(torch.int32).view(batch, stack, rows, side, columns)
            words = words.permute(0, 2, 4, 1, 3).contiguous()  # [B, rows, columns, S, 4]
            pixels = words.view(torch.uint8).view(batch, rows, columns, -1)
        else:
            pixels = state.view(batch, stack, rows, side, columns, side)
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


class WideLinear(nn.Linear):
    """A linear layer from many inputs: as ``weight @ inputs^T`` the CPU's library takes a third of
    the time that ``inputs @ weight^T`` takes it."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """``[B, in]`` -> ``[B, out]``."""
        if inputs.is_cuda:
            return F.linear(inputs, self.weight, self.bias)
        product: Any = _WideProduct.apply
        output: torch.Tensor = product(inputs, self.weight, self.bias)
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


def nature_torso(stack: int, hidden_units: int) -> tuple[nn.Module, int]:
    """Three convolutions and a layer of ``hidden_units``; Mnih et al. 2015, Methods.

    ``[B, S, 84, 84]`` -> 32 of 20x20 -> 64 of 9x9 -> 64 of 7x7 -> ``[B, hidden_units]``.
    """
    torso = nn.Sequential(
        BlockConvolution(stack, 32, 8, 4, device="meta"),
        nn.ReLU(inplace=True),
        _convolution(32, 64, kernel=4, stride=2),
        nn.ReLU(inplace=True),
        _convolution(64, 64, kernel=3, stride=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        WideLinear(64 * 7 * 7, hidden_units, device="meta"),
        nn.ReLU(inplace=True),
    )
    return torso, hidden_units


def mlp_torso(inputs: int, units: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Fully connected layers with ReLU: ``[B, S, *frame]`` -> ``[B, units[-1]]``."""
    layers: list[nn.Module] = [_FlatPixels()]
    for width in units:
        layers += [_linear(inputs, width), nn.ReLU(inplace=True)]
        inputs = width
    return nn.Sequential(*layers), inputs


class _FlatPixels(nn.Module):
    """``[B, S, *frame]`` -> ``[B, inputs]`` float32; uint8 is divided by 255."""

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        values = state.flatten(1).float()
        return values.div_(255) if state.dtype == torch.uint8 else values


def make_network(
    config: NetworkConfig,
    stack_shape: tuple[int, ...],
    num_actions: int,
    num_outputs: int,
    generator: torch.Generator,
) -> QNetwork:
    """The network a config describes, for stacks ``[S, *frame]``, on the CPU.

    Raises:
        ConfigError: the nature torso was asked for on other frames than 84x84.
    """
    fits_nature = stack_shape[1:] == (84, 84)
    if config.torso == "nature" and not fits_nature:
        raise ConfigError(f"network.torso nature needs 84x84 frames, not {list(stack_shape[1:])}")
    if config.torso == "nature" or (config.torso == "auto" and fits_nature):
        torso, features = nature_torso(stack_shape[0], config.hidden_units)
    else:
        torso, features = mlp_torso(math.prod(stack_shape), config.mlp_units)
    network = QNetwork(torso, features, num_actions, num_outputs)
    network = network.to_empty(device="cpu")
    _initialise(network, generator)
    return network


def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    """He et al. 2015: uniform, variance 2 / inputs before a ReLU and 1 / inputs before none."""
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        before_relu = layer is not layers[-1]
        nn.init.kaiming_uniform_(
            layer.weight, nonlinearity="relu" if before_relu else "linear", generator=generator
        )
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, device="meta")


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, device="meta")
