"""Rewards made for learning. They are worn over what goes into the replay memory and nowhere else,
so whatever is reported stays the environment's own score."""

import math

import numpy as np

from dqn.config import ConfigError
from dqn.envs.engine import Spec
from dqn.types import F32, TimeStep

MAX_POSITION = 2.4
"""Where CartPole's episode ends, in metres from the middle."""

MAX_ANGLE = 12 * 2 * math.pi / 360
"""Where it ends too, in radians from upright."""


def check_cartpole(spec: Spec) -> None:
    """Refuse a game that does not show a cart and a pole.

    Raises:
        ConfigError: it is another.
    """
    if not spec.game.startswith("CartPole-"):
        raise ConfigError(f"replay.shape_reward cartpole is for CartPole, not {spec.game}")


def shape_cartpole(timestep: TimeStep) -> TimeStep:
    """CartPole with ``(2.4 - |x|) / 2.4 - .8 + (limit - |angle|) / limit - .5`` as its reward: .7
    upright in the middle, less towards either end, -1.3 at worst. At an episode's beginning, where
    no action led, it is 0 as ever."""
    x, angle = timestep.stack[:, -1, 0], timestep.stack[:, -1, 2]
    near = (MAX_POSITION - np.abs(x)) / MAX_POSITION - 0.8
    upright = (MAX_ANGLE - np.abs(angle)) / MAX_ANGLE - 0.5
    reward: F32 = np.where(timestep.first, 0, near + upright).astype(np.float32)
    return timestep._replace(reward=reward)
