"""What a network's K outputs per action represent: the expected return, or its distribution.

Each class works with any policy in the bootstrap target and any bonus to its actions' values
(Munchausen's entropy). Shapes: B batch, A actions, K outputs per action; IQN's K are R random taus,
P policy taus, or both.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F

from dqn.config import LearnerConfig


class BootstrapInputs(NamedTuple):
    """What a bootstrap target is computed from."""

    reward: torch.Tensor
    """``[B]`` n-step return."""
    discount: torch.Tensor
    """``[B]`` factor of the next state's value; 0 after a terminal."""
    z: torch.Tensor
    """``[B, A, K]`` target network's outputs at the next state."""
    policy: torch.Tensor
    """``[B, A]`` probability of each next action; rows sum to 1."""
    bonus: torch.Tensor | None
    """``[B, A]`` added to each next action's value; None is 0."""

    def check(self) -> None:
        """Assert that the shapes agree."""
        batch, actions = self.z.shape[:1], self.z.shape[:2]
        assert self.reward.shape == self.discount.shape == batch, (self.reward.shape, batch)
        assert self.policy.shape == actions, (self.policy.shape, actions)
        assert self.bonus is None or self.bonus.shape == actions, actions


class ValueDistribution(ABC):
    """The return distribution that ``z [B, A, K]`` parametrizes."""

    num_outputs: int
    """K of the network's head; 1 for IQN, whose network is evaluated at any number of taus."""

    def online_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor | None:  # noqa: ARG002
        """Quantile fractions ``[B, R]`` at which to evaluate the online network; None if it takes
        none."""
        return None

    def target_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor | None:  # noqa: ARG002
        """Quantile fractions at which to evaluate the target network; None if it takes none."""
        return None

    @abstractmethod
    def q(self, z: torch.Tensor) -> torch.Tensor:
        """Expected returns ``[B, A]`` of ``z [B, A, K]``."""

    def returns(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:  # noqa: ARG002
        """The distribution of ``z [B, A, K]`` as K returns and their probabilities, each
        ``[B, A, K]``; None if ``z`` is an expectation only."""
        return None

    @abstractmethod
    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """What ``z`` should represent at the action taken: ``[B]`` or ``[B, K]``, see the class."""

    @abstractmethod
    def loss(
        self, z: torch.Tensor, taus: torch.Tensor | None, action: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss ``[B]`` and priority ``[B]`` of ``z [B, A, K]``, evaluated at ``taus [B, K]`` if the
        network takes any (IQN: K = R), at ``action [B]``."""


class Expected(ValueDistribution):
    """K = 1, the expected return: DQN, Mnih et al. 2015. The target is ``[B]``."""

    num_outputs = 1

    def __init__(self, loss: str, kappa: float) -> None:
        self._huber = loss == "huber"
        self._kappa = kappa

    def q(self, z: torch.Tensor) -> torch.Tensor:
        assert z.ndim == 3 and z.shape[2] == 1, z.shape
        return z.squeeze(2)

    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """``reward + discount * sum_a policy(a) (q(next state, a) + bonus(a))``."""
        inputs.check()
        next_q = self.q(inputs.z)  # [B, A]
        if inputs.bonus is not None:
            next_q = next_q + inputs.bonus
        return inputs.reward + inputs.discount * (inputs.policy * next_q).sum(1)

    def loss(
        self, z: torch.Tensor, taus: torch.Tensor | None, action: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Huber loss (d^2/2 up to |d| = kappa, then linear; kappa 1 is Nature's error clipping) or
        d^2/2. Priority: |TD error|."""
        assert taus is None, "an expected return has no quantile fractions"
        chosen = at_action(z, action).squeeze(1)  # [B]
        assert chosen.shape == target.shape, (chosen.shape, target.shape)
        error = (target - chosen).detach().abs()
        if self._huber:
            return F.huber_loss(chosen, target, reduction="none", delta=self._kappa), error
        return 0.5 * F.mse_loss(chosen, target, reduction="none"), error


def greedy_policy(q: torch.Tensor) -> torch.Tensor:
    """Probability 1 on the argmax of ``q [B, A]``, the first one if there are ties: ``[B, A]``.

    With q of the target network: DQN, Mnih et al. 2015; with q of the online network: Double DQN,
    van Hasselt et al. 2016 (arXiv 1509.06461), equation 4.
    """
    return torch.zeros_like(q).scatter_(1, q.argmax(1, keepdim=True), 1.0)


class Munchausen:
    """Softmax policy, whose log-policy is added to the reward: Vieillard et al. 2020 (arXiv
    2007.14430), equation 1. The temperature is the paper's tau, and clip_min its l0."""

    def __init__(self, config: LearnerConfig) -> None:
        self._alpha = config.munchausen_alpha
        self._temperature = config.munchausen_temperature
        self._clip_min = config.munchausen_clip_min

    def reward(self, q: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Bonus ``[B]`` to the reward: alpha times the clipped log-policy of ``action [B]`` under
        ``q [B, A]`` of the same state."""
        assert q.ndim == 2 and action.shape == q.shape[:1], (q.shape, action.shape)
        log_policy = self._log_policy(q).gather(1, action[:, None]).squeeze(1)
        return self._alpha * (self._temperature * log_policy).clamp(self._clip_min, 0)

    def policy(self, next_q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Policy ``[B, A]`` and entropy bonus ``[B, A]`` at the next state."""
        log_policy = self._log_policy(next_q)
        return log_policy.exp(), -self._temperature * log_policy

    def _log_policy(self, q: torch.Tensor) -> torch.Tensor:
        return (q / self._temperature).log_softmax(1)


def at_action(z: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """``[B, K]`` of ``z [B, A, K]`` at ``action [B]``."""
    assert z.ndim == 3 and action.shape == z.shape[:1], (z.shape, action.shape)
    return z.gather(1, action[:, None, None].expand(-1, 1, z.shape[2])).squeeze(1)
