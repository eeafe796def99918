"""The small methods, each against its equation by hand."""

import numpy as np
import pytest
import torch

from dqn.config import ReplayConfig
from dqn.envs.shaping import MAX_ANGLE, shape_cartpole
from dqn.replay.buffer import Replay
from dqn.tabular.action_table import ActionTableLearner, best_value, chosen_value
from dqn.tabular.players import EpsilonGreedy, Softmax
from dqn.tabular.policy_gradient import gradient
from dqn.tabular.reinforce import normalised, returns_to_go
from dqn.tabular.rows import Episode, Episodes
from dqn.tabular.states import States, bins_of
from dqn.tabular.table import PolicyTable, ValueTable
from dqn.types import TimeStep


def remembered(num_envs: int = 1, capacity: int = 40) -> Replay:
    """A memory of states that are a number each."""
    return Replay(
        ReplayConfig(capacity=capacity), num_envs, (1,), "float32", 1, 2, False, torch.Generator()
    )


def moment(state: int, reward: float, first: bool, last: bool, terminal: bool) -> TimeStep:
    return TimeStep(
        np.full((1, 1, 1), state, np.float32),
        np.array([reward], np.float32),
        *(np.array([flag]) for flag in (first, last, terminal)),
    )


def states(count: int, *forbidden: tuple[int, int]) -> States:
    """A state's number is what is seen."""
    allowed = np.ones((count, 2), bool)
    for place in forbidden:
        allowed[place] = False
    return States(lambda stack: stack[:, -1, 0].astype(np.int64), allowed)


def after_one_episode(next_value: object, terminal: bool, forbidden: bool = False) -> np.ndarray:
    """States 0, 1, 2 by actions 0, 1, rewards 3 and 5, gamma .5, rate .1; what is there already:
    q(1, .) = 10, 20 and q(2, .) = 40, 80."""
    replay = remembered()
    table = ValueTable(states(3, *([(2, 1)] if forbidden else [])))
    table.numbers[1], table.numbers[2] = (10, 20), (40, 80)
    learner = ActionTableLearner(table, replay, next_value, gamma=0.5, learning_rate=0.1)
    replay.add(moment(0, 0, True, False, False), np.array([0]))
    learner.learn(1)
    replay.add(moment(1, 3, False, False, False), np.array([0]))
    learner.learn(1)
    replay.add(moment(2, 5, False, True, terminal), np.array([0]))
    learner.learn(1)
    replay.add(moment(0, 0, True, False, False), np.array([0]))
    learner.learn(1)
    return table.numbers


def test_q_learning_by_hand() -> None:
    q = after_one_episode(best_value, terminal=True)
    np.testing.assert_allclose(q, [[0.1 * (3 + 0.5 * 20), 0], [10 + 0.1 * (5 - 10), 20], [40, 80]])


def test_sarsa_by_hand() -> None:
    q = after_one_episode(chosen_value, terminal=True)
    np.testing.assert_allclose(q, [[0.1 * (3 + 0.5 * 10), 0], [10 + 0.1 * (5 - 10), 20], [40, 80]])


@pytest.mark.parametrize("next_value, beyond", [(best_value, 80), (chosen_value, 40)])
def test_a_table_bootstraps_beyond_a_time_limit(next_value: object, beyond: float) -> None:
    q = after_one_episode(next_value, terminal=False)
    assert q[1, 0] == pytest.approx(10 + 0.1 * (5 + 0.5 * beyond - 10))


def test_what_is_not_allowed_is_worth_nothing_to_anyone() -> None:
    q = after_one_episode(best_value, terminal=False, forbidden=True)
    assert q[1, 0] == pytest.approx(10 + 0.1 * (5 + 0.5 * 40 - 10))


def test_learning_late_is_learning_the_same() -> None:
    """Several moments at once, in their order, give what each gave by itself."""
    tables = []
    for period in (1, 3):
        replay, generator = remembered(), np.random.default_rng(1)
        table = ValueTable(states(4))
        learner = ActionTableLearner(table, replay, best_value, 0.9, 0.5)
        last = True
        for t in range(1, 31):
            first, last = last, t % 5 == 0
            seen = moment(int(generator.integers(4)), float(t), first, last, last and t % 2 == 0)
            replay.add(seen, generator.integers(2, size=1))
            learner.learn(int(t % period == 0))
        tables.append(table.numbers)
        assert learner.updates == 24
    np.testing.assert_array_equal(*tables)


def test_the_policy_gradient_is_that_of_the_log_likelihood() -> None:
    """``(N_ij - pi_ij N_i) / T`` against torch's own derivative."""
    generator = np.random.default_rng(1)
    table = PolicyTable(states(3, (1, 0)))
    table.numbers[:] = generator.normal(size=(3, 2))
    state, action = np.array([0, 2, 0, 1, 0]), np.array([1, 0, 1, 1, 0])
    theta = torch.tensor(table.numbers, requires_grad=True)
    masked = theta.masked_fill(~torch.from_numpy(table.states.allowed), -torch.inf)
    masked.log_softmax(1)[state, action].mean().backward()
    assert theta.grad is not None
    np.testing.assert_allclose(
        gradient(table.chances(), state, action), theta.grad.numpy(), atol=1e-12
    )


def test_returns_to_go_by_hand() -> None:
    reward = np.array([1.0, 2.0, 6.0])
    nothing = np.zeros((3, 1, 1)), np.zeros(3, np.int64)
    returns = returns_to_go(Episode(*nothing, reward, terminal=True), 0.5)
    np.testing.assert_allclose(returns, [1 + 0.5 * 5, 2 + 0.5 * 6, 6])
    beyond = 0.5 * 3 / (1 - 0.5)  # the mean reward for ever, a step later
    returns = returns_to_go(Episode(*nothing, reward, terminal=False), 0.5)
    np.testing.assert_allclose(returns[-1], 6 + beyond)


def test_an_episode_that_never_fell_teaches_nothing() -> None:
    episode = Episode(np.zeros((500, 1, 4)), np.zeros(500, np.int64), np.ones(500), terminal=False)
    np.testing.assert_allclose(normalised(returns_to_go(episode, 0.99)), 0, atol=1e-4)


def test_each_episode_is_handed_over_once_and_whole() -> None:
    replay = remembered(capacity=12)
    episodes, found, t = Episodes(replay), [], 0
    for length in (3, 1, 4, 30, 2):  # one is longer than the memory
        for i in range(length + 1):
            replay.add(moment(t, t, i == 0, i == length, i == length), np.array([t % 2]))
            found += list(episodes.ended())
            t += 1
    assert [len(episode.action) for episode in found] == [3, 1, 4, 11, 2]
    for episode in found:
        seen = episode.stack[:, 0, 0]
        np.testing.assert_array_equal(np.diff(seen), 1)
        np.testing.assert_array_equal(episode.reward, seen + 1)
        np.testing.assert_array_equal(episode.action, seen % 2)


def test_of_an_episode_all_but_forgotten_nothing_is_handed_over() -> None:
    """Learning begins late, and of the first episode the last row alone is left, where nothing was
    chosen."""
    replay = remembered(capacity=12)
    for t in range(14):
        replay.add(moment(t, t, t in (0, 3), t in (2, 13), t in (2, 13)), np.array([0]))
    (episode,) = Episodes(replay).ended()
    assert len(episode.action) == 10


def test_bins() -> None:
    limits = np.array([2.0, 1.0])
    seen = np.array([[-9, -9], [-2, -1], [-0.1, 0.1], [1.9, 0.9], [9, 9]])
    np.testing.assert_array_equal(bins_of(seen, limits, 4), [0, 0, 1 * 4 + 2, 15, 15])


PREFERENCES = np.array([[1.0, 3.0, -np.inf, 3.0]])


def chances_of(player: EpsilonGreedy | Softmax, epsilon: float) -> np.ndarray:
    action = player.act(np.zeros((20_000, 1, 1)), epsilon)
    return np.bincount(action, minlength=4) / len(action)


def test_epsilon_greedy_draws_among_the_best_and_the_allowed() -> None:
    def preferences(stack: np.ndarray) -> np.ndarray:
        return PREFERENCES.repeat(len(stack), 0)

    player = EpsilonGreedy(preferences, np.random.default_rng(1))
    np.testing.assert_allclose(chances_of(player, 0.0), [0, 0.5, 0, 0.5], atol=0.02)
    np.testing.assert_allclose(chances_of(player, 0.3), [0.1, 0.45, 0, 0.45], atol=0.02)


def test_softmax_draws_by_its_chances() -> None:
    def preferences(stack: np.ndarray) -> np.ndarray:
        return PREFERENCES.repeat(len(stack), 0)

    player = Softmax(preferences, np.random.default_rng(1))
    powers = np.exp(PREFERENCES[0])
    np.testing.assert_allclose(chances_of(player, 0.0), powers / powers.sum(), atol=0.02)
    np.testing.assert_allclose(chances_of(player, 1.0), [1 / 3, 1 / 3, 0, 1 / 3], atol=0.02)


def test_the_shaped_reward_by_hand() -> None:
    seen = np.array([[0, 0, 0, 0], [2.4, 0, 0, 0], [0, 0, -MAX_ANGLE, 0], [0, 0, 0, 0]])
    no = np.zeros(4, bool)
    first = np.array([False, False, False, True])
    timestep = TimeStep(seen[:, None].astype(np.float32), np.ones(4, np.float32), first, no, no)
    np.testing.assert_allclose(shape_cartpole(timestep).reward, [0.7, -0.3, -0.3, 0], atol=1e-6)
    np.testing.assert_array_equal(timestep.reward, 1)
