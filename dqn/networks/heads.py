"""Heads: from features ``[B, features]`` to K outputs per action."""

import math
from collections.abc import Callable

import torch
from torch import nn

from dqn.networks.layers import Activation

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

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, features]`` -> ``[B, A, K]``."""
        z: torch.Tensor = self.advantage(features).unflatten(1, self._outputs)  # [B, A, K]
        if self.value is None:
            return z
        value: torch.Tensor = self.value(features)[:, None]  # [B, 1, K]
        return value + z - z.mean(1, keepdim=True)


class ImplicitQuantileHead(nn.Module):
    """Quantiles at any taus: IQN, Dabney et al. 2018 (arXiv 1806.06923), section 3.1. The features
    are multiplied by a cosine embedding of tau (equation 4)."""

    def __init__(
        self, features: int, num_cosines: int, num_policy_taus: int, head: Head, linear: LinearLayer
    ) -> None:
        super().__init__()
        self.embedding = nn.Sequential(linear(num_cosines, features), nn.ReLU(inplace=True))
        self.head = head
        self._num_cosines = num_cosines
        self._num_policy_taus = num_policy_taus

    def forward(self, features: torch.Tensor, taus: torch.Tensor | None = None) -> torch.Tensor:
        """``[B, features]``, ``taus [B, K]`` -> ``[B, A, K]``; by default at the policy taus, the
        midpoints of ``num_policy_taus`` equal parts."""
        if taus is None:
            policy_taus = midpoints(self._num_policy_taus, features.device)
            taus = policy_taus.expand(len(features), -1)
        frequencies = torch.arange(self._num_cosines, device=features.device) * math.pi
        cosines = torch.cos(taus[..., None] * frequencies)  # [B, K, cosines]
        embedded = self.embedding(cosines.flatten(0, 1))  # [B K, features]
        product = embedded.view(*taus.shape, -1) * features[:, None]  # [B, K, features]
        z: torch.Tensor = self.head(product.flatten(0, 1))  # [B K, A, 1]
        return z.view(*taus.shape, -1).transpose(1, 2)  # [B, A, K]


def midpoints(count: int, device: torch.device) -> torch.Tensor:
    """Midpoints ``[K]`` of K equal parts of [0, 1]."""
    return (torch.arange(count, device=device) + 0.5) / count
