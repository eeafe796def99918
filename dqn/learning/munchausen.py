"""Munchausen DQN: a softmax policy in the bootstrap target, and its log-policy in the reward."""

from typing import NamedTuple

import torch


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
