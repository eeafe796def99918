"""The policy in the bootstrap target: which next actions it weighs, and what it adds to rewards.

Pure functions of q-values ``[B, A]``, whatever distribution they come from.
"""

from typing import NamedTuple

import torch


def greedy(q: torch.Tensor) -> torch.Tensor:
    """Probability 1 on the argmax of ``q [B, A]``, the first one if there are ties: ``[B, A]``.

    With q of the target network: DQN, Mnih et al. 2015; with q of the online network: Double DQN,
    van Hasselt et al. 2016 (arXiv 1509.06461), equation 4.
    """
    return torch.zeros_like(q).scatter_(1, q.argmax(1, keepdim=True), 1.0)


class Munchausen(NamedTuple):
    """Munchausen DQN, Vieillard et al. 2020 (arXiv 2007.14430), equation 1."""

    alpha: float
    """Weight of the log-policy in the reward."""
    temperature: float
    """Softmax temperature, in units of the return; the paper's tau."""
    clip_min: float
    """Lower bound of temperature * log-policy; the paper's l0."""

    def reward(self, q: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Bonus ``[B]`` to the reward: alpha times the clipped log-policy of ``action [B]`` under
        ``q [B, A]`` of the same state."""
        assert q.ndim == 2 and action.shape == q.shape[:1], (q.shape, action.shape)
        log_policy = self._log_policy(q).gather(1, action[:, None]).squeeze(1)
        return self.alpha * (self.temperature * log_policy).clamp(self.clip_min, 0)

    def policy(self, next_q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Policy ``[B, A]`` and entropy bonus ``[B, A]`` at the next state."""
        log_policy = self._log_policy(next_q)
        return log_policy.exp(), -self.temperature * log_policy

    def _log_policy(self, q: torch.Tensor) -> torch.Tensor:
        return (q / self.temperature).log_softmax(1)
