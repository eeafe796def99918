"""Gradient updates of the online network, and updates of the target network.

Members of the DQN family differ in the network, its ``ValueDistribution``, the policy in the
bootstrap target, and the batch, whose reward and discount already account for n, gamma and episode
ends.
"""

import copy
from collections.abc import Iterator

import torch

from dqn.config import LearnerConfig, OptimizerConfig
from dqn.learning.nonfinite import NonFiniteGuard
from dqn.learning.optimizers import make_optimizer
from dqn.learning.values import BootstrapInputs, Munchausen, ValueDistribution, greedy_policy
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
        self._optimizer = make_optimizer(optimizer, self.online)  # may move the parameters
        # Looked up once: walking the modules of a small network takes longer than copying it.
        self._parameters = list(self.online.parameters())
        networks = self.target, self.online
        self._target_and_online = [list(network.state_dict().values()) for network in networks]
        # Everything that an update changes is on the device, so that it can be captured in a graph.
        self._rate = torch.full((), optimizer.learning_rate, device=device)
        self._updates = torch.zeros((), dtype=torch.int64, device=device)
        self._sums = torch.zeros(len(METRICS), device=device)
        """Sums of METRICS over the ``_summed`` updates since ``pop_means``."""
        self._summed = torch.zeros((), dtype=torch.int64, device=device)
        self.nonfinite = NonFiniteGuard(device)

    @property
    def updates(self) -> int:
        """Updates made so far; waits for the device."""
        return int(self._updates)

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

    def update(self, batch: Batch, updates: int = 1) -> torch.Tensor:
        """Make ``updates``, each with one of as many equal parts of a batch; return the new
        priorities ``[B]``. What the updates do not change is computed for all at once."""
        batch = Batch(*(part.to(self._device) for part in batch))
        values, rng, count = self._values, self._generator, len(batch.action)
        target_taus, taus = values.target_taus(count, rng), values.online_taus(count, rng)
        with torch.no_grad():
            inputs = self.online.preprocess(batch.state)
        losses, priorities, norms = [], [], []
        size = count // updates
        for i, target in enumerate(self._targets(batch, inputs, target_taus, size)):
            part = slice(i * size, (i + 1) * size)
            part_taus = None if taus is None else taus[part]
            z = self.online.forward_preprocessed(inputs[part], rng, part_taus)  # [B, A, K]
            loss, priority = values.loss(z, part_taus, batch.action[part], target)
            mean_loss = (batch.weight[part] * loss).mean()
            norms.append(self._descend(mean_loss))
            losses.append(mean_loss.detach())
            priorities.append(priority)
        new_priorities = torch.cat(priorities)
        td_errors = new_priorities.view(updates, -1).mean(1)
        metrics = torch.stack((torch.stack(losses), td_errors, torch.stack(norms)), 1)
        self.nonfinite.check(batch, metrics, self._updates)
        self._sums += metrics.sum(0)
        self._updates += updates
        self._summed += updates
        return new_priorities

    @torch.no_grad()
    def _targets(
        self, batch: Batch, inputs: torch.Tensor, taus: torch.Tensor | None, size: int
    ) -> Iterator[torch.Tensor]:
        """The bootstrap targets, see ``ValueDistribution.target``, of each part of ``size``
        transitions; ``inputs`` is the preprocessed ``batch.state``. The target network evaluates
        the whole batch; Double DQN's policy is that of the online network as it then is."""
        values, rng = self._values, self._generator
        next_inputs = self.online.preprocess(batch.next_state)
        z = self.target.forward_preprocessed(next_inputs, rng, taus)  # [B, A, K]
        reward, discount, bonus = batch.reward, batch.discount, None
        if self._config.target_policy == "double":
            for begin in range(0, len(z), size):
                part = slice(begin, begin + size)
                q = values.q(self.online.forward_preprocessed(next_inputs[part], rng))
                bootstrap = BootstrapInputs(
                    reward[part], discount[part], z[part], greedy_policy(q), None
                )
                yield values.target(bootstrap)
            return
        next_q = values.q(z)  # [B, A]
        if self._munchausen:
            q = values.q(self.target.forward_preprocessed(inputs, rng))
            reward = reward + self._munchausen.reward(q, batch.action)
            policy, bonus = self._munchausen.policy(next_q)
        else:
            policy = greedy_policy(next_q)
        yield from values.target(BootstrapInputs(reward, discount, z, policy, bonus)).split(size)

    def _descend(self, loss: torch.Tensor) -> torch.Tensor:
        """One step of gradient descent; returns the norm of the gradients before clipping."""
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        self.online.move_gradients()
        gradients = self._optimizer.gradients()
        norm = self._clip(gradients)
        self._optimizer.step(gradients, self._rate)
        self.online.refresh()
        return norm

    def pop_means(self) -> dict[str, float | None]:
        """Mean of each of METRICS since the last call; waits for the device."""
        summed, sums = int(self._summed), zip(METRICS, self._sums.tolist(), strict=True)
        means = {name: total / summed if summed else None for name, total in sums}
        self._sums.zero_()
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
            "sums": self._sums,
            "summed": int(self._summed),
        }

    def load_state_dict(self, state: State) -> None:
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self._updates.fill_(state["updates"])
        self._sums.copy_(state["sums"])
        self._summed.fill_(state["summed"])

    def _clip(self, gradients: list[torch.Tensor]) -> torch.Tensor:
        """Clip gradients as configured; returns their total norm before clipping."""
        # one flat gradient needs no norm per tensor
        (first, *others) = gradients
        parts = torch.stack(torch._foreach_norm(gradients)) if others else first  # noqa: SLF001
        norm: torch.Tensor = torch.linalg.vector_norm(parts)
        limit = self._config.max_gradient_norm
        if limit is not None:
            torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1))
        return norm
