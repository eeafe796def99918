"""What the K numbers per action mean, and the equations that follow from it.

The learner hands every family the same things and gets the same things back, so it never changes
for a new one: ``q`` for choosing, ``target`` for the Bellman backup, ``loss`` per sample.
"""

import torch
from torch.nn import functional as F


class Expected:
    """One number per action: the expected return. Mnih et al. 2015, equation 2 of the Methods."""

    num_outputs = 1

    def __init__(self, loss: str) -> None:
        assert loss in ("huber", "mse"), loss
        self._huber = loss == "huber"

    def q(self, z: torch.Tensor) -> torch.Tensor:
        """Expected returns ``[B, A]`` of ``z [B, A, 1]``."""
        assert z.ndim == 3 and z.shape[2] == 1, z.shape
        return z.squeeze(2)  # [B, A]

    def target(
        self,
        reward: torch.Tensor,
        discount: torch.Tensor,
        next_z: torch.Tensor,
        policy: torch.Tensor,
    ) -> torch.Tensor:
        """``reward + discount * sum_a policy(a) q(next state, a)``, ``[B]``.

        ``reward [B]``, ``discount [B]``, ``next_z [B, A, 1]``, ``policy [B, A]`` (rows sum to 1).
        """
        assert reward.shape == discount.shape == next_z.shape[:1], (reward.shape, next_z.shape)
        return reward + discount * (policy * self.q(next_z)).sum(1)

    def loss(
        self, z: torch.Tensor, action: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss ``[B]`` and priority ``[B]`` (the absolute error) of ``z [B, A, 1]`` against
        ``target [B]`` at ``action [B]``.

        Huber is d^2/2 up to |d| = 1 and |d| - 1/2 beyond: Nature's "error clipping", which bounds
        the gradient. Squared loss is d^2/2, so that both have the gradient d near 0.
        """
        assert action.shape == target.shape == z.shape[:1], (action.shape, target.shape, z.shape)
        chosen = self.q(z).gather(1, action[:, None]).squeeze(1)  # [B]
        error = (target - chosen).detach().abs()
        if self._huber:
            return F.smooth_l1_loss(chosen, target, reduction="none"), error
        return 0.5 * F.mse_loss(chosen, target, reduction="none"), error
