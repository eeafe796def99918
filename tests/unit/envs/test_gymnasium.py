"""Gymnasium environments other than Atari: CartPole, unusual spaces, discrete observations."""

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, Sequence
from support.scripted import script_atari
from support.streams import play, random_actions

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs import Environment, ScreenEnvironment, Spec, cartpole_reward, make
from dqn.envs.atari import AtariEngine
from dqn.envs.gymnasium import GymnasiumEngine, make_one
from dqn.types import TimeStep


def test_cartpole_equals_gymnasium():
    environment = make(Config(game="CartPole-v1"), 1)
    timestep = environment.reset(1, "x")
    env = gymnasium.make("CartPole-v1")
    expected, _ = env.reset(seed=int(environment.state_dict()["seed"][0]))
    assert environment.spec == Spec("CartPole-v1", 2, (4,), "float32", stack=1, atari=False)
    assert timestep.stack.shape == (1, 1, 4)
    ended = False
    for action in random_actions(environment, 300):
        if ended:
            (expected, _), reward, terminated, truncated = env.reset(), 0.0, False, False
        else:
            expected, reward, terminated, truncated, _ = env.step(int(action[0]))
        (timestep,) = play(environment, [action])
        np.testing.assert_array_equal(timestep.stack[0, 0], expected)
        assert timestep.reward[0] == reward
        assert timestep.first[0] == ended
        ended = terminated or truncated
        assert (timestep.last[0], timestep.terminal[0]) == (ended, terminated)
        assert [value.dtype.name for value in timestep] == ["float32"] * 2 + ["bool"] * 3


class Odd(gymnasium.Env[Any, int]):
    """Actions that start at 3, and observations of any kind."""

    action_space: Any = Discrete(2, start=3)

    def __init__(self, space: Any) -> None:
        self.observation_space = space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), float(action), False, False, {"lives": 3 - action}


def odd(space: Any, patch: pytest.MonkeyPatch) -> Environment:
    spec = gymnasium.envs.registration.EnvSpec("Odd-v0", lambda: Odd(space))
    patch.setitem(gymnasium.registry, "Odd-v0", spec)
    return make(Config(game="Odd-v0"), 2)


def test_actions_may_start_at_another_number_and_be_many(monkeypatch):
    environment = odd(Box(-1, 1, (2, 3), np.float64), monkeypatch)
    assert environment.reset(1, "x").stack.dtype == np.float32
    first, second = play(environment, [np.array([0, 1]), np.array([1, 0])])
    assert first.reward.tolist() == [3, 4]
    assert not (first.terminal | second.terminal).any(), "lives count on Atari only"
    assert environment.spec == Spec("Odd-v0", 2, (2, 3), "float32", 1, False)
    for many, kept_as in ((256, "uint8"), (257, "uint16")):
        monkeypatch.setattr(Odd, "action_space", Discrete(many))
        environment = odd(Box(-1, 1), monkeypatch)
        environment.reset(1, "x")
        (step,) = play(environment, [np.full(2, many - 1)])
        assert step.reward.tolist() == [many - 1] * 2
        actions = environment.state_dict()["actions"]
        assert (actions.tolist(), actions.dtype) == ([[many - 1] * 2], kept_as)


@pytest.mark.parametrize("reward", [float("nan"), float("-inf")])
def test_a_reward_that_is_not_finite_ends_the_run(reward, monkeypatch):
    """At its step, whereas an observation may be anything: a checkpoint could hold its return, but
    nothing could continue it."""
    environment = odd(Box(-1, 1), monkeypatch)
    environment.reset(1, "x")
    monkeypatch.setattr(Odd, "step", lambda *_: (np.float32([np.nan]), reward, False, False, {}))
    with pytest.raises(ValueError, match="Odd-v0 gave a reward that is not finite"):
        play(environment, [np.array([0, 1])])


def test_bytes_stay_bytes_and_lists_of_any_length_are_refused(monkeypatch):
    pixels = odd(Box(0, 255, (5,), np.uint8), monkeypatch)
    assert pixels.reset(1, "x").stack.dtype == pixels.spec.frame_dtype == "uint8"
    with pytest.raises(ConfigError, match=r"Odd-v0 has the observation space Seq.*an array is"):
        odd(Sequence(Discrete(2)), monkeypatch)


def broken() -> None:
    raise ImportError("no module named\nbox")


def test_a_missing_library_is_reported_in_one_sentence(monkeypatch):
    for module in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "Box2D", None)
    spec = gymnasium.envs.registration.EnvSpec("Broken-v0", broken)
    monkeypatch.setitem(gymnasium.registry, "Broken-v0", spec)
    for game, said in {
        "LunarLander-v3": "needs Box2D; pip install -r requirements-box2d.txt installs it",
        "Broken-v0": "cannot be created: no module named box",
    }.items():
        for kind in (lambda config: make(config, 1), ScreenEnvironment):
            with pytest.raises(ConfigError, match=f"^{game} {said}$"):
                kind(Config(game=game))


def test_discrete_observations_become_one_hot_vectors():
    environment = make(Config(game="FrozenLake-v1"), 2)
    first = environment.reset(1, "x")
    assert environment.spec == Spec("FrozenLake-v1", 4, (16,), "float32", 1, False, one_hot=True)
    assert first.stack.dtype == np.float32 and first.stack.tolist() == [[[1] + [0] * 15]] * 2
    assert play(environment, [np.array([1, 1])])[0].stack.sum() == 2


def test_a_tuple_of_discrete_observations_is_concatenated():
    cards = make(Config(game="Blackjack-v1"), 1)
    assert not cards.spec.one_hot and cards.spec.frame_shape == (32 + 11 + 2,)
    assert cards.reset(1, "x").stack.sum() == 3


def test_the_shaped_reward_by_hand():
    degrees = np.pi / 180
    observed = [[0, 9, 0, 9], [2.4, 0, 0, 0], [-1.2, 0, 6 * degrees, 0], [0, 0, -12 * degrees, 0]]
    no = np.zeros(5, bool)
    stack, first = np.array([*observed, observed[0]], np.float32)[:, None], np.arange(5) == 4
    reward = cartpole_reward(TimeStep(stack, np.ones(5, np.float32), first, no, no))
    np.testing.assert_allclose(reward, [0.7, -0.3, -0.3, -0.3, 0], atol=1e-6)
    assert reward.dtype == np.float32


def test_0_is_a_seed(monkeypatch):
    emulators = script_atari(monkeypatch, {})
    AtariEngine("pong", 2, EnvConfig()).send(np.ones(2, np.int64), np.array([0, -1]))
    (made,) = emulators.made
    assert made.resets == [(0, [0], [0])] and made.actions == [[0, 1]]
    engine = GymnasiumEngine("CartPole-v1", [make_one("CartPole-v1", None)])
    expected, _ = gymnasium.make("CartPole-v1").reset(seed=0)
    assert engine.reset(np.zeros(1, np.int64)).frame.tolist() == [expected.tolist()]


def test_send_and_receive_alternate_and_actions_exist():
    environment = make(Config(game="CartPole-v1"), 1)
    environment.reset(1, "x")
    with pytest.raises(AssertionError, match=r"^receive without send$"):
        environment.receive()
    for action in (-1, 2):
        with pytest.raises(AssertionError):
            environment.send(np.array([action]))
    environment.send(np.zeros(1, np.int64))
    with pytest.raises(AssertionError, match=r"^state_dict between send and receive$"):
        environment.state_dict()
    with pytest.raises(AssertionError, match=r"^send twice without receive$"):
        environment.send(np.zeros(1, np.int64))
