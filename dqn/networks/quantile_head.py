"""IQN's head: quantiles of the return at any fractions (taus)."""

import math

import torch
from torch import nn


class ImplicitQuantileHead(nn.Module):
    """Quantiles at any taus: IQN, Dabney et al. 2018 (arXiv 1806.06923), section 3.1. The features
    are multiplied by a cosine embedding of tau (equation 4)."""

    def __init__(self, cosines: nn.Linear, head: nn.Module, num_policy_taus: int) -> None:
        """``cosines`` maps a tau's cosines to as many numbers as there are features; ``head`` maps
        their product with the features, ``[B K, features]``, to ``[B K, A, 1]``."""
        super().__init__()
        self.embedding = nn.Sequential(cosines, nn.ReLU(inplace=True))
        self.head = head
        self._num_cosines = cosines.in_features
        self._num_policy_taus = num_policy_taus

    def forward(self, features: torch.Tensor, taus: torch.Tensor | None = None) -> torch.Tensor:
        """``[B, features]``, ``taus [B, K]`` -> ``[B, A, K]``; by default at the policy taus, the
        midpoints of ``num_policy_taus`` equal parts."""
        if taus is None:
            policy_taus = midpoints(self._num_policy_taus, features.device)
            taus = policy_taus.expand(features.shape[0], -1)
        frequencies = torch.arange(self._num_cosines, device=features.device) * math.pi
        cosines = torch.cos(taus[..., None] * frequencies)  # [B, K, cosines]
        embedded = self.embedding(cosines.flatten(0, 1))  # [B K, features]
        product = embedded.view(*taus.shape, -1) * features[:, None]  # [B, K, features]
        z: torch.Tensor = self.head(product.flatten(0, 1))  # [B K, A, 1]
        return z.view(*taus.shape, -1).transpose(1, 2)  # [B, A, K]


def midpoints(count: int, device: torch.device) -> torch.Tensor:
    """Midpoints ``[K]`` of K equal parts of [0, 1]."""
    return (torch.arange(count, device=device) + 0.5) / count
