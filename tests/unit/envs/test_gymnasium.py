"""Gymnasium environments other than Atari: CartPole, unusual spaces, discrete observations."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from support.streams import play, random_actions

from dqn.config import Config, ConfigError
from dqn.envs import ScreenEnvironment, Spec, make


def test_cartpole_equals_gymnasium() -> None:
    environment = make(Config(game="CartPole-v1"), 1)
    timestep = environment.reset(1, "x")
    env = gymnasium.make("CartPole-v1")
    expected, _ = env.reset(seed=int(environment.state_dict()["seed"][0]))
    assert timestep.stack.shape == (1, 1, 4) and timestep.stack.dtype == np.float32
    assert (environment.spec.stack, environment.spec.atari) == (1, False)
    ended = False
    for action in random_actions(environment, 300):
        if ended:
            (expected, _), reward, terminated, truncated = env.reset(), 0.0, False, False
        else:
            expected, reward, terminated, truncated, _ = env.step(int(action[0]))  # type: ignore[assignment]
        (timestep,) = play(environment, [action])
        np.testing.assert_array_equal(timestep.stack[0, 0], expected)
        assert timestep.reward[0] == reward
        assert timestep.first[0] == ended
        ended = terminated or truncated
        assert (timestep.last[0], timestep.terminal[0]) == (ended, terminated)


class Odd(gymnasium.Env[Any, int]):
    """Actions that start at 3, float64 observations, and a shape of its own."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2, 3), np.float64)
    action_space: Any = gymnasium.spaces.Discrete(2, start=3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.random((2, 3)), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.full((2, 3), 0.25), float(action), False, False, {"lives": 3 - action}


class Broken(gymnasium.Env[Any, int]):
    def __init__(self) -> None:
        raise ImportError("no module named\nbox")


@pytest.fixture
def registered() -> Iterator[None]:
    gymnasium.register("Odd-v0", Odd)
    gymnasium.register("Broken-v0", Broken)
    yield
    del gymnasium.registry["Odd-v0"], gymnasium.registry["Broken-v0"]


def test_actions_may_start_at_another_number(registered: None) -> None:
    environment = make(Config(game="Odd-v0"), 2)
    assert environment.reset(1, "x").stack.dtype == np.float32
    first, second = play(environment, [np.array([0, 1]), np.array([1, 0])])
    assert first.reward.tolist() == [3, 4]
    assert not (first.terminal | second.terminal).any(), "lives count on Atari only"
    assert environment.spec == Spec("Odd-v0", 2, (2, 3), "float32", 1, False)


@pytest.mark.parametrize("kind", [lambda config: make(config, 1), ScreenEnvironment])
def test_a_missing_library_is_reported_in_one_sentence(kind: Any, registered: None) -> None:
    with pytest.raises(ConfigError, match="Broken-v0 cannot be created: no module named box"):
        kind(Config(game="Broken-v0"))


def test_discrete_observations_become_one_hot_vectors() -> None:
    environment = make(Config(game="FrozenLake-v1"), 2)
    first = environment.reset(1, "x")
    spec = environment.spec
    assert spec.one_hot and spec.frame_shape == (16,) and spec.frame_dtype == "float32"
    assert first.stack.shape == (2, 1, 16) and first.stack.dtype == np.float32
    assert first.stack[:, 0].argmax(1).tolist() == [0, 0] and first.stack.sum() == 2
    assert play(environment, [np.array([1, 1])])[0].stack.sum() == 2


def test_a_tuple_of_discrete_observations_is_concatenated() -> None:
    cards = make(Config(game="Blackjack-v1"), 1)
    assert not cards.spec.one_hot and cards.spec.frame_shape == (32 + 11 + 2,)
    assert cards.reset(1, "x").stack.sum() == 3


def test_send_and_receive_alternate_and_actions_exist() -> None:
    environment = make(Config(game="CartPole-v1"), 1)
    environment.reset(1, "x")
    with pytest.raises(AssertionError, match="without send"):
        environment.receive()
    for action in (-1, 2):
        with pytest.raises(AssertionError):
            environment.send(np.array([action]))
    environment.send(np.zeros(1, np.int64))
    with pytest.raises(AssertionError, match="twice"):
        environment.send(np.zeros(1, np.int64))
