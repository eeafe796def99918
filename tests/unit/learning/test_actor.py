"""Epsilon-greedy acting."""

import numpy as np
import torch
from support.learners import CPU

from dqn.learning.actor import Actor, PendingActions, make_greedy
from dqn.types import Array


def actor(seed: int = 1, best: int = 2) -> Actor:
    """Of four actions; the greedy one is the last frame's number."""

    def greedy(stack: Array) -> PendingActions:
        return lambda: np.full(len(stack), best)

    return Actor(greedy, 4, np.random.default_rng(seed))


def test_a_random_action_is_any_of_them_with_probability_epsilon():
    """Of 40,000 environments: three quarters of the random actions differ from the greedy one; five
    standard deviations are allowed."""
    counts = np.bincount(actor().act(np.zeros((40_000, 1, 1)), 0.4), minlength=4)
    expected = np.array([0.1, 0.1, 0.7, 0.1]) * 40_000
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all(), counts


def test_each_environment_has_its_epsilon():
    actions = [
        actor(seed).act(np.zeros((3, 1, 1)), np.array([0.0, 1.0, 0.0])) for seed in range(40)
    ]
    assert {a[0] for a in actions} == {a[2] for a in actions} == {2}
    assert {a[1] for a in actions} == {0, 1, 2, 3}


def test_draws_do_not_depend_on_the_network_nor_it_on_random_actions():
    stack = np.zeros((50, 1, 1))
    ours, theirs = actor(best=2).act(stack, 0.5), actor(best=3).act(stack, 0.5)
    assert set(zip(ours, theirs, strict=True)) == {(2, 3), (0, 0), (1, 1), (2, 2), (3, 3)}
    sleeper = Actor(lambda _: 1 / 0, 4, np.random.default_rng(1))  # type: ignore[arg-type]
    assert sleeper.act(stack, 1.0).shape == (50,)


def test_a_restored_actor_continues_with_the_same_draws():
    ours, theirs, stack = actor(1), actor(2), np.zeros((50, 1, 1))
    ours.act(stack, 0.5)
    theirs.load_state_dict(ours.state_dict())
    for _ in range(3):
        assert ours.act(stack, 0.5).tolist() == theirs.act(stack, 0.5).tolist()


def test_the_greedy_action_is_the_first_of_the_best():
    q = torch.tensor([[1.0, 3.0, 3.0], [-1.0, -2.0, -3.0], [0.0, 0.0, 1.0]])
    action = make_greedy(lambda state: q[state[:, 0].long()], CPU)(np.array([[2], [0], [1]]))()
    assert action.tolist() == [2, 1, 0] and action.dtype == np.int64
