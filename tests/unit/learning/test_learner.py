"""The update against a literal one in numpy and double precision."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from support.learners import random_batch, tiny_learner, weights

from dqn.config import OptimizerConfig
from dqn.learning.learner import METRICS, Learner
from dqn.types import Batch


class Literal:
    """The learner's update in numpy and double precision: a two-layer network, Adam."""

    def __init__(self, learner: Learner, loss: str, tau: float) -> None:
        self.online = [p.detach().double().numpy().copy() for p in learner.online.parameters()]
        self.target = [p.copy() for p in self.online]
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.online]
        self.loss, self.tau, self.updates = loss, tau, 0

    @staticmethod
    def forward(weights: list[Any], state: Any) -> tuple[Any, Any]:
        w1, b1, w2, b2 = weights
        hidden = np.maximum(state @ w1.T + b1, 0)
        return hidden, hidden @ w2.T + b2

    def update(self, batch: Batch) -> tuple[Any, float, float]:
        state, action, reward, discount, next_state, weight, _ = (
            part.double().numpy() if part.is_floating_point() else part.numpy() for part in batch
        )
        size = len(action)
        state, next_state = state.reshape(size, 2), next_state.reshape(size, 2)
        _, next_q = self.forward(self.target, next_state)
        wanted = reward + discount * next_q.max(1)
        hidden, q = self.forward(self.online, state)
        error = q[np.arange(size), action] - wanted
        small = (np.abs(error) <= 1) | (self.loss == "mse")
        losses = np.where(small, error**2 / 2, np.abs(error) - 0.5)
        slope = np.where(small, error, np.sign(error)) * weight / size
        on_q = np.zeros_like(q)
        on_q[np.arange(size), action] = slope
        on_hidden = (on_q @ self.online[2]) * (hidden > 0)
        gradient = [on_hidden.T @ state, on_hidden.sum(0), on_q.T @ hidden, on_q.sum(0)]
        norm = float(np.sqrt(sum((g**2).sum() for g in gradient)))
        self.updates += 1
        for i, g in enumerate(gradient):
            first, second = self.moments[i]
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            self.moments[i] = first, second
            root = np.sqrt(second / (1 - 0.999**self.updates)) + 1.5e-4
            self.online[i] -= 0.01 * first / (1 - 0.9**self.updates) / root
        return np.abs(error), float((weight * losses).mean()), norm

    def sync(self) -> None:
        pairs = zip(self.target, self.online, strict=True)
        self.target = [target + self.tau * (online - target) for target, online in pairs]


@pytest.mark.parametrize("tau", [1.0, 0.3])
@pytest.mark.parametrize("loss", ["huber", "mse"])
def test_the_whole_update_against_a_literal_one(loss: str, tau: float) -> None:
    """40 updates with weights, ends and errors on both sides of 1, the target moved every 7."""
    learner = tiny_learner(loss=loss, target_tau=tau)
    literal = Literal(learner, loss, tau)
    sums = np.zeros(len(METRICS))
    both_sides = set()
    for step in range(40):
        batch = random_batch(step, scale=2.0)
        priority = learner.update(batch)
        error, mean_loss, norm = literal.update(batch)
        np.testing.assert_allclose(priority, error, rtol=1e-4, atol=1e-4)
        both_sides |= set((error > 1).tolist())
        sums += [mean_loss, error.mean(), norm]
        if step % 7 == 6:
            learner.sync_target()
            literal.sync()
    assert both_sides == {True, False}
    for ours, theirs in ((learner.online, literal.online), (learner.target, literal.target)):
        expected = np.concatenate([weight.ravel() for weight in theirs])
        np.testing.assert_allclose(weights(ours), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(learner.sums, sums, rtol=1e-4)
    assert learner.summed == learner.updates == 40


def test_only_the_chosen_actions_weights_move_the_head() -> None:
    learner, batch = tiny_learner(), random_batch(1)
    before = learner.online.head.advantage[2].weight.detach().clone()
    learner.update(batch._replace(action=torch.full_like(batch.action, 2)))
    moved = (learner.online.head.advantage[2].weight != before).any(1)
    assert moved.tolist() == [False, False, True]


def test_a_batch_of_weight_zero_changes_no_parameter() -> None:
    learner = tiny_learner()
    before = weights(learner.online)
    learner.update(random_batch(1)._replace(weight=torch.zeros(16)))
    assert torch.equal(weights(learner.online), before)


def test_the_next_state_of_a_terminal_does_not_matter() -> None:
    ours, theirs = tiny_learner(), tiny_learner()
    batch = random_batch(1)._replace(discount=torch.zeros(16))
    ours.update(batch)
    theirs.update(batch._replace(next_state=1e3 * batch.next_state))
    assert torch.equal(weights(ours.online), weights(theirs.online))


def applied_gradient(**limits: Any) -> tuple[torch.Tensor, float]:
    """The gradient used by the optimizer, and the norm reported, in one steep update."""
    learner = tiny_learner(loss="mse", **limits)
    learner.update(random_batch(1, scale=100.0))
    parts = [p.grad.flatten() for p in learner.online.parameters() if p.grad is not None]
    return torch.cat(parts), float(learner.sums[METRICS.index("gradient_norm")])


def test_gradient_clipping_by_global_norm() -> None:
    plain, norm = applied_gradient()
    assert norm == pytest.approx(float(plain.norm())) and norm > 10
    by_norm, norm_before = applied_gradient(max_gradient_norm=2.0)
    assert norm_before == norm, "what is reported is the norm before clipping"
    np.testing.assert_allclose(by_norm, plain * 2 / norm, rtol=1e-4)
    assert torch.equal(applied_gradient(max_gradient_norm=2 * norm)[0], plain)


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_the_target_network_starts_equal_and_changes_in_sync_target_only(tau: float) -> None:
    learner = tiny_learner(target_tau=tau)
    first = weights(learner.online)
    assert not any(parameter.requires_grad for parameter in learner.target.parameters())
    assert torch.equal(weights(learner.target), first)
    for step in range(5):
        learner.update(random_batch(step))
    assert torch.equal(weights(learner.target), first)
    learner.sync_target()
    target, online = weights(learner.target), weights(learner.online)
    torch.testing.assert_close(target, (1 - tau) * first + tau * online)
    assert tau != 1 or torch.equal(target, online)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_restored_learner_continues_to_the_bit(name: Any) -> None:
    ours, theirs = (tiny_learner(optimizer=OptimizerConfig(name, 0.01)) for _ in range(2))
    for step in range(3):
        ours.update(random_batch(step))
        theirs.update(random_batch(step + 50))
    ours.sync_target()
    state = ours.state_dict()
    theirs.load_state_dict(copy.deepcopy(state))
    for step in range(3, 6):
        assert torch.equal(ours.update(random_batch(step)), theirs.update(random_batch(step)))
    assert torch.equal(ours.sums, theirs.sums)
    assert ours.updates == theirs.updates == 6 and ours.summed == theirs.summed


@pytest.mark.gpu
def test_a_batch_may_come_from_the_cpu_to_a_learner_on_the_gpu() -> None:
    learner, on_cpu = tiny_learner(device="cuda"), tiny_learner()
    for step in range(5):
        ours, theirs = learner.update(random_batch(step)), on_cpu.update(random_batch(step))
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=1e-5)
