"""The Q-network: a torso that extracts features, a head, and how they are made and initialized.

No layer draws from a global generator: layers are made on the meta device, then initialized from a
given one.
"""

import functools
import math
from collections.abc import Callable

import torch
from torch import nn

from dqn.config import ConfigError, NetworkConfig, ValuesConfig
from dqn.networks import overlap
from dqn.networks.impala import impala
from dqn.networks.layers import LayerNormReLU, NoisyLinear, set_noise
from dqn.networks.patch_torsos import data_efficient, patches
from dqn.networks.precision import Bfloat16Copy
from dqn.networks.quantile_head import ImplicitQuantileHead
from dqn.networks.spectral import SpectralConvolution, normalized
from dqn.networks.torsos import Activation, Linear, Torso, mlp, nature, nips, to_float

MIN_SIDE = {"nature": 36, "nips": 20, "data_efficient": 25, "patches": 12, "impala": 12}
"""Smallest height and width, in pixels, from which each torso computes any features. (IMPALA would
take any; 12 is the least of ``env.frame_size``.)"""

LinearLayer = Callable[[int, int], nn.Module]
"""Makes a linear layer, plain or noisy, from its numbers of inputs and outputs."""


class Head(nn.Module):
    """Hidden layer, if it has units, and output layer; dueling: one such stream for the advantages
    and one for the state value, Wang et al. 2016 (arXiv 1511.06581), equation 9."""

    def __init__(
        self,
        features: int,
        hidden_units: int,
        num_actions: int,
        num_outputs: int,
        dueling: bool,
        linear: LinearLayer,
        activation: Activation,
    ) -> None:
        super().__init__()

        def stream(outputs: int) -> nn.Sequential:
            hidden = [linear(features, hidden_units), activation()] if hidden_units else []
            return nn.Sequential(*hidden, linear(hidden_units or features, outputs))

        self.advantage = stream(num_actions * num_outputs)
        self.value = stream(num_outputs) if dueling else None
        self._outputs = (num_actions, num_outputs)

    def output_parameters(self) -> list[nn.Parameter]:
        """Those of the output layers."""
        streams = [stream for stream in (self.advantage, self.value) if stream is not None]
        return [parameter for stream in streams for parameter in stream[-1].parameters()]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, features]`` -> ``[B, A, K]``."""
        z: torch.Tensor = self.advantage(features).unflatten(1, self._outputs)  # [B, A, K]
        if self.value is None:
            return z
        value: torch.Tensor = self.value(features)[:, None]  # [B, 1, K]
        return value + z - z.mean(1, keepdim=True)


class QNetwork(nn.Module):
    """Stacks of frames ``[B, S, *frame]`` -> ``z [B, A, K]``."""

    def __init__(
        self, torso: Torso, head: Head | ImplicitQuantileHead, center: torch.Tensor | None
    ) -> None:
        """``center``: zeros ``[S, *frame]`` if inputs will be centered, else None."""
        super().__init__()
        self._preprocess = torso.preprocess
        self.torso = torso.layers
        self.center: torch.Tensor | None
        self.register_buffer("center", center)  # saved with the weights
        self.head = head
        modules = list(self.modules())
        self._noisy = [module for module in modules if isinstance(module, NoisyLinear)]
        self._spectral = [module for module in modules if isinstance(module, SpectralConvolution)]
        self._inputs = torch.float32
        self._bfloat16: Bfloat16Copy[QNetwork] | None = None
        self.register_load_state_dict_post_hook(_refresh)  # type: ignore[no-untyped-call]

    def forward(self, state: torch.Tensor, noise: torch.Generator | None = None) -> torch.Tensor:
        """``z [B, A, K]`` of ``state [B, S, *frame]``."""
        return self.forward_preprocessed(self.preprocess(state), noise)

    def preprocess(self, state: torch.Tensor) -> torch.Tensor:
        """Stacks of frames in the layout and dtype of the torso; uint8 is divided by 255 here. Two
        networks of the same config can share the result."""
        inputs: torch.Tensor = self._preprocess(state, self._inputs)
        if self.center is None:
            return inputs
        return inputs.sub_(self._preprocess(self.center[None], self._inputs))

    def forward_preprocessed(
        self,
        inputs: torch.Tensor,
        noise: torch.Generator | None = None,
        taus: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """``z [B, A, K]`` of preprocessed ``inputs``; of IQN at ``taus [B, K]``, by default its
        policy taus. ``noise`` draws the noise of noisy layers; None switches it off."""
        if self._bfloat16:
            return self._bfloat16.module.forward_preprocessed(inputs, noise, taus)
        set_noise(self._noisy, noise)
        with normalized(self._spectral):
            features = self.torso(inputs)  # [B, features]
        z: torch.Tensor = self.head(features) if taus is None else self.head(features, taus)
        return z

    def center_on(self, states: torch.Tensor) -> None:
        """Subtract the mean of ``states [M, S, *frame]`` from all inputs from now on."""
        assert self.center is not None
        self.center.copy_(to_float(states).mean(0).view_as(self.center))

    def place(self, device: torch.device, precision: str) -> "QNetwork":
        """Move to a device in channels-last layout, the faster one on CPUs and GPUs, and compute
        there in a config's ``precision``; TF32 is set for the whole process elsewhere."""
        self.to(device)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        (head,) = (module for module in self.modules() if isinstance(module, Head))
        kept = head.output_parameters()
        if precision == "bfloat16" and len(kept) < len(list(self.parameters())):
            self._bfloat16 = Bfloat16Copy(self, kept)
            self._inputs = torch.bfloat16
        return self

    def refresh(self) -> None:
        """Compute with the weights as they are now; to be called whenever they have changed."""
        if self._bfloat16:
            self._bfloat16.refresh()

    def move_gradients(self) -> None:
        """After a backward pass: its gradients become those of the weights."""
        overlap.join()
        if self._bfloat16:
            self._bfloat16.move_gradients()


def _refresh(network: QNetwork, _: object) -> None:
    network.refresh()


def make_network(
    config: NetworkConfig,
    values: ValuesConfig,
    stack_shape: tuple[int, ...],
    num_actions: int,
    num_outputs: int,
    generator: torch.Generator,
) -> QNetwork:
    """The network described by a config, for stacks ``[S, *frame]``, initialized, on the CPU.

    Raises:
        ConfigError: the torso cannot process frames of this shape, or has no use for a setting.
    """
    activation: Activation = functools.partial(nn.ReLU, inplace=True)
    if config.layer_norm:
        activation = LayerNormReLU
    linear: LinearLayer = functools.partial(Linear, device="meta")
    if config.noisy:
        linear = functools.partial(NoisyLinear, sigma=config.noisy_sigma)
    name, hidden = config.torso, config.hidden_units
    if name == "auto":
        pictures = len(stack_shape) == 3 and min(stack_shape[1:]) >= MIN_SIDE["nature"]
        name = "nature" if pictures else "mlp"
        unused = "mlp_units" if pictures else "hidden_units"
        if getattr(config, unused) != getattr(NetworkConfig, unused):
            raise ConfigError(f"network.{unused} has no effect with torso {name}; do not set it")
    if name == "mlp":
        *layers, hidden = config.mlp_units or (0,)
        torso = mlp(math.prod(stack_shape), layers, activation)
    else:
        torso = _convolutional_torso(name, config, stack_shape, activation)
    head: Head | ImplicitQuantileHead = Head(
        torso.features, hidden, num_actions, num_outputs, config.dueling, linear, activation
    )
    if values.kind == "implicit_quantile":
        cosines = Linear(values.num_cosines, torso.features, device="meta")
        head = ImplicitQuantileHead(cosines, head, values.num_policy_taus)
    center = torch.zeros(stack_shape) if config.center else None
    network = QNetwork(torso, head, center)
    _to_empty(network)
    _initialize(network, generator)
    return network


def _convolutional_torso(
    name: str, config: NetworkConfig, stack_shape: tuple[int, ...], activation: Activation
) -> Torso:
    if len(stack_shape) != 3 or min(stack_shape[1:]) < MIN_SIDE[name]:
        raise ConfigError(
            f"network.torso {name} needs gray frames of {MIN_SIDE[name]}x{MIN_SIDE[name]} or more, "
            f"not of shape {list(stack_shape[1:])}"
        )
    if name == "impala":
        return impala(stack_shape, config.width, config.pool, config.spectral_norm, activation)
    make = {"nature": nature, "nips": nips, "data_efficient": data_efficient, "patches": patches}
    return make[name](stack_shape, activation)


def _to_empty(network: QNetwork) -> None:
    """``network.to_empty(device="cpu")``, which would import sympy."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape)))
        if isinstance(module, SpectralConvolution):
            module.left = torch.empty(module.left.shape)


def _initialize(network: QNetwork, generator: torch.Generator) -> None:
    """He et al. 2015: uniform, with variance 2 / inputs before a ReLU, else 1 / inputs."""
    sequences = [list(module) for module in network.modules() if isinstance(module, nn.Sequential)]
    last = {id(layers[-1]) for layers in sequences if layers}  # not followed by a ReLU
    for layer in network.modules():
        if isinstance(layer, NoisyLinear):
            layer.reset_parameters(generator)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(
                layer.weight,
                nonlinearity="linear" if id(layer) in last else "relu",
                generator=generator,
            )
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        if isinstance(layer, SpectralConvolution):
            layer.reset_power_iteration(generator)
