"""Tabular methods and REINFORCE, each checked against its equation by hand."""

import numpy as np
import pytest
import torch

from dqn.config import ReplayConfig
from dqn.replay.buffer import Replay
from dqn.tabular.action_table import ActionTableLearner, best_value, chosen_value
from dqn.tabular.policies import EpsilonGreedy, Softmax
from dqn.tabular.policy_gradient import gradient
from dqn.tabular.reinforce import normalized, returns_to_go
from dqn.tabular.rows import Episode, EpisodeReader
from dqn.tabular.states import States, bin_index
from dqn.tabular.table import PolicyTable, ValueTable
from dqn.types import TimeStep


def make_replay(capacity: int = 40) -> Replay:
    """One environment whose frames are single numbers."""
    config = ReplayConfig(capacity=capacity)
    return Replay(config, 1, (1,), "float32", 1, 2, lambda t: t.reward, torch.Generator())


def timestep(state: int, reward: float, first: bool, last: bool, terminal: bool) -> TimeStep:
    return TimeStep(
        np.full((1, 1, 1), state, np.float32),
        np.array([reward], np.float32),
        *(np.array([flag]) for flag in (first, last, terminal)),
    )


def states(count: int, *forbidden: tuple[int, int]) -> States:
    """The frame is the number of the state."""
    allowed = np.ones((count, 2), bool)
    for pair in forbidden:
        allowed[pair] = False
    return States(lambda stack: stack[:, -1, 0].astype(np.int64), allowed)


@pytest.mark.parametrize(
    "next_value, terminal, forbidden, value_1, value_2",
    [
        (best_value, True, [], 20, 0),
        (chosen_value, True, [], 10, 0),
        (best_value, False, [], 20, 80),  # cut off by a time limit: bootstraps
        (chosen_value, False, [], 10, 40),
        (best_value, False, [(2, 1)], 20, 40),
    ],
)
def test_q_learning_and_sarsa_by_hand(next_value, terminal, forbidden, value_1, value_2):
    """States 0, 1, 2 with action 0 each, rewards 3 and 5, gamma .5, learning rate .1; initially
    q(1, .) = 10, 20 and q(2, .) = 40, 80."""
    replay, table = make_replay(), ValueTable(states(3, *forbidden))
    table.entries[1:] = [[10, 20], [40, 80]]
    learner = ActionTableLearner(table, replay, next_value, gamma=0.5, learning_rate=0.1)
    for step in (
        timestep(0, 0, True, False, False),
        timestep(1, 3, False, False, False),
        timestep(2, 5, False, True, terminal),
        timestep(0, 0, True, False, False),
    ):
        replay.add(step, np.array([0]))
        learner.learn(1)
    expected = [[0.1 * (3 + 0.5 * value_1), 0], [10 + 0.1 * (5 + 0.5 * value_2 - 10), 20], [40, 80]]
    np.testing.assert_allclose(table.entries, expected)


def test_several_rows_at_once_teach_the_same_as_one_by_one():
    tables = []
    for period in (1, 3):
        replay, generator = make_replay(), np.random.default_rng(1)
        table = ValueTable(states(4))
        learner = ActionTableLearner(table, replay, best_value, 0.9, 0.5)
        last = True
        for t in range(1, 31):
            first, last = last, t % 5 == 0
            step = timestep(int(generator.integers(4)), float(t), first, last, last and t % 2 == 0)
            replay.add(step, generator.integers(2, size=1))
            learner.learn(int(t % period == 0))
        tables.append(table.entries)
        assert learner.updates == 24
    np.testing.assert_array_equal(*tables)


def test_policy_gradient_equals_autograd_of_the_log_likelihood():
    generator = np.random.default_rng(1)
    table = PolicyTable(states(3, (1, 0)))
    table.entries[:] = generator.normal(size=(3, 2))
    state, action = np.array([0, 2, 0, 1, 0]), np.array([1, 0, 1, 1, 0])
    theta = torch.tensor(table.entries, requires_grad=True)
    masked = theta.masked_fill(~torch.from_numpy(table.states.allowed), -torch.inf)
    masked.log_softmax(1)[state, action].mean().backward()
    assert theta.grad is not None
    ours = gradient(table.probabilities(), state, action)
    np.testing.assert_allclose(ours, theta.grad.numpy(), atol=1e-12)


def test_returns_to_go_by_hand():
    reward = np.array([1.0, 2.0, 6.0])
    unused = np.zeros((3, 1, 1)), np.zeros(3, np.int64)
    returns = returns_to_go(Episode(*unused, reward, terminal=True), 0.5)
    np.testing.assert_allclose(returns, [1 + 0.5 * 5, 2 + 0.5 * 6, 6])
    future = 0.5 * 3 / (1 - 0.5)  # the mean reward forever, one step later
    returns = returns_to_go(Episode(*unused, reward, terminal=False), 0.5)
    np.testing.assert_allclose(returns[-1], 6 + future)


def test_an_episode_cut_by_its_time_limit_with_equal_rewards_teaches_nothing():
    episode = Episode(np.zeros((500, 1, 4)), np.zeros(500, np.int64), np.ones(500), terminal=False)
    np.testing.assert_allclose(normalized(returns_to_go(episode, 0.99)), 0, atol=1e-4)


def test_each_episode_is_yielded_once_and_complete():
    replay = make_replay(capacity=12)
    episodes, found, t = EpisodeReader(replay), [], 0
    for length in (3, 1, 4, 30, 2):  # one is longer than the memory
        for i in range(length + 1):
            replay.add(timestep(t, t, i == 0, i == length, i == length), np.array([t % 2]))
            found += list(episodes.finished())
            t += 1
    assert [len(episode.action) for episode in found] == [3, 1, 4, 11, 2]
    for episode in found:
        frames = episode.stack[:, 0, 0]
        np.testing.assert_array_equal(np.diff(frames), 1)
        np.testing.assert_array_equal(episode.reward, frames + 1)
        np.testing.assert_array_equal(episode.action, frames % 2)


def test_an_episode_whose_last_row_alone_is_left_is_skipped():
    """Its last row has no action that counts."""
    replay = make_replay(capacity=12)
    for t in range(14):
        replay.add(timestep(t, t, t in (0, 3), t in (2, 13), t in (2, 13)), np.array([0]))
    (episode,) = EpisodeReader(replay).finished()
    assert len(episode.action) == 10


def test_more_rows_read_than_written_are_refused():
    replay = make_replay()
    replay.add(timestep(0, 0, True, False, False), np.array([0]))
    learner = ActionTableLearner(ValueTable(states(3)), replay, best_value, 0.9, 0.5)
    reader = EpisodeReader(replay)
    assert list(reader.finished()) == []
    for owner, wrong in ((learner, {"seen": 2}), (reader, {"seen": 2}), (reader, {"begin": 2})):
        state = owner.state_dict()
        owner.load_state_dict(state)
        with pytest.raises(ValueError, match="more rows were read than"):
            owner.load_state_dict(state | wrong)


def test_bin_index_by_hand():
    limits = np.array([2.0, 1.0])
    values = np.array([[-9, -9], [-2, -1], [-0.1, 0.1], [1.9, 0.9], [9, 9]])
    np.testing.assert_array_equal(bin_index(values, limits, 4), [0, 0, 1 * 4 + 2, 15, 15])


PREFERENCES = np.array([[1.0, 3.0, -np.inf, 3.0]])
POWERS = np.exp(PREFERENCES[0])


@pytest.mark.parametrize(
    "kind, epsilon, expected",
    [
        (EpsilonGreedy, 0.0, [0, 0.5, 0, 0.5]),
        (EpsilonGreedy, 0.3, [0.1, 0.45, 0, 0.45]),
        (Softmax, 0.0, POWERS / POWERS.sum()),
        (Softmax, 1.0, [1 / 3, 1 / 3, 0, 1 / 3]),
    ],
)
def test_frequencies_of_the_actions(kind, epsilon, expected):
    policy = kind(lambda stack: PREFERENCES.repeat(len(stack), 0), np.random.default_rng(1))
    action = policy.act(np.zeros((20_000, 1, 1)), epsilon)
    frequencies = np.bincount(action, minlength=4) / len(action)
    np.testing.assert_allclose(frequencies, expected, atol=0.02)
