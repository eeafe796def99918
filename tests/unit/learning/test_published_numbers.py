"""Targets and losses against the numbers in others' tests, and worked by hand from the papers.

rlax: value_learning_test.py of github.com/google-deepmind/rlax, at 4c5d25b. Dopamine:
tests/dopamine/jax/agents/rainbow/rainbow_agent_test.py of github.com/google/dopamine, at 5873f54.
"""

import math
from typing import Any

import torch

from dqn.config import LearnerConfig
from dqn.learning.distributions import Categorical, ImplicitQuantile, Quantile
from dqn.learning.values import BootstrapInputs, Expected, Munchausen, greedy_policy

LN2, LN3 = math.log(2), math.log(3)


def inputs(reward: Any, discount: Any, z: Any, policy: Any, bonus: Any = None) -> BootstrapInputs:
    policy = torch.as_tensor(policy).float()
    bonus = torch.zeros(policy.shape) if bonus is None else torch.tensor(bonus)
    parts = (torch.tensor(part).float() for part in (reward, discount, z))
    return BootstrapInputs(*parts, policy, bonus)


TD_ERRORS: dict[str, tuple[Any, ...]] = {
    "QLearningTest": (
        [[1, 1, 0], [1, 2, 0]], [1, 1], [0, 1], [[0, 1, 0], [1, 2, 0]],
        [[0, 1, 0], [1, 2, 0]], [0, 1],
    ),
    "DoubleQLearningTest": (
        [[1, 1, 0], [1, 2, 0]], [1, 1], [0, 1], [[99, 1, 98], [91, 2, 66]],
        [[2, 10, 1], [11, 20, 1]], [0, 1],
    ),
    "ExpectedSarsaTest": (
        [[1, 1, 0.5], [1, 1, 3]], [4, 1], [1, 1], [[1.5, 1, 2], [3, 2, 1]],
        [[0.2, 0.5, 0.3], [0.3, 0.4, 0.3]], [4.4, 2],
    ),
}  # fmt: skip
"""rlax: q, reward, discount, next q; what the next policy is greedy for, or in the last test that
policy; the expected error of actions 0 and 1."""


def test_expected_values_as_rlax(subtests):
    values, action = Expected("mse", 1.0), torch.tensor([0, 1])
    for name, (q, reward, discount, next_q, policy, error) in TD_ERRORS.items():
        with subtests.test(name):
            next_z = torch.tensor(next_q)[:, :, None].tolist()
            policy = torch.tensor(policy)
            policy = policy if name == "ExpectedSarsaTest" else greedy_policy(policy)
            target = values.target(inputs(reward, discount, next_z, policy))
            z, errors = torch.tensor(q).float()[:, :, None], torch.tensor(error).float()
            loss, priority = values.loss(z, None, action, target)
            torch.testing.assert_close(priority, errors)
            torch.testing.assert_close(loss, errors**2 / 2)


LOGITS = [
    [[1, 1, 1], [0, 9, 9], [0, 9, 0], [0, 0, 0]], [[9, 9, 0], [9, 0, 9], [0, 0, 0], [9, -9, 0]],
    [[1, 1, 1], [0, 9, 9], [0, 0, 0], [0, 9, 0]], [[9, 9, 0], [9, 0, 9], [0, 0, 0], [9, -9, 0]],
    [[9, 9, 0], [9, 0, 9], [0, 0, 0], [9, -9, 0]],
]  # fmt: skip
NEXT_LOGITS = [
    [[1, 1, 1], [9, 0, 9], [1, 0, 0], [0, 0, 9]], [[9, 9, 0], [9, 0, 0], [1, 1, 1], [9, -9, 0]],
    [[1, 1, 1], [9, 0, 9], [0, 0, 9], [1, 0, 0]], [[9, 9, 0], [9, 0, 0], [1, 1, 1], [9, -9, 0]],
    [[9, 9, 0], [9, 0, 0], [0, 9, 9], [9, -9, 0]],
]  # fmt: skip
SELECTOR = [[1, 0, 0, 9], [9, 0, 1, 1], [1, 9, 1, 1], [0, 1, 0, 9], [1, 1, 1, 9]]


def test_c51_losses_as_rlax():
    """CategoricalQLearningTest and CategoricalDoubleQLearningTest."""
    values, next_z = Categorical(3, 0.5, 1.5), torch.tensor(NEXT_LOGITS).float()
    action, reward, discount = [2, 1, 3, 0, 1], [0.5, 0.0, 0.5, 0.8, -0.1], [0.8, 1, 0.8, 0, 1]
    for q, expected in (
        (values.q(next_z), [8.998915, 3.6932087, 8.998915, 0.69320893, 5.1929307]),
        (torch.tensor(SELECTOR), [8.998915, 5.192931, 5.400247, 0.693209, 0.693431]),
    ):
        target = values.target(inputs(reward, discount, NEXT_LOGITS, greedy_policy(q)))
        loss, _ = values.loss(torch.tensor(LOGITS).float(), None, torch.tensor(action), target)
        torch.testing.assert_close(loss, torch.tensor(expected), rtol=1e-4, atol=0)


PROJECTIONS = [
    (0, 4, 0, 1, [0.1, 0.2, 0.1, 0.3, 0.3], [0.1, 0.2, 0.1, 0.3, 0.3]),
    (3, 7, -3, 1, [0.1, 0.2, 0.1, 0.3, 0.3], [0.7, 0.3, 0, 0, 0]),
    (3, 7, 7, -1, [0.1, 0.2, 0.1, 0.3, 0.3], [0.9, 0.1, 0, 0, 0]),
    (4, 8, -8, 2, [0.1, 0.6, 0.1, 0.1, 0.1], [0.8, 0, 0.1, 0, 0.1]),
    (3, 7, -6, 2, [0.1, 0.2, 0.3, 0.2, 0.2], [0.3, 0.3, 0, 0.2, 0.2]),
    (0, 16, 0, 0.5, [0.1, 0.2, 0.2, 0.2, 0.3], [0.2, 0.4, 0.4, 0, 0]),
    # by hand: a terminal state; both ends
    (-2, 2, 0.25, 0, [0.1, 0.2, 0.3, 0.2, 0.2], [0, 0, 0.75, 0.25, 0]),
    (-2, 2, 0, 9, [0.1, 0.2, 0.3, 0.2, 0.2], [0.3, 0, 0.3, 0, 0.4]),
]
"""Dopamine: the first and last of five atoms, moved by reward + discount * atom; probabilities."""


def test_c51_projections_as_dopamine(subtests):
    """The distribution of an action that is not chosen does not matter."""
    for first, last, reward, discount, weights, expected in PROJECTIONS:
        with subtests.test(f"{reward} + {discount} * {first}..{last}"):
            z = torch.tensor([[[0.2] * 5, weights]]).log().tolist()
            target = Categorical(5, first, last).target(inputs([reward], [discount], z, [[0, 1]]))
            torch.testing.assert_close(target, torch.tensor([expected]).float(), rtol=0, atol=1e-6)


def test_quantile_losses_as_rlax():
    """QuantileRegressionLossTest. rlax does not divide by kappa, and with 0 takes the plain
    quantile loss, which ours becomes as kappa vanishes."""
    z = torch.tensor([[[9.0, 9.0], [-1.0, 3.0]]] * 2)
    taus, target = torch.tensor([[0.2, 0.7], [0.0, 0.4]]), torch.tensor([[-3.0, 4.0, 2.0]] * 2)
    for kappa, expected in ((2.0, [2.5 / 2, 8.5 / 3 / 2]), (1e-5, [2.0, 2.2])):
        loss, priority = Quantile(2, kappa).loss(z, taus, torch.tensor([1, 1]), target)
        torch.testing.assert_close(loss, torch.tensor(expected), rtol=1e-4, atol=0)
        torch.testing.assert_close(priority, torch.full((2,), (2 + 5 + 3 + 6 + 1 + 1) / 6))


def test_quantile_targets_as_rlax():
    """QuantileLearningTest: Double Q-learning of two quantiles; its tables are ``[B, K, A]``."""
    next_z = [
        [[0, 5, 2, 2], [0, -3, 2, 2]], [[-3, -1, 4, -3], [1, 3, 1, -4]],
        [[-2, 2, -5, -7], [1, 3, 2, -2]],
    ]  # fmt: skip
    selector = [
        [[0, 7, 2, -2], [0, 4, 2, 2]], [[-3, -1, 4, 3], [1, 3, 1, 4]],
        [[-1, -2, -5, -6], [-1, -5, 2, -2]],
    ]  # fmt: skip
    values = Quantile(2, 1.0)
    z, chooser = (torch.tensor(table).float().transpose(1, 2) for table in (next_z, selector))
    policy = greedy_policy(values.q(chooser))
    assert policy.argmax(1).tolist() == [1, 3, 0]
    target = values.target(inputs([0.5, -1, 0], [0.5, 0, 1], z.tolist(), policy))
    assert target.tolist() == [[3, -1], [-1, -1], [-2, 1]]
    # the same two quantiles at drawn taus, followed by a policy tau
    iqn = ImplicitQuantile(2, 1, 1.0)
    both = torch.cat([z, torch.full((3, 4, 1), 99.0)], 2)
    assert iqn.target(inputs([0.5, -1, 0], [0.5, 0, 1], both.tolist(), policy)).equal(target)
    assert (iqn.q(both) == 99).all()


def test_munchausen_by_hand():
    """Vieillard et al. 2020, equation 1, for q-values whose softmax is (1/4, 3/4) and (1/2, 1/2):
    ``r + alpha clip(tau log pi(a|s)) + gamma sum_a pi(a|s') (q(s', a) - tau log pi(a|s'))``."""
    tau = 0.5
    config = LearnerConfig(
        munchausen_alpha=0.8, munchausen_temperature=tau, munchausen_clip_min=-0.6
    )
    munchausen, q = Munchausen(config), torch.tensor([[1.0, 1.0 + tau * LN3], [2.0, 2.0]])
    bonus = munchausen.reward(q, torch.tensor([0, 1]))
    assert -tau * 2 * LN2 < -0.6 < -tau * LN2, "the first is clipped"
    torch.testing.assert_close(bonus, torch.tensor([0.8 * -0.6, 0.8 * -tau * LN2]))
    policy, entropy = munchausen.policy(q)
    torch.testing.assert_close(policy, torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    target = Expected("mse", 1.0).target(
        BootstrapInputs(bonus, torch.tensor([0.9, 0.9]), q[:, :, None], policy, entropy)
    )
    # q - tau log pi is the same for every action: tau log sum exp(q / tau)
    soft = torch.tensor([1 + 2 * tau * LN2, 2 + tau * LN2])
    torch.testing.assert_close(target, bonus + 0.9 * soft)


def test_greedy_breaks_ties_by_the_first_action():
    q = torch.tensor([[1.0, 3.0, 3.0], [-1.0, -2.0, -3.0]])
    assert greedy_policy(q).tolist() == [[0, 1, 0], [1, 0, 0]]
