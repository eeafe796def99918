"""Return distributions against hand-computed tables or a literal restatement."""

import math

import numpy as np
import pytest
import torch
from support.learners import algorithm_1, generator, tiny_learner

from dqn.learning.distributions import Categorical, Quantile
from dqn.learning.values import BootstrapInputs, Expected


def test_expected_q_and_target_by_hand() -> None:
    values = Expected("huber", 1.0)
    inputs = BootstrapInputs(
        reward=torch.tensor([1.0, -1.0, 0.5]),
        discount=torch.tensor([0.9, 0.0, 0.81]),
        z=torch.tensor([[[1.0], [3.0]], [[100.0], [7.0]], [[2.0], [4.0]]]),
        policy=torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]),
        bonus=torch.tensor([[9.0, 0.0], [5.0, 5.0], [1.0, 3.0]]),
    )
    expected = [1 + 0.9 * 3, -1, 0.5 + 0.81 * 5]
    np.testing.assert_allclose(values.target(inputs), expected, rtol=1e-6)
    assert values.q(inputs.z).tolist() == [[1, 3], [100, 7], [2, 4]]


@pytest.mark.parametrize(
    "loss, kappa, error, expected, slope",
    [
        ("huber", 1.0, 0.0, 0.0, 0.0),
        ("huber", 1.0, 0.5, 0.125, 0.5),
        ("huber", 1.0, -0.5, 0.125, -0.5),
        ("huber", 1.0, 1.0, 0.5, 1.0),
        ("huber", 1.0, 3.0, 2.5, 1.0),
        ("huber", 1.0, -3.0, 2.5, -1.0),
        ("huber", 2.0, 1.5, 1.125, 1.5),
        ("huber", 2.0, -5.0, 8.0, -2.0),  # 2 (|d| - 1)
        ("mse", 1.0, 0.5, 0.125, 0.5),
        ("mse", 1.0, 1.0, 0.5, 1.0),
        ("mse", 1.0, -3.0, 4.5, -3.0),
    ],
)
def test_loss_by_hand(loss: str, kappa: float, error: float, expected: float, slope: float) -> None:
    """The loss depends on the chosen action alone; ``slope`` is its gradient."""
    z = torch.tensor([[[7.0], [2.0 + error], [-9.0]]], requires_grad=True)
    value, priority = Expected(loss, kappa).loss(z, None, torch.tensor([1]), torch.tensor([2.0]))
    value.sum().backward()
    assert value.tolist() == pytest.approx([expected])
    assert priority.tolist() == pytest.approx([abs(error)]) and not priority.requires_grad
    assert z.grad is not None
    assert z.grad.flatten().tolist() == pytest.approx([0, slope, 0])


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(AssertionError):
        Expected("hubert", 1.0)


NO_BONUS = torch.zeros(1, 2)


def logits(*rows: list[float]) -> torch.Tensor:
    """``[1, A, K]`` logits of these probabilities."""
    return torch.tensor([rows]).log()


def test_categorical_q_by_hand() -> None:
    values = Categorical(3, -1.0, 1.0)
    z = logits([0.5, 0.25, 0.25], [0.1, 0.1, 0.8])
    torch.testing.assert_close(values.q(z), torch.tensor([[-0.25, 0.7]]))


@pytest.mark.parametrize(
    "reward, discount, expected",
    [
        (0.0, 1.0, [0.2, 0.3, 0.5]),  # unchanged
        (0.0, 0.0, [0.0, 1.0, 0.0]),  # terminal: all on 0
        (0.25, 0.0, [0.0, 0.75, 0.25]),  # between two atoms, in proportion
        (9.0, 1.0, [0.0, 0.0, 1.0]),  # clipped to the last atom
        (-9.0, 1.0, [1.0, 0.0, 0.0]),
        (0.0, 0.5, [0.1, 0.1 + 0.3 + 0.25, 0.25]),  # -1/2 and 1/2 are halfway
    ],
)
def test_categorical_target_by_hand(reward: float, discount: float, expected: list[float]) -> None:
    values = Categorical(3, -1.0, 1.0)
    z = logits([1.0, 0.0, 0.0], [0.2, 0.3, 0.5])
    policy = torch.tensor([[0.0, 1.0]])
    inputs = BootstrapInputs(torch.tensor([reward]), torch.tensor([discount]), z, policy, NO_BONUS)
    torch.testing.assert_close(values.target(inputs), torch.tensor([expected]))


def test_categorical_target_against_algorithm_1() -> None:
    """51 atoms, soft policies and bonuses, in double precision, row by row."""
    random = np.random.default_rng(0)
    atoms = np.linspace(-10, 10, 51)
    z = torch.randn(6, 4, 51, generator=generator())
    policy = random.dirichlet(np.ones(4), 6)
    bonus = random.uniform(0, 2, (6, 4))
    reward, discount = random.uniform(-3, 3, 6), random.choice([0.99, 0.0, 0.9], 6)
    expected = algorithm_1(atoms, z, policy, bonus, reward, discount)
    parts = [torch.from_numpy(x).float() for x in (reward, discount, policy, bonus)]
    inputs = BootstrapInputs(*parts[:2], z, *parts[2:])
    target = Categorical(51, -10.0, 10.0).target(inputs)
    np.testing.assert_allclose(target, expected, atol=2e-6)
    np.testing.assert_allclose(target.sum(1), 1, rtol=1e-5)


def test_categorical_loss_and_priority_by_hand() -> None:
    """Cross entropy, and KL divergence: 0 if the probabilities are the target's."""
    values = Categorical(2, 0.0, 1.0)
    z = logits([0.5, 0.5], [0.25, 0.75]).requires_grad_()
    loss, priority = values.loss(z, None, torch.tensor([1]), torch.tensor([[0.5, 0.5]]))
    expected = -0.5 * math.log(0.25) - 0.5 * math.log(0.75)
    assert loss.tolist() == pytest.approx([expected])
    assert priority.tolist() == pytest.approx([expected - math.log(2)])
    loss.sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, torch.tensor([[[0.0, 0.0], [-0.25, 0.25]]]))
    _, zero = values.loss(z, None, torch.tensor([1]), torch.tensor([[0.25, 0.75]]))
    assert zero.tolist() == pytest.approx([0], abs=1e-7)
    _, certain = values.loss(z, None, torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
    assert certain.tolist() == pytest.approx([math.log(2)])


def test_quantile_q_and_target_by_hand() -> None:
    values = Quantile(2, 1.0)
    z = torch.tensor([[[1.0, 3.0], [4.0, 6.0]]])
    assert values.q(z).tolist() == [[2.0, 5.0]]
    arguments = torch.tensor([1.0]), torch.tensor([0.5]), z
    best = values.target(BootstrapInputs(*arguments, torch.tensor([[0.0, 1.0]]), NO_BONUS))
    assert best.tolist() == [[3.0, 4.0]]
    mixed = BootstrapInputs(*arguments, torch.tensor([[0.5, 0.5]]), torch.tensor([[2.0, 0.0]]))
    soft = values.target(mixed)
    assert soft.tolist() == [[1 + 0.5 * 3.5, 1 + 0.5 * 5.5]]


@pytest.mark.parametrize("kappa", [1.0, 0.5])
@pytest.mark.parametrize("drawn", [True, False])
def test_quantile_loss_against_its_equation(kappa: float, drawn: bool) -> None:
    random = np.random.default_rng(1)
    z, target = random.normal(size=(5, 3, 4)) * 2, random.normal(size=(5, 6)) * 2
    action = random.integers(3, size=5)
    taus = random.uniform(size=(5, 4)) if drawn else np.tile((np.arange(4) + 0.5) / 4, (5, 1))
    expected, sizes = np.zeros(5), np.zeros(5)
    for b, i, j in np.ndindex(5, 4, 6):
        u = target[b, j] - z[b, action[b], i]
        huber = u * u / 2 if abs(u) <= kappa else kappa * (abs(u) - kappa / 2)
        expected[b] += abs(taus[b, i] - (u < 0)) * huber / kappa / 6
        sizes[b] += abs(u) / 24
    numbers = torch.from_numpy(z).float().requires_grad_()
    loss, priority = Quantile(4, kappa).loss(
        numbers,
        torch.from_numpy(taus).float() if drawn else None,
        torch.from_numpy(action),
        torch.from_numpy(target).float(),
    )
    np.testing.assert_allclose(loss.detach(), expected, rtol=1e-5)
    np.testing.assert_allclose(priority, sizes, rtol=1e-5)
    loss.sum().backward()
    assert numbers.grad is not None
    others = torch.ones(5, 3, dtype=torch.bool)
    others[torch.arange(5), torch.from_numpy(action)] = False
    assert (numbers.grad[others] == 0).all()


def test_quantiles_are_learned() -> None:
    """Of the returns 0 (probability .3) and 10: quantiles below .3 become 0, the others 10."""
    z = torch.zeros(1, 1, 10, requires_grad=True)
    values = Quantile(10, 0.01)
    optimizer = torch.optim.Adam([z], 0.1)
    target = torch.tensor([[0.0] * 3 + [10.0] * 7])
    for _ in range(500):
        optimizer.zero_grad()
        values.loss(z, None, torch.tensor([0]), target)[0].sum().backward()
        optimizer.step()
    expected = torch.tensor([0.0] * 3 + [10.0] * 7)
    torch.testing.assert_close(z.detach().flatten(), expected, atol=0.3, rtol=0)


@pytest.mark.parametrize(
    "kind, outputs",
    [("expected", 1), ("categorical", 11), ("quantile", 7), ("implicit_quantile", 4)],
)
def test_wrong_shapes_are_refused(kind: str, outputs: int) -> None:
    values, one, pairs = tiny_learner(kind)._values, torch.ones(5), torch.ones(5, 3)
    z, action = torch.zeros(5, 3, outputs), torch.zeros(5, dtype=torch.int64)
    taus = torch.rand(5, 4, generator=generator()) if kind == "implicit_quantile" else None
    assert values.q(z).shape == (5, 3)
    assert values.target(BootstrapInputs(one, one, z, pairs, pairs)).shape[0] == 5
    for shape in ((5, 3), (5, outputs), (5, 3, outputs - 1), (5, 3, outputs + 1)):
        with pytest.raises(AssertionError):
            values.q(torch.zeros(shape))
    for reward in (one[:, None], one[:1], one[:4]):
        with pytest.raises(AssertionError):
            values.target(BootstrapInputs(reward, one, z, pairs, pairs))
    with pytest.raises(AssertionError):
        values.target(BootstrapInputs(one, one, z, torch.ones(5, 4), pairs))
    for shape in ((1,), (4,), (1, 6), (1, 1), (5, 1) if kind == "expected" else (5,)):
        with pytest.raises(AssertionError):
            values.loss(z, taus, action, torch.zeros(shape))
