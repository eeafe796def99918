"""From a stack of frames to K numbers per action: a torso that sees and a head that judges.

No layer draws from a global generator: it is made without values, then filled from a named one.
"""

import functools

import torch
from torch import nn

from dqn.config import NetworkConfig, ValuesConfig
from dqn.networks.cpu_layout import to_float
from dqn.networks.heads import Head, ImplicitQuantileHead, LinearLayer
from dqn.networks.layers import Activation, LayerNormReLU, Linear, NoisyLinear, SpectralConvolution
from dqn.networks.torsos import Torso, make_torso, torso_name


class QNetwork(nn.Module):
    """Stack of frames -> ``z [B, A, K]``."""

    def __init__(
        self,
        torso: Torso,
        head: Head | ImplicitQuantileHead,
        center: torch.Tensor | None,
    ) -> None:
        """``center``: zeros ``[S, *frame]``, if something is to be subtracted."""
        super().__init__()
        self._arrange = torso.preprocess
        self.torso = torso.layers
        self.center: torch.Tensor | None
        self.register_buffer("center", center)  # saved with the weights
        self.head = head
        self.noisy = [module for module in self.modules() if isinstance(module, NoisyLinear)]
        """The layers with noise."""

    def forward(self, state: torch.Tensor, noise: torch.Generator | None = None) -> torch.Tensor:
        """``judge`` on ``state [B, S, *frame]``."""
        return self.forward_features(self.preprocess(state), noise)

    def preprocess(self, state: torch.Tensor) -> torch.Tensor:
        """Stack of frames -> what ``judge`` works on, made once for all networks that look at it;
        uint8 is divided by 255 here."""
        seen: torch.Tensor = self._arrange(state)
        return seen if self.center is None else seen.sub_(self._arrange(self.center[None]))

    def center_on(self, states: torch.Tensor) -> None:
        """From now on subtract the mean of ``states [M, S, *frame]``; once, before any learning."""
        assert self.center is not None
        self.center.copy_(to_float(states).mean(0).view_as(self.center))

    def forward_features(
        self,
        seen: torch.Tensor,
        noise: torch.Generator | None = None,
        taus: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``z [B, A, K]`` of what was ``seen``: of a head for taus at ``taus [B, K]``,
        or, without any, at those it chooses actions by. Without ``noise`` there is none."""
        for layer in self.noisy:
            layer.noise = noise
        features = self.torso(seen)  # [B, features]
        if taus is None:
            z: torch.Tensor = self.head(features)
        else:
            z = self.head(features, taus)
        return z

    def place(self, device: torch.device) -> "QNetwork":
        """Move to a device, with the channels innermost: the faster layout on both kinds."""
        self.to(device)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self


def make_network(
    config: NetworkConfig,
    values: ValuesConfig,
    stack_shape: tuple[int, ...],
    num_actions: int,
    num_outputs: int,
    generator: torch.Generator,
) -> QNetwork:
    """The network a config describes, for stacks ``[S, *frame]``, on the CPU.

    Raises:
        ConfigError: a torso for pictures was asked for on frames that it cannot see.
    """
    activation: Activation = functools.partial(nn.ReLU, inplace=True)
    if config.layer_norm:
        activation = LayerNormReLU
    torso = make_torso(config, stack_shape, activation)
    linear: LinearLayer = functools.partial(Linear, device="meta")
    in_head: LinearLayer = linear
    if config.noisy:
        in_head = functools.partial(NoisyLinear, sigma=config.noisy_sigma)
    hidden = config.hidden_units
    if torso_name(config, stack_shape) == "mlp":
        hidden = config.mlp_units[-1] if config.mlp_units else 0
    head: Head | ImplicitQuantileHead
    head = Head(
        torso.features, hidden, num_actions, num_outputs, config.dueling, in_head, activation
    )
    if values.kind == "implicit_quantile":
        head = ImplicitQuantileHead(
            torso.features, values.num_cosines, values.num_policy_taus, head, linear
        )
    center = torch.zeros(stack_shape) if config.center else None
    network = QNetwork(torso, head, center)
    _give_memory(network)
    _initialise(network, generator)
    return network


def _give_memory(network: QNetwork) -> None:
    """As ``nn.Module.to_empty``, which imports a symbolic algebra to make an empty tensor."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape)))
        if isinstance(module, SpectralConvolution):
            module.left = torch.empty(module.left.shape)


def _initialise(network: QNetwork, generator: torch.Generator) -> None:
    """He et al. 2015: uniform, variance 2 / inputs before a ReLU and 1 / inputs before none."""
    rows = [list(module) for module in network.modules() if isinstance(module, nn.Sequential)]
    last = {id(row[-1]) for row in rows if row}
    for layer in network.modules():
        if isinstance(layer, NoisyLinear):
            layer.draw(generator)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(
                layer.weight,
                nonlinearity="linear" if id(layer) in last else "relu",
                generator=generator,
            )
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        if isinstance(layer, SpectralConvolution):
            layer.draw(generator)
