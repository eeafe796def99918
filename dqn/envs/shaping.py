"""Shaped rewards. They apply only to what is stored in the replay memory; reported scores always
remain the environment's own."""

import math

import numpy as np

from dqn.types import F32, TimeStep

MAX_POSITION = 2.4
"""Cart position at which CartPole's episode ends, in metres from the middle."""

MAX_ANGLE = 12 * 2 * math.pi / 360
"""Pole angle at which it ends, in radians from upright."""


def cartpole_reward(timestep: TimeStep) -> F32:
    """The shaped reward ``(2.4 - |x|) / 2.4 - .8 + (limit - |angle|) / limit - .5``, ``[N]``: .7
    upright in the middle, -1.3 at worst, 0 at the first time step of an episode, as always."""
    x, angle = timestep.stack[:, -1, 0], timestep.stack[:, -1, 2]
    near = (MAX_POSITION - np.abs(x)) / MAX_POSITION - 0.8
    upright = (MAX_ANGLE - np.abs(angle)) / MAX_ANGLE - 0.5
    reward: F32 = np.where(timestep.first, 0, near + upright).astype(np.float32)
    return reward
