"""What the K numbers per action mean: the return's mean, or its distribution in two forms.

Every class has the same three verbs, and works with any policy that weighs the target and any bonus
for its actions (Munchausen's entropy). Shapes: B batch, A actions, K numbers per action.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F

from dqn.config import LearnerConfig, ValuesConfig
from dqn.networks.heads import midpoints


class BootstrapInputs(NamedTuple):
    """What came after the actions of a batch, as far as a target looks at it."""

    reward: torch.Tensor
    """``[B]``, the n-step return."""
    discount: torch.Tensor
    """``[B]``, of what lies beyond; 0 where nothing does."""
    z: torch.Tensor
    """``[B, A, K]`` of the next state, by the target network."""
    policy: torch.Tensor
    """``[B, A]``, the weight of each next action; rows sum to 1."""
    bonus: torch.Tensor
    """``[B, A]``, what each next action is worth beside its value."""

    def check(self) -> None:
        """One batch, one set of actions."""
        batch, actions = self.z.shape[:1], self.z.shape[:2]
        assert self.reward.shape == self.discount.shape == batch, (self.reward.shape, batch)
        assert self.policy.shape == self.bonus.shape == actions, (self.policy.shape, actions)


class ValueDistribution(Protocol):
    """What a learner asks of the meaning of its network's numbers."""

    num_outputs: int
    """K of the network's head; 1 where the network takes taus."""

    def q(self, z: torch.Tensor) -> torch.Tensor:
        """Expected returns ``[B, A]`` of ``z [B, A, K]``."""
        ...

    def online_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor | None:
        """The taus ``[B, N]`` to ask the online network for, if it takes any."""
        ...

    def target_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor | None:
        """Those ``[B, M]`` to ask the target network for, on the next state: ``q`` and ``target``
        are of the answer."""
        ...

    def target(self, after: BootstrapInputs) -> torch.Tensor:
        """What ``z`` at the action should be: ``[B, ...]``."""
        ...

    def loss(
        self,
        z: torch.Tensor,
        taus: torch.Tensor | None,
        action: torch.Tensor,
        target: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss ``[B]`` and priority ``[B]`` of ``z [B, A, K]`` at ``action [B]``."""
        ...


def make_values(values: ValuesConfig, learner: LearnerConfig) -> ValueDistribution:
    """The meaning a config chooses."""
    if values.kind == "expected":
        return Expected(learner.loss, values.kappa)
    if values.kind == "categorical":
        return Categorical(values.atoms, values.v_min, values.v_max)
    if values.kind == "quantile":
        return Quantile(values.quantiles, values.kappa)
    return ImplicitQuantile(values.num_taus, values.num_policy_taus, values.kappa)


class WithoutFractions:
    """What networks are asked for that take no taus: all that they say."""

    def online_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor | None:
        """None."""

    def target_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor | None:
        """None."""


class Expected(WithoutFractions):
    """One number per action, the expected return: plain DQN, Mnih et al. 2015."""

    num_outputs = 1

    def __init__(self, loss: str, kappa: float) -> None:
        assert loss in ("huber", "mse"), loss
        self._huber = loss == "huber"
        self._kappa = kappa

    def q(self, z: torch.Tensor) -> torch.Tensor:
        """Expected returns ``[B, A]`` of ``z [B, A, 1]``."""
        assert z.ndim == 3 and z.shape[2] == 1, z.shape
        return z.squeeze(2)  # [B, A]

    def target(self, after: BootstrapInputs) -> torch.Tensor:
        """``reward + discount * sum_a policy(a) (q(next state, a) + bonus(a))``, ``[B]``."""
        after.check()
        worth = self.q(after.z) + after.bonus  # [B, A]
        return after.reward + after.discount * (after.policy * worth).sum(1)

    def loss(
        self,
        z: torch.Tensor,
        taus: torch.Tensor | None,
        action: torch.Tensor,
        target: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss ``[B]`` and priority ``[B]`` (the absolute error) against ``target [B]``.

        Huber is d^2/2 up to |d| = kappa and kappa (|d| - kappa/2) beyond, which bounds the gradient
        by kappa: Nature's "error clipping", with 1. Squared loss is d^2/2, so that both have the
        gradient d near 0.
        """
        assert taus is None, "one number per action is of no fraction"
        chosen = self.q(_at(z, action))[:, 0]  # [B]
        assert chosen.shape == target.shape, (chosen.shape, target.shape)
        error = (target - chosen).detach().abs()
        if self._huber:
            return F.huber_loss(chosen, target, reduction="none", delta=self._kappa), error
        return 0.5 * F.mse_loss(chosen, target, reduction="none"), error


class Categorical(WithoutFractions):
    """The chances of K fixed returns: C51, Bellemare et al. 2017 (arXiv 1707.06887).

    ``z`` are their logits; the returns lie evenly from ``v_min`` to ``v_max``.
    """

    def __init__(self, atoms: int, v_min: float, v_max: float) -> None:
        assert atoms >= 2 and v_min < v_max, (atoms, v_min, v_max)
        self.num_outputs = atoms
        self._v_min, self._v_max = v_min, v_max
        self._apart = (v_max - v_min) / (atoms - 1)

    def q(self, z: torch.Tensor) -> torch.Tensor:
        """Expected returns ``[B, A]`` of the logits ``z [B, A, K]``."""
        assert z.ndim == 3 and z.shape[2] == self.num_outputs, z.shape
        return (z.softmax(2) * self._atoms(z)).sum(2)

    def target(self, after: BootstrapInputs) -> torch.Tensor:
        """Chances ``[B, K]``: the policy's mixture, moved and shrunk, each part shared between the
        two atoms beside it in proportion to its nearness (algorithm 1, equation 7)."""
        after.check()
        worth = self._atoms(after.z) + after.bonus[..., None]  # [B, A, K]
        moved = after.reward[:, None, None] + after.discount[:, None, None] * worth
        place = (moved.clamp(self._v_min, self._v_max) - self._v_min) / self._apart  # [B, A, K]
        chance = after.policy[..., None] * after.z.softmax(2)  # [B, A, K]
        atom = torch.arange(self.num_outputs, device=after.z.device)
        near = (1 - (place[..., None] - atom).abs()).clamp(min=0)  # [B, A, K, K]
        return torch.einsum("bak,bakj->bj", chance, near)

    def loss(
        self,
        z: torch.Tensor,
        taus: torch.Tensor | None,
        action: torch.Tensor,
        target: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross entropy ``[B]``, and as priority how much of it is no entropy of the target's: the
        Kullback-Leibler divergence, which alone can be learned away (Hessel et al. 2018)."""
        assert taus is None, "atoms are no fractions"
        log_chance = _at(z, action)[:, 0].log_softmax(1)  # [B, K]
        assert log_chance.shape == target.shape, (log_chance.shape, target.shape)
        loss = -(target * log_chance).sum(1)
        entropy = -torch.special.xlogy(target, target).sum(1)
        return loss, (loss.detach() - entropy).clamp(min=0)

    def _atoms(self, like: torch.Tensor) -> torch.Tensor:
        return torch.linspace(self._v_min, self._v_max, self.num_outputs, device=like.device)


class Quantile(WithoutFractions):
    """Returns at the middles of K equal parts of the distribution: QR-DQN, Dabney et al. 2017
    (arXiv 1710.10044)."""

    def __init__(self, num_outputs: int, kappa: float) -> None:
        self.num_outputs = num_outputs
        self._kappa = kappa

    def q(self, z: torch.Tensor) -> torch.Tensor:
        """Expected returns ``[B, A]``: the mean of ``z [B, A, K]`` (section 4.1)."""
        assert z.ndim == 3 and z.shape[2] == self.num_outputs, z.shape
        return z.mean(2)

    def target(self, after: BootstrapInputs) -> torch.Tensor:
        """Returns ``[B, K]``: of each fraction the policy's mean, moved and shrunk (equation 2 of
        Vieillard et al. 2020, arXiv 2007.14430, appendix B; a greedy policy takes one action's)."""
        after.check()
        worth = (after.policy[..., None] * (after.z + after.bonus[..., None])).sum(1)  # [B, K]
        return after.reward[:, None] + after.discount[:, None] * worth

    def loss(
        self,
        z: torch.Tensor,
        taus: torch.Tensor | None,
        action: torch.Tensor,
        target: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantile Huber loss ``[B]``: summed over the K taus of ``z``, mean over the target's
        (QR-DQN's equation 10 by kappa, as IQN's equation 3 has it).

        Priority: the mean absolute difference, as Clark et al. 2024 (arXiv 2411.03820); of a
        distribution with any width it is not 0 at the optimum.
        """
        chosen = _at(z, action)[:, 0]  # [B, K]
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
    """Returns at any taus: IQN, Dabney et al. 2018 (arXiv 1806.06923).

    It learns at N drawn ones, and chooses by K fixed ones, the middles of equal parts (the paper
    draws those too), so that no action is chosen for draws that came out high. On the next state
    ``z [B, A, N + K]`` holds both in this order.
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
        """``[B, N + K]``: others such, and the middles."""
        middles = midpoints(self._num_policy_taus, generator.device).expand(batch_size, -1)
        return torch.cat([self.online_taus(batch_size, generator), middles], 1)

    def q(self, z: torch.Tensor) -> torch.Tensor:
        """Expected returns ``[B, A]``: the mean of the last K of ``z [B, A, N + K]`` or ``[B, A,
        K]``."""
        counts = self._num_policy_taus, self._num_taus + self._num_policy_taus
        assert z.ndim == 3 and z.shape[2] in counts, z.shape
        return z[:, :, -self._num_policy_taus :].mean(2)

    def target(self, after: BootstrapInputs) -> torch.Tensor:
        """Returns ``[B, N]`` of ``after.z [B, A, N + K]``, as at fixed taus."""
        return super().target(after._replace(z=after.z[:, :, : self._num_taus]))


def _at(z: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """``[B, 1, K]`` of ``z [B, A, K]`` at ``action [B]``."""
    assert z.ndim == 3 and action.shape == z.shape[:1], (z.shape, action.shape)
    return z.gather(1, action[:, None, None].expand(-1, 1, z.shape[2]))
