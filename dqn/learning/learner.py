"""One update of the online network, and the moves of the target network.

What differs between members of the DQN family is handed in: the network, what its numbers mean
(``ValueDistribution``), and the batch, whose reward and discount already account for n, gamma and
episode ends.
"""

import copy

import torch
from torch import nn

from dqn.config import LearnerConfig, OptimizerConfig
from dqn.learning.nonfinite import NonFiniteGuard
from dqn.learning.optimizers import make_optimizer
from dqn.learning.policies import Munchausen, greedy
from dqn.learning.values import BootstrapInputs, ValueDistribution
from dqn.networks.q_network import QNetwork
from dqn.types import Batch, State

METRICS = ("loss", "td_error", "gradient_norm")
"""What is summed over the updates, in this order."""


class Learner:
    """Online net, target net, optimiser."""

    def __init__(
        self,
        network: QNetwork,
        values: ValueDistribution,
        optimizer: OptimizerConfig,
        learner: LearnerConfig,
        generator: torch.Generator,
    ) -> None:
        """``generator`` are noise and fractions; their device is the learner's."""
        self._config = learner
        self._device = device = generator.device
        self._generator = generator
        self._munchausen = Munchausen(
            learner.munchausen_alpha, learner.munchausen_temperature, learner.munchausen_clip_min
        )
        self._values = values
        self.online = network.place(device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        # Looked up once: to walk a small network takes longer than to move it.
        self._parameters = list(self.online.parameters())
        ours, theirs = self.target.state_dict().values(), self.online.state_dict().values()
        self._followed = list(zip(ours, theirs, strict=True))
        self._optimizer = make_optimizer(optimizer, self.online)
        # All that an update changes is on the device, so that it can be captured there.
        self._rate = torch.full((), optimizer.learning_rate, device=device)
        self._updates = torch.zeros((), dtype=torch.int64, device=device)
        self.sums = torch.zeros(len(METRICS), device=device)
        """Sums of METRICS over ``summed`` updates, since ``pop_means``."""
        self._summed = torch.zeros((), dtype=torch.int64, device=device)
        self.nonfinite = NonFiniteGuard(device)

    @property
    def converged(self) -> bool:
        """A network is never done."""
        return False

    def acting_q_values(self, state: torch.Tensor) -> torch.Tensor:
        """``[B, A]`` by the online network, for acting in training: if it has noise, that is there
        to explore."""
        return self._values.q(self.online(state, self._generator))

    @property
    def updates(self) -> int:
        """How many there have been; waits for the device."""
        return int(self._updates)

    @property
    def summed(self) -> int:
        """Updates since ``pop_means``; waits for the device."""
        return int(self._summed)

    @property
    def learning_rate(self) -> float:
        """Step size of the optimiser; to read it is to wait for the device."""
        return float(self._rate)

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._rate.fill_(rate)

    def center_on(self, states: torch.Tensor) -> None:
        """Both networks subtract the mean of ``states [M, S, *frame]`` from what they see."""
        for network in (self.online, self.target):
            network.center_on(states.to(self._device))

    def update(self, batch: Batch) -> torch.Tensor:
        """One step of gradient descent on a batch; returns the new priorities ``[B]``."""
        batch = Batch(*(part.to(self._device) for part in batch))  # a replay may live elsewhere
        with torch.no_grad():
            seen = self.online.preprocess(batch.state)
            target = self._target(batch, seen)
        taus = self._values.online_taus(len(batch.action), self._generator)
        z = self.online.forward_features(seen, self._generator, taus)
        loss, priority = self._values.loss(z, taus, batch.action, target)
        mean_loss = (batch.weight * loss).mean()
        for parameter in self._parameters:
            parameter.grad = None
        mean_loss.backward()
        norm = self._limit_gradient()
        self._optimizer.step(self._rate)
        self._updates += 1
        measures = torch.stack([mean_loss.detach(), priority.mean(), norm])
        self.nonfinite.look(batch, measures)
        self.sums += measures
        self._summed += 1
        return priority

    def _target(self, batch: Batch, seen: torch.Tensor) -> torch.Tensor:
        """What the online network's numbers should be, by the target network: ``[B, ...]``.

        ``seen`` is what the networks see of ``batch.state``.
        """
        next_seen = self.online.preprocess(batch.next_state)
        taus = self._values.target_taus(len(batch.action), self._generator)
        next_z = self.target.forward_features(next_seen, self._generator, taus)  # [B, A, K]
        next_q = self._values.q(next_z)  # [B, A]
        reward, bonus = batch.reward, torch.zeros_like(next_q)
        if self._config.target_policy == "munchausen":
            q = self._values.q(self.target.forward_features(seen, self._generator))
            reward = reward + self._munchausen.reward(q, batch.action)
            policy, bonus = self._munchausen.policy(next_q)
        elif self._config.target_policy == "double":
            policy = greedy(
                self._values.q(self.online.forward_features(next_seen, self._generator))
            )
        else:
            policy = greedy(next_q)
        return self._values.target(BootstrapInputs(reward, batch.discount, next_z, policy, bonus))

    def pop_means(self) -> dict[str, float | None]:
        """Mean of each of METRICS over the updates since the last call; waits for the device."""
        means: dict[str, float | None] = dict.fromkeys(METRICS)
        if summed := self.summed:
            sums = self.sums.tolist()
            means = {name: sums[i] / summed for i, name in enumerate(METRICS)}
        self.sums.zero_()
        self._summed.zero_()
        return means

    def finite(self) -> bool:
        """Whether every loss, gradient and weight was a number so far; waits for the device."""
        weights = (parameter.isfinite().all() for parameter in self._parameters)
        return not self.nonfinite.seen and all(weights)

    def sync_target(self) -> None:
        """Move the target network towards the online one; all the way if ``target_tau`` is 1."""
        with torch.no_grad():
            for target, online in self._followed:
                if self._config.target_tau == 1:
                    target.copy_(online)
                else:
                    target.lerp_(online, self._config.target_tau)

    def state_dict(self) -> State:
        """Both networks, the optimiser, the count of updates and the sums not yet reported."""
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
        """The counterpart of ``state_dict``."""
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self._updates.fill_(state["updates"])
        self.sums.copy_(state["sums"])
        self._summed.fill_(state["summed"])

    def _limit_gradient(self) -> torch.Tensor:
        """Clip the gradient as configured; returns its norm before that."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self._config.max_gradient_value is not None:
            nn.utils.clip_grad_value_(self._parameters, self._config.max_gradient_value)
        if self._config.max_gradient_norm is not None:
            nn.utils.clip_grads_with_norm_(self._parameters, self._config.max_gradient_norm, norm)
        return norm
