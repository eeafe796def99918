"""Torsos, heads and how they begin: from a stack of frames to K numbers per action.

No layer draws from a global generator: it is made without values, then filled from a named one.
"""

import math

import torch
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
        """``z [B, A, K]`` of ``state [B, S, *frame]``; uint8 is divided by 255 here, once."""
        if state.dtype == torch.uint8:
            layout = torch.channels_last if state.ndim == 4 else torch.preserve_format
            state = state.to(torch.float32, memory_format=layout).div_(255)
        else:
            state = state.float()
        z: torch.Tensor = self.head(self.torso(state)).unflatten(1, self._outputs)
        return z  # [B, A, K]

    def place(self, device: torch.device) -> "QNetwork":
        """Move to a device, with the channels innermost: the faster layout on both kinds."""
        self.to(device)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self


def nature_torso(stack: int, hidden_units: int) -> tuple[nn.Module, int]:
    """Three convolutions and a layer of ``hidden_units``; Mnih et al. 2015, Methods.

    ``[B, S, 84, 84]`` -> 32 of 20x20 -> 64 of 9x9 -> 64 of 7x7 -> ``[B, hidden_units]``.
    """
    torso = nn.Sequential(
        _convolution(stack, 32, kernel=8, stride=4),
        nn.ReLU(inplace=True),
        _convolution(32, 64, kernel=4, stride=2),
        nn.ReLU(inplace=True),
        _convolution(64, 64, kernel=3, stride=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        _linear(64 * 7 * 7, hidden_units),
        nn.ReLU(inplace=True),
    )
    return torso, hidden_units


def mlp_torso(inputs: int, units: tuple[int, ...]) -> tuple[nn.Module, int]:
    """Fully connected layers with ReLU: ``[B, S, *frame]`` -> ``[B, units[-1]]``."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in units:
        layers += [_linear(inputs, width), nn.ReLU(inplace=True)]
        inputs = width
    return nn.Sequential(*layers), inputs


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
