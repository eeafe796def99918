"""What a network's K outputs per action represent: the expected return, or its distribution.

Each class works with any policy in the bootstrap target and any bonus to its actions' values
(Munchausen's entropy). Shapes: B batch, A actions, K outputs per action.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F

from dqn.config import LearnerConfig, ValuesConfig
from dqn.networks.heads import midpoints


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
    bonus: torch.Tensor
    """``[B, A]`` added to each next action's value."""

    def check(self) -> None:
        """Assert that the shapes agree."""
        batch, actions = self.z.shape[:1], self.z.shape[:2]
        assert self.reward.shape == self.discount.shape == batch, (self.reward.shape, batch)
        assert self.policy.shape == self.bonus.shape == actions, (self.policy.shape, actions)


class ValueDistribution(ABC):
    """The return distribution that ``z [B, A, K]`` parametrises."""

    num_outputs: int
    """K of the network's head; 1 for IQN, whose network is evaluated at any number of taus."""

    def online_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor | None:  # noqa: ARG002
        """Quantile fractions ``[B, N]`` at which to evaluate the online network; None if it takes
        none."""
        return None

    def target_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor | None:  # noqa: ARG002
        """Quantile fractions at which to evaluate the target network; None if it takes none."""
        return None

    @abstractmethod
    def q(self, z: torch.Tensor) -> torch.Tensor:
        """Expected returns ``[B, A]`` of ``z [B, A, K]``."""

    @abstractmethod
    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """What ``z`` should represent at the action taken: ``[B]`` or ``[B, K]``, see the class."""

    @abstractmethod
    def loss(
        self, z: torch.Tensor, taus: torch.Tensor | None, action: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss ``[B]`` and priority ``[B]`` of ``z [B, A, K]``, evaluated at ``taus [B, K]`` if the
        network takes any, at ``action [B]``."""


class Expected(ValueDistribution):
    """K = 1, the expected return: DQN, Mnih et al. 2015. The target is ``[B]``."""

    num_outputs = 1

    def __init__(self, loss: str, kappa: float) -> None:
        assert loss in ("huber", "mse"), loss
        self._huber = loss == "huber"
        self._kappa = kappa

    def q(self, z: torch.Tensor) -> torch.Tensor:
        assert z.ndim == 3 and z.shape[2] == 1, z.shape
        return z.squeeze(2)

    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """``reward + discount * sum_a policy(a) (q(next state, a) + bonus(a))``."""
        inputs.check()
        next_q = self.q(inputs.z) + inputs.bonus  # [B, A]
        return inputs.reward + inputs.discount * (inputs.policy * next_q).sum(1)

    def loss(
        self, z: torch.Tensor, taus: torch.Tensor | None, action: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Huber loss (d^2/2 up to |d| = kappa, then linear; kappa 1 is Nature's error clipping) or
        d^2/2. Priority: |TD error|."""
        assert taus is None, "an expected return has no quantile fractions"
        chosen = _chosen(z, action).squeeze(1)  # [B]
        assert chosen.shape == target.shape, (chosen.shape, target.shape)
        error = (target - chosen).detach().abs()
        if self._huber:
            return F.huber_loss(chosen, target, reduction="none", delta=self._kappa), error
        return 0.5 * F.mse_loss(chosen, target, reduction="none"), error


class Categorical(ValueDistribution):
    """Logits of K atoms, evenly spaced from ``v_min`` to ``v_max``: C51, Bellemare et al. 2017
    (arXiv 1707.06887). The target is probabilities ``[B, K]``."""

    def __init__(self, atoms: int, v_min: float, v_max: float) -> None:
        assert atoms >= 2 and v_min < v_max, (atoms, v_min, v_max)
        self.num_outputs = atoms
        self._v_min, self._v_max = v_min, v_max
        self._spacing = (v_max - v_min) / (atoms - 1)

    def q(self, z: torch.Tensor) -> torch.Tensor:
        assert z.ndim == 3 and z.shape[2] == self.num_outputs, z.shape
        return (z.softmax(2) * self._atoms(z)).sum(2)

    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """The policy's mixture of the shifted and scaled distributions, projected onto the atoms
        (algorithm 1, equation 7)."""
        inputs.check()
        values = self._atoms(inputs.z) + inputs.bonus[..., None]  # [B, A, K]
        moved = inputs.reward[:, None, None] + inputs.discount[:, None, None] * values
        place = (moved.clamp(self._v_min, self._v_max) - self._v_min) / self._spacing  # [B, A, K]
        probability = inputs.policy[..., None] * inputs.z.softmax(2)  # [B, A, K]
        atom = torch.arange(self.num_outputs, device=inputs.z.device)
        share = (1 - (place[..., None] - atom).abs()).clamp(min=0)  # [B, A, K, K]
        return torch.einsum("bak,bakj->bj", probability, share)

    def loss(
        self, z: torch.Tensor, taus: torch.Tensor | None, action: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross entropy. Priority: KL(target || prediction), as Hessel et al. 2018 (arXiv
        1710.02298)."""
        assert taus is None, "atoms have no quantile fractions"
        log_probability = _chosen(z, action).log_softmax(1)  # [B, K]
        assert log_probability.shape == target.shape, (log_probability.shape, target.shape)
        loss = -(target * log_probability).sum(1)
        entropy = -torch.special.xlogy(target, target).sum(1)
        return loss, (loss.detach() - entropy).clamp(min=0)

    def _atoms(self, like: torch.Tensor) -> torch.Tensor:
        return torch.linspace(self._v_min, self._v_max, self.num_outputs, device=like.device)


class Quantile(ValueDistribution):
    """Quantiles at the midpoints of K equal parts of [0, 1]: QR-DQN, Dabney et al. 2017 (arXiv
    1710.10044). The target is returns ``[B, K]``."""

    def __init__(self, num_outputs: int, kappa: float) -> None:
        self.num_outputs = num_outputs
        self._kappa = kappa

    def q(self, z: torch.Tensor) -> torch.Tensor:
        """The mean quantile (section 4.1)."""
        assert z.ndim == 3 and z.shape[2] == self.num_outputs, z.shape
        return z.mean(2)

    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """Each quantile's mean under the policy, shifted and scaled (Vieillard et al. 2020, arXiv
        2007.14430, appendix B, equation 2)."""
        inputs.check()
        values = inputs.z + inputs.bonus[..., None]  # [B, A, K]
        mean = (inputs.policy[..., None] * values).sum(1)  # [B, K]
        return inputs.reward[:, None] + inputs.discount[:, None] * mean

    def loss(
        self, z: torch.Tensor, taus: torch.Tensor | None, action: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantile Huber loss: summed over the quantiles of ``z``, averaged over the target's
        (QR-DQN's equation 10 over kappa, as in IQN's equation 3).

        Priority: mean absolute difference, as Clark et al. 2024 (arXiv 2411.03820); at the optimum
        it is 0 only if the return is deterministic.
        """
        chosen = _chosen(z, action)  # [B, K]
        if taus is None:
            taus = midpoints(self.num_outputs, chosen.device).expand(len(chosen), -1)
        assert taus.shape == chosen.shape, (taus.shape, chosen.shape)
        assert target.ndim == 2 and len(target) == len(chosen), (target.shape, chosen.shape)
        error = target[:, None, :] - chosen[:, :, None]  # [B, K, K of the target]
        weight = (taus[:, :, None] - (error.detach() < 0).float()).abs()
        huber = F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self._kappa)
        loss = (weight * huber / self._kappa).mean(2).sum(1)
        return loss, error.detach().abs().mean((1, 2))


class ImplicitQuantile(Quantile):
    """Quantiles at any taus: IQN, Dabney et al. 2018 (arXiv 1806.06923).

    Learns at N random taus, and acts by the mean at K fixed midpoints, where the paper draws those
    too: so actions do not depend on the draw. At the next state ``z [B, A, N + K]`` has both.
    """

    def __init__(self, num_taus: int, num_policy_taus: int, kappa: float) -> None:
        super().__init__(1, kappa)
        self._num_taus = num_taus
        self._num_policy_taus = num_policy_taus

    def online_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """``[B, N]``, uniform (equation 3)."""
        shape = batch_size, self._num_taus
        return torch.rand(shape, device=generator.device, generator=generator)

    def target_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """``[B, N + K]``: N uniform ones, then the K midpoints."""
        policy_taus = midpoints(self._num_policy_taus, generator.device).expand(batch_size, -1)
        return torch.cat([self.online_taus(batch_size, generator), policy_taus], 1)

    def q(self, z: torch.Tensor) -> torch.Tensor:
        """The mean of the last K of ``z [B, A, N + K]`` or ``[B, A, K]``."""
        counts = self._num_policy_taus, self._num_taus + self._num_policy_taus
        assert z.ndim == 3 and z.shape[2] in counts, z.shape
        return z[:, :, -self._num_policy_taus :].mean(2)

    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """Returns ``[B, N]`` at the N random taus."""
        return super().target(inputs._replace(z=inputs.z[:, :, : self._num_taus]))


def make_values(values: ValuesConfig, learner: LearnerConfig) -> ValueDistribution:
    """The return distribution described by a config."""
    if values.kind == "expected":
        return Expected(learner.loss, values.kappa)
    if values.kind == "categorical":
        return Categorical(values.atoms, values.v_min, values.v_max)
    if values.kind == "quantile":
        return Quantile(values.quantiles, values.kappa)
    return ImplicitQuantile(values.num_taus, values.num_policy_taus, values.kappa)


def _chosen(z: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """``[B, K]`` of ``z [B, A, K]`` at ``action [B]``."""
    assert z.ndim == 3 and action.shape == z.shape[:1], (z.shape, action.shape)
    return z.gather(1, action[:, None, None].expand(-1, 1, z.shape[2])).squeeze(1)
