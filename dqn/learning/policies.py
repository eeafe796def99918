"""The policy that weighs the next actions in a target, and what it adds to reward and values.

Pure functions of q-values ``[B, A]``; they know nothing of what a network's numbers mean.
"""

from typing import NamedTuple

import torch


def greedy(q: torch.Tensor) -> torch.Tensor:
    """All weight ``[B, A]`` on the greatest of ``q [B, A]``, the first where there are several.

    Of the target network's q-values: DQN, Mnih et al. 2015; of the online network's: Double DQN,
    van Hasselt et al. 2016 (arXiv 1509.06461), equation 4.
    """
    return torch.zeros_like(q).scatter_(1, q.argmax(1, keepdim=True), 1.0)


class Munchausen(NamedTuple):
    """Munchausen DQN, Vieillard et al. 2020 (arXiv 2007.14430), equation 1."""

    alpha: float
    """How much of the log-policy is added to the reward."""
    temperature: float
    """Of the softmax policy, in units of the return; the paper's tau."""
    low: float
    """The least that temperature times log-policy counts for; the paper's l0."""

    def reward(self, q: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Added to the reward ``[B]``: alpha times the clipped log-policy of ``action [B]`` under
        ``q [B, A]`` of the same state."""
        assert q.ndim == 2 and action.shape == q.shape[:1], (q.shape, action.shape)
        log_policy = self._log_policy(q).gather(1, action[:, None]).squeeze(1)
        return self.alpha * (self.temperature * log_policy).clamp(self.low, 0)

    def policy(self, next_q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Policy ``[B, A]`` and entropy bonus ``[B, A]`` on the next state."""
        log_policy = self._log_policy(next_q)
        return log_policy.exp(), -self.temperature * log_policy

    def _log_policy(self, q: torch.Tensor) -> torch.Tensor:
        return (q / self.temperature).log_softmax(1)
