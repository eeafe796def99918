"""Policies in the bootstrap target, with every return distribution."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from support.learners import KINDS, algorithm_1, random_batch, tiny_learner
from torch import nn

from dqn.config import LearnerConfig, OptimizerConfig
from dqn.learning.values import Munchausen, greedy


def test_greedy_breaks_ties_by_the_first_action() -> None:
    q = torch.tensor([[1.0, 3.0, 3.0], [-1.0, -2.0, -3.0]])
    assert greedy(q).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_munchausen_against_its_equation() -> None:
    alpha, tau, low = 0.7, 0.03, -1.0  # the last two are the defaults
    random = np.random.default_rng(2)
    q, next_q = random.normal(size=(4, 3)), random.normal(size=(4, 3)) * 0.05
    action = np.array([0, 1, 2, 0])
    soft = np.exp((next_q - next_q.max(1, keepdims=True)) / tau)
    soft /= soft.sum(1, keepdims=True)
    now = (q - q.max(1, keepdims=True)) / tau
    log_now = now - np.log(np.exp(now).sum(1, keepdims=True))
    munchausen = Munchausen(LearnerConfig(munchausen_alpha=alpha))
    policy, bonus = munchausen.policy(torch.from_numpy(next_q))
    np.testing.assert_allclose(policy, soft, rtol=1e-6)
    np.testing.assert_allclose(bonus, -tau * np.log(soft), rtol=1e-6)
    reward = munchausen.reward(torch.from_numpy(q), torch.from_numpy(action))
    clipped = np.clip(tau * log_now[np.arange(4), action], low, 0)
    np.testing.assert_allclose(reward, alpha * clipped, rtol=1e-6)
    assert (reward == alpha * low).any(), "some rewards are clipped"
    with pytest.raises(AssertionError):
        munchausen.reward(torch.from_numpy(q), torch.from_numpy(action)[:2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["greedy", "double", "munchausen"])
def test_each_policy_learns_with_each_distribution(policy: str, kind: str) -> None:
    """With a discount of 0 (and Munchausen's alpha 0) the reward is learned, whatever the rest."""
    fast = OptimizerConfig(learning_rate=0.03)
    learner = tiny_learner(kind, optimizer=fast, target_policy=policy, munchausen_alpha=0.0)
    batch = random_batch(0)._replace(discount=torch.zeros(16), reward=torch.ones(16))
    batch = batch._replace(action=torch.arange(16) % 3)
    for _ in range(120):
        learner.update(batch)
    q = learner.acting_q_values(batch.state)
    chosen = q.gather(1, batch.action[:, None])
    torch.testing.assert_close(chosen.detach(), torch.ones(16, 1), atol=0.1, rtol=0)


def q_restated(kind: str, z: torch.Tensor) -> torch.Tensor:
    """Expected returns for ``tiny_learner``; IQN's policy taus are the last four."""
    if kind == "expected":
        return z[:, :, 0]
    if kind == "categorical":
        return z.softmax(2) @ torch.linspace(-3, 3, 11)
    return z[:, :, -4:].mean(2) if kind == "implicit_quantile" else z.mean(2)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["greedy", "double", "munchausen"])
def test_which_network_decides_what_in_a_target(policy: str, kind: str, noisy: bool) -> None:
    """Restated literally, for two networks far apart, each with noise of its own."""
    learner = tiny_learner(kind, noisy=noisy, target_policy=policy, munchausen_temperature=0.5)
    for seed in range(40):
        learner.update(random_batch(seed))
    batch, again = random_batch(99), torch.Generator()
    again.set_state(learner._generator.get_state())
    with torch.no_grad():
        taus = None
        if kind == "implicit_quantile":
            middles = torch.tensor([0.125, 0.375, 0.625, 0.875]).expand(16, 4)
            taus = torch.cat([torch.rand(16, 5, generator=again), middles], 1)
        z = learner.target.forward_preprocessed(batch.next_state.flatten(1), again, taus)
        q, reward, bonus = q_restated(kind, z), batch.reward, torch.zeros(16, 3)
        if policy == "munchausen":
            z_now = learner.target.forward_preprocessed(batch.state.flatten(1), again)
            now = q_restated(kind, z_now)
            log_now = 0.5 * (now / 0.5).log_softmax(1)[torch.arange(16), batch.action]
            reward = reward + 0.9 * log_now.clamp(-1, 0)
            weight = (q / 0.5).softmax(1)
            bonus = -0.5 * weight.log()
        else:
            chosen = q
            if policy == "double":
                online = learner.online.forward_preprocessed(batch.next_state.flatten(1), again)
                chosen = q_restated(kind, online)
                assert (chosen.argmax(1) != q.argmax(1)).any()
            weight = nn.functional.one_hot(chosen.argmax(1), 3).float()
        if kind == "expected":
            expected = reward + batch.discount * (weight * (q + bonus)).sum(1)
        elif kind == "categorical":
            arguments = (weight, bonus, reward, batch.discount)
            expected = torch.from_numpy(
                algorithm_1(np.linspace(-3, 3, 11), z, *(x.double().numpy() for x in arguments))
            ).float()
        else:
            values = z[:, :, :5] if kind == "implicit_quantile" else z
            mixed = (weight[:, :, None] * (values + bonus[:, :, None])).sum(1)
            expected = reward[:, None] + batch.discount[:, None] * mixed
        target = learner._target(batch, learner.online.preprocess(batch.state))
    torch.testing.assert_close(target, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(learner._generator.get_state(), again.get_state()), "as many draws"


def test_the_loss_gets_the_taus_that_the_online_network_was_evaluated_at() -> None:
    learner, calls = tiny_learner("implicit_quantile"), []
    before, loss, batch = copy.deepcopy(learner.online), learner._values.loss, random_batch(7)

    def spy(*arguments: Any) -> Any:
        calls.append(arguments)
        return loss(*arguments)

    learner._values.loss = spy  # type: ignore[method-assign]
    learner.update(batch)
    ((z, taus, action, target),) = calls
    assert taus.shape == (16, 5) and target.shape == (16, 5)
    assert torch.equal(z, before.forward_preprocessed(batch.state.flatten(1), None, taus))
    assert torch.equal(action, batch.action)
