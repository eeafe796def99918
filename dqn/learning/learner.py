"""Gradient updates of the online network, and updates of the target network.

Members of the DQN family differ in the network, its ``ValueDistribution``, the policy in the
bootstrap target, and the batch, whose reward and discount already account for n, gamma and episode
ends.
"""

import copy

import torch
from torch import nn

from dqn.config import LearnerConfig, OptimizerConfig
from dqn.learning.nonfinite import NonFiniteGuard
from dqn.learning.optimizers import make_optimizer
from dqn.learning.values import BootstrapInputs, Munchausen, ValueDistribution, greedy
from dqn.networks.q_network import QNetwork
from dqn.types import Batch, State

METRICS = ("loss", "td_error", "gradient_norm")  # summed over the updates, in this order


class Learner:
    """Online network, target network and optimizer."""

    converged = False

    def __init__(
        self,
        network: QNetwork,
        values: ValueDistribution,
        optimizer: OptimizerConfig,
        learner: LearnerConfig,
        precision: str,
        generator: torch.Generator,
    ) -> None:
        """``precision`` is the networks'; ``generator`` draws noise and taus; the learner works on
        its device."""
        self._config = learner
        self._device = device = generator.device
        self._generator = generator
        self._munchausen = Munchausen(learner) if learner.target_policy == "munchausen" else None
        self._values = values
        self.online = network.place(device, precision)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        # Looked up once: walking the modules of a small network takes longer than copying it.
        self._parameters = list(self.online.parameters())
        networks = self.target, self.online
        self._target_and_online = [list(network.state_dict().values()) for network in networks]
        self._optimizer = make_optimizer(optimizer, self.online)
        # Everything that an update changes is on the device, so that it can be captured in a graph.
        self._rate = torch.full((), optimizer.learning_rate, device=device)
        self._updates = torch.zeros((), dtype=torch.int64, device=device)
        self.sums = torch.zeros(len(METRICS), device=device)
        """Sums of METRICS over the ``summed`` updates since ``pop_means``."""
        self._summed = torch.zeros((), dtype=torch.int64, device=device)
        self.nonfinite = NonFiniteGuard(device)

    def acting_q_values(self, state: torch.Tensor) -> torch.Tensor:
        """The online network's q-values ``[B, A]`` for training, with noise if it is noisy."""
        return self._values.q(self.online(state, self._generator))

    @property
    def updates(self) -> int:
        """Updates made so far; waits for the device."""
        return int(self._updates)

    @property
    def summed(self) -> int:
        """Updates since ``pop_means``; waits for the device."""
        return int(self._summed)

    @property
    def learning_rate(self) -> float:
        """The optimizer's learning rate; reading it waits for the device."""
        return float(self._rate)

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._rate.fill_(rate)

    def center_on(self, states: torch.Tensor) -> None:
        for network in (self.online, self.target):
            network.center_on(states.to(self._device))

    def update(self, batch: Batch) -> torch.Tensor:
        """One step of gradient descent on a batch; returns its new priorities ``[B]``."""
        batch = Batch(*(part.to(self._device) for part in batch))
        with torch.no_grad():
            inputs = self.online.preprocess(batch.state)
            target = self._target(batch, inputs)
        taus = self._values.online_taus(len(batch.action), self._generator)
        z = self.online.forward_preprocessed(inputs, self._generator, taus)  # [B, A, K]
        loss, priority = self._values.loss(z, taus, batch.action, target)
        mean_loss = (batch.weight * loss).mean()
        for parameter in self._parameters:
            parameter.grad = None
        mean_loss.backward()
        self.online.move_gradients()
        norm = self._clip_gradients()
        self._optimizer.step(self._rate)
        self.online.refresh()
        self._updates += 1
        metrics = torch.stack([mean_loss.detach(), priority.mean(), norm])  # as METRICS
        self.nonfinite.check(batch, metrics)
        self.sums += metrics
        self._summed += 1
        return priority

    def _target(self, batch: Batch, inputs: torch.Tensor) -> torch.Tensor:
        """The bootstrap target of a batch, see ``ValueDistribution.target``; ``inputs`` is the
        preprocessed ``batch.state``."""
        values, rng = self._values, self._generator
        next_inputs = self.online.preprocess(batch.next_state)
        taus = values.target_taus(len(batch.action), rng)
        next_z = self.target.forward_preprocessed(next_inputs, rng, taus)  # [B, A, K]
        next_q = values.q(next_z)  # [B, A]
        reward, bonus = batch.reward, None
        if self._munchausen:
            q = values.q(self.target.forward_preprocessed(inputs, rng))
            reward = reward + self._munchausen.reward(q, batch.action)
            policy, bonus = self._munchausen.policy(next_q)
        elif self._config.target_policy == "double":
            policy = greedy(values.q(self.online.forward_preprocessed(next_inputs, rng)))
        else:
            policy = greedy(next_q)
        return values.target(BootstrapInputs(reward, batch.discount, next_z, policy, bonus))

    def pop_means(self) -> dict[str, float | None]:
        """Mean of each of METRICS since the last call; waits for the device."""
        summed, sums = self.summed, zip(METRICS, self.sums.tolist(), strict=True)
        means = {name: total / summed if summed else None for name, total in sums}
        self.sums.zero_()
        self._summed.zero_()
        return means

    def finite(self) -> bool:
        """Whether all losses, gradients and weights have been finite; waits for the device."""
        weights = (parameter.isfinite().all() for parameter in self._parameters)
        return not self.nonfinite.seen and all(weights)

    def sync_target(self) -> None:
        """Move the target network towards the online one by ``target_tau``; 1 is a copy."""
        with torch.no_grad():
            target, online = self._target_and_online
            if self._config.target_tau == 1:
                torch._foreach_copy_(target, online)
            else:
                torch._foreach_lerp_(target, online, self._config.target_tau)
        self.target.refresh()

    def state_dict(self) -> State:
        return {
            "online": dict(self.online.state_dict()),
            "target": dict(self.target.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "updates": self.updates,
            "sums": self.sums,
            "summed": self.summed,
        }

    def load_state_dict(self, state: State) -> None:
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self._updates.fill_(state["updates"])
        self.sums.copy_(state["sums"])
        self._summed.fill_(state["summed"])

    def _clip_gradients(self) -> torch.Tensor:
        """Clip the gradients as configured; returns their total norm before clipping."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self._config.max_gradient_norm is not None:
            nn.utils.clip_grads_with_norm_(self._parameters, self._config.max_gradient_norm, norm)
        return norm
