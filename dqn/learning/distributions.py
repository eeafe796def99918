"""Distributions of the return: C51, QR-DQN and IQN."""

import torch
import torch.nn.functional as F

from dqn.learning.values import BootstrapInputs, ValueDistribution, at_action
from dqn.networks.quantile_head import midpoints


class Categorical(ValueDistribution):
    """Logits of K atoms, evenly spaced from ``v_min`` to ``v_max``: C51, Bellemare et al. 2017
    (arXiv 1707.06887). The target is probabilities ``[B, K]``."""

    def __init__(self, atoms: int, v_min: float, v_max: float) -> None:
        self.num_outputs = atoms
        self._v_min, self._v_max = v_min, v_max
        self._spacing = (v_max - v_min) / (atoms - 1)

    def q(self, z: torch.Tensor) -> torch.Tensor:
        assert z.ndim == 3 and z.shape[2] == self.num_outputs, z.shape
        return (z.softmax(2) * self._atoms(z)).sum(2)

    def returns(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The atoms."""
        return self._atoms(z).expand_as(z), z.softmax(2)

    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """The policy's mixture of the shifted and scaled distributions, projected onto the atoms
        (algorithm 1, equation 7)."""
        inputs.check()
        values = self._atoms(inputs.z)  # [K]
        probability = inputs.policy[..., None] * inputs.z.softmax(2)  # [B, A, K]
        if inputs.bonus is None:  # the same shift for all actions
            probability = probability.sum(1, keepdim=True)  # [B, 1, K]
        else:
            values = values + inputs.bonus[..., None]  # [B, A, K]
        moved = torch.addcmul(inputs.reward[:, None, None], inputs.discount[:, None, None], values)
        place = (moved.clamp(self._v_min, self._v_max) - self._v_min) / self._spacing
        atom = torch.arange(self.num_outputs, device=inputs.z.device)
        share = (1 - (place[..., None] - atom).abs()).clamp(min=0)  # [B, 1 or A, K, K]
        return torch.einsum("bak,bakj->bj", probability, share)

    def loss(
        self, z: torch.Tensor, taus: torch.Tensor | None, action: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross entropy. Priority: KL(target || prediction), as Hessel et al. 2018 (arXiv
        1710.02298)."""
        assert taus is None, "atoms have no quantile fractions"
        log_probability = at_action(z, action).log_softmax(1)  # [B, K]
        assert log_probability.shape == target.shape, (log_probability.shape, target.shape)
        loss = -(target * log_probability).sum(1)
        minus_entropy = torch.special.xlogy(target, target).sum(1)
        return loss, (loss.detach() + minus_entropy).clamp(min=0)

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

    def returns(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The quantiles, equally probable."""
        return z, torch.full_like(z, 1 / z.shape[2])

    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """Each quantile's mean under the policy, shifted and scaled (Vieillard et al. 2020, arXiv
        2007.14430, appendix B, equation 2)."""
        inputs.check()
        values = inputs.z if inputs.bonus is None else inputs.z + inputs.bonus[..., None]
        mean = (inputs.policy[..., None] * values).sum(1)  # [B, K]
        return inputs.reward[:, None] + inputs.discount[:, None] * mean

    def loss(
        self, z: torch.Tensor, taus: torch.Tensor | None, action: torch.Tensor, target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantile Huber loss: summed over the quantiles of ``z``, averaged over the target's
        (QR-DQN's equation 10 over kappa, as in IQN's equation 3).

        Priority: mean absolute difference over all pairs of quantiles; at the optimum it is 0 only
        if the return is deterministic.
        """
        chosen = at_action(z, action)  # [B, K]
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

    Learns at R random taus, and acts by the mean at P fixed midpoints, where the paper draws those
    too: so actions do not depend on the draw. At the next state ``z [B, A, R + P]`` has both.
    """

    def __init__(self, num_taus: int, num_policy_taus: int, kappa: float) -> None:
        super().__init__(1, kappa)
        self._num_taus = num_taus
        self._num_policy_taus = num_policy_taus

    def online_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """``[B, R]``, uniform (equation 3)."""
        shape = batch_size, self._num_taus
        return torch.rand(shape, device=generator.device, generator=generator)

    def target_taus(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """``[B, R + P]``: R uniform ones, then the P midpoints."""
        policy_taus = midpoints(self._num_policy_taus, generator.device).expand(batch_size, -1)
        return torch.cat([self.online_taus(batch_size, generator), policy_taus], 1)

    def q(self, z: torch.Tensor) -> torch.Tensor:
        """The mean of the last P of ``z [B, A, R + P]`` or ``[B, A, P]``."""
        counts = self._num_policy_taus, self._num_taus + self._num_policy_taus
        assert z.ndim == 3 and z.shape[2] in counts, z.shape
        return z[:, :, -self._num_policy_taus :].mean(2)

    def target(self, inputs: BootstrapInputs) -> torch.Tensor:
        """Returns ``[B, R]`` at the R random taus."""
        return super().target(inputs._replace(z=inputs.z[:, :, : self._num_taus]))
