"""ScreenEnvironment shows exactly the game that the vector environment plays."""

import os
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from support.streams import assert_same_stream, play, random_actions

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs import ScreenEnvironment
from dqn.envs.atari import AtariEngine
from dqn.envs.environment import Environment


@pytest.mark.parametrize("game, protocol", [("Pong", "machado"), ("Breakout", "classic")])
def test_equals_the_vector_environment(game, protocol):
    """Every field of every TimeStep, through game overs, lost lives, time limits and reseeding; so
    does the state that it saves."""
    settings = {"frame_size": 48, "full_action_set": True} if game == "Pong" else {}
    env = EnvConfig(protocol, max_episode_frames=602, reseed_steps=200, **settings)
    vector = Environment(AtariEngine(game.lower(), 1, env, noop_max=0), env)
    single = ScreenEnvironment(Config(game=game, env=env), noop_max=0)
    assert single.spec == vector.spec
    streams, states = [], []
    for environment in (vector, single):
        actions = random_actions(environment, 470)
        streams.append([environment.reset(1, "x"), *play(environment, actions)])
        states.append(environment.state_dict())
        environment.close()
    assert_same_stream(*streams)
    for (name, value), other in zip(states[0].items(), states[1].values(), strict=True):
        assert name == "timestep" or (value.tolist(), value.dtype) == (other.tolist(), other.dtype)
    assert states[0]["count"] >= 1 and sum(step.last[0] for step in streams[0]) >= 3
    died = any(step.terminal[0] and not step.last[0] for step in streams[0])
    assert died == (game == "Breakout")


def test_only_the_same_seed_and_owner_give_the_same_game():
    environment = ScreenEnvironment(Config(game="Pong", env=EnvConfig(protocol="machado")))

    def play(seed, owner):
        environment.reset(seed, owner)
        return np.stack([environment.step(np.array([2 + i % 2])).stack for i in range(50)])

    first = play(1, "render")
    assert not np.array_equal(play(1, "evaluate"), first)
    assert not np.array_equal(play(2, "render"), first)
    np.testing.assert_array_equal(play(1, "render"), first)


def test_a_game_starts_after_1_to_30_no_ops():
    environment, frames = ScreenEnvironment(Config(game="Pong")), set()
    for seed in range(12):
        environment.reset(seed, "test")
        frames.add(environment._emulator.ale.getEpisodeFrameNumber())
    environment.close()
    assert len(frames) > 5 and 1 <= min(frames) and max(frames) <= 30, frames


class _Headless(gymnasium.Env):
    metadata = {"render_modes": []}  # noqa: RUF012  Gymnasium's own form
    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(0, 1, (3,))


class _Painted(_Headless):
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}

    def render(self):
        return np.zeros((8, 9, 3), np.uint8)


class _NoPainter(_Painted):
    def render(self):
        raise gymnasium.error.DependencyNotInstalled("the painter is not installed")


@pytest.fixture
def registered(monkeypatch):
    for kind in (_Headless, _Painted, _NoPainter):
        name = f"{kind.__name__[1:]}-v0"
        monkeypatch.setitem(gymnasium.registry, name, EnvSpec(name, kind))


def test_a_screen_is_the_games_own_and_so_is_its_speed(registered, monkeypatch):
    for name in ("PYGAME_HIDE_SUPPORT_PROMPT", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for game, shape, speed, point, color in (
        ("Pong", (210, 160, 3), 15, (100, 80), [144, 72, 17]),  # brown: the channels are RGB
        ("CartPole-v1", (400, 600, 3), 50, (0, 0), [255] * 3),
        ("Painted-v0", (8, 9, 3), 30, (0, 0), [0] * 3),
    ):
        environment = ScreenEnvironment(Config(game=game))
        environment.reset(1, "test")
        for _ in range(5):
            if game != "Painted-v0":
                environment.step(np.zeros(1, np.int64))
        screen = environment.screen()
        assert (screen.shape, screen.dtype, screen[point].tolist()) == (shape, np.uint8, color)
        assert environment.decisions_per_second == speed
        environment.close()
    assert os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] and Path(os.environ["XDG_RUNTIME_DIR"]).is_dir()


def test_a_game_that_cannot_be_rendered_is_refused(registered):
    for game, why in (("Headless-v0", "rgb_array is not among"), ("NoPainter-v0", "the painter")):
        with pytest.raises(ConfigError, match=f"{game} cannot be rendered: {why}"):
            ScreenEnvironment(Config(game=game))
