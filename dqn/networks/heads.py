"""From features to K numbers per action: the part of a network that judges."""

import math
from collections.abc import Callable

import torch
from torch import nn

from dqn.networks.layers import Activation

LinearLayer = Callable[[int, int], nn.Module]
"""Makes a linear layer, plain or noisy, from so many inputs to so many outputs."""


class Head(nn.Module):
    """Hidden layer and outputs; dueling: two of them, Wang et al. 2016 (arXiv 1511.06581), eq. 9.

    ``[B, features]`` -> ``[B, A, K]``.
    """

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
        advantages = num_actions * num_outputs
        self.advantage = stream(features, hidden_units, advantages, linear, activation)
        self.value: nn.Sequential | None = None
        if dueling:
            self.value = stream(features, hidden_units, num_outputs, linear, activation)
        self._outputs = (num_actions, num_outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Without a value stream the advantages are the values."""
        z: torch.Tensor = self.advantage(features).unflatten(1, self._outputs)  # [B, A, K]
        if self.value is None:
            return z
        value: torch.Tensor = self.value(features)[:, None]  # [B, 1, K]
        return value + z - z.mean(1, keepdim=True)


def stream(
    features: int, hidden_units: int, outputs: int, linear: LinearLayer, activation: Activation
) -> nn.Sequential:
    """A hidden layer with ReLU, if it has units, and a linear one."""
    if not hidden_units:
        return nn.Sequential(linear(features, outputs))
    return nn.Sequential(
        linear(features, hidden_units), activation(), linear(hidden_units, outputs)
    )


class ImplicitQuantileHead(nn.Module):
    """The value of any fraction of the return's distribution: IQN, Dabney et al. 2018 (arXiv
    1806.06923), section 3.1. The features are multiplied by an embedding of the fraction (eq. 4).

    ``[B, features]``, taus ``[B, K]`` -> ``[B, A, K]``.
    """

    def __init__(
        self, features: int, num_cosines: int, num_policy_taus: int, head: Head, linear: LinearLayer
    ) -> None:
        """``num_policy_taus``: how many equal parts an action is chosen by."""
        super().__init__()
        self.embedding = nn.Sequential(linear(num_cosines, features), nn.ReLU(inplace=True))
        self.head = head
        self._num_cosines = num_cosines
        self._num_policy_taus = num_policy_taus

    def forward(self, features: torch.Tensor, taus: torch.Tensor | None = None) -> torch.Tensor:
        """Each fraction of each state goes through the head by itself; without any, the middles of
        equal parts do."""
        if taus is None:
            middles = midpoints(self._num_policy_taus, features.device)
            taus = middles.expand(len(features), -1)
        waves = torch.arange(self._num_cosines, device=features.device) * math.pi
        cosines = torch.cos(taus[..., None] * waves)  # [B, K, cosines]
        embedded = self.embedding(cosines.flatten(0, 1))  # [B K, features]
        both = embedded.view(*taus.shape, -1) * features[:, None]
        z: torch.Tensor = self.head(both.flatten(0, 1))  # [B K, A, 1]
        return z.view(*taus.shape, -1).transpose(1, 2)  # [B, A, K]


def midpoints(count: int, device: torch.device) -> torch.Tensor:
    """``(2 i + 1) / 2 K``: the middles ``[K]`` of K equal parts of the distribution."""
    return (torch.arange(count, device=device) + 0.5) / count
