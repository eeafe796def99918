"""ScreenEnvironment shows exactly the game that the vector environment plays."""

import gymnasium
import numpy as np
import pytest
from support.streams import assert_same_stream, play_from_reset

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs import ScreenEnvironment
from dqn.envs.atari import AtariEngine
from dqn.envs.environment import Environment


@pytest.mark.parametrize(
    "game, protocol", [("Pong", "machado"), ("Breakout", "classic"), ("Breakout", "machado")]
)
def test_equals_the_vector_environment(game, protocol):
    """Every field of every TimeStep, through game overs, lost lives, time limits and reseeding."""
    size = 48 if game == "Pong" else 84
    env = EnvConfig(protocol, frame_size=size, max_episode_frames=802, reseed_steps=300)
    vector = Environment(AtariEngine(game.lower(), 1, env, noop_max=0), env)
    single = ScreenEnvironment(Config(game=game, env=env), noop_max=0)
    assert single.spec == vector.spec
    stream = play_from_reset(single, 700)
    assert_same_stream(stream, play_from_reset(vector, 700))
    assert sum(timestep.last[0] for timestep in stream) >= 3
    died = any(timestep.terminal[0] and not timestep.last[0] for timestep in stream)
    assert died == (game == "Breakout" and protocol == "classic")


def test_only_the_same_seed_and_owner_give_the_same_game():
    environment = ScreenEnvironment(Config(game="Pong", env=EnvConfig(protocol="machado")))

    def play(seed, owner):
        environment.reset(seed, owner)
        return np.stack([environment.step(np.array([2 + i % 2])).stack for i in range(50)])

    first = play(1, "render")
    assert not np.array_equal(play(1, "evaluate"), first)
    assert not np.array_equal(play(2, "render"), first)
    np.testing.assert_array_equal(play(1, "render"), first)


def test_the_screen_of_atari_is_the_emulators_own():
    environment = ScreenEnvironment(Config(game="Pong"))
    environment.reset(1, "test")
    for _ in range(30):
        environment.step(np.zeros(1, np.int64))
    screen = environment.screen()
    assert screen.shape == (210, 160, 3) and screen.dtype == np.uint8
    assert (screen[100, 80] == (144, 72, 17)).all(), "Pong is brown: the channels are RGB"
    assert environment.decisions_per_second == 15


class _Headless(gymnasium.Env):
    metadata = {"render_modes": []}  # noqa: RUF012  Gymnasium's own form
    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(0, 1, (3,))


class _NoPainter(_Headless):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        return np.zeros(3, np.float32), {}

    def render(self):
        raise gymnasium.error.DependencyNotInstalled("the painter is not installed")


@pytest.mark.parametrize(
    "environment, why",
    [(_Headless, "rgb_array is not among"), (_NoPainter, "painter is not installed")],
)
def test_a_game_that_cannot_be_rendered_is_refused(environment, why):
    name = f"{environment.__name__.strip('_')}-v0"
    gymnasium.register(name, environment)
    try:
        with pytest.raises(ConfigError, match=f"{name} cannot be rendered: .*{why}"):
            ScreenEnvironment(Config(game=name))
    finally:
        del gymnasium.registry[name]
