"""Gymnasium environments with discrete actions, as an Engine.

They run in this process, one after the other: a CartPole step takes microseconds, less than
passing it to another thread.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import DtypeObservation, FlattenObservation

from dqn.config import ConfigError
from dqn.envs.environment import EngineStep, Spec
from dqn.types import I64, Bool

Env = gymnasium.Env[Any, Any]

INSTALL_BOX2D = "pip install -r requirements-box2d.txt"
"""Installs the physics engine of LunarLander and similar environments."""


def spec_of(game: str, env: Env) -> Spec:
    """The Spec of a Gymnasium environment.

    Raises:
        ConfigError: its actions are not discrete, or its observation is not an array.
    """
    actions, observations = env.action_space, env.observation_space
    if not isinstance(actions, Discrete):
        raise ConfigError(f"{game} has the action space {actions}; a discrete one is needed")
    if observations.shape is None:
        raise ConfigError(f"{game} has the observation space {observations}; an array is needed")
    shape, dtype = tuple(observations.shape), np.dtype(observations.dtype).name
    dtype = "float32" if dtype == "float64" else dtype
    one_hot = isinstance(env.unwrapped.observation_space, Discrete)
    return Spec(game, int(actions.n), shape, dtype, stack=1, atari=False, one_hot=one_hot)


def make_one(game: str, max_episode_steps: int | None, render_mode: str | None = None) -> Env:
    """One Gymnasium environment; ``max_episode_steps`` overrides its own time limit. Discrete
    observations become one-hot vectors, and tuples of them are concatenated.

    Raises:
        ConfigError: a library that it needs is not installed.
    """
    try:
        # Environments that cannot be rendered may not accept the argument at all.
        mode: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
        env: Env = gymnasium.make(game, max_episode_steps, **mode)
    except (gymnasium.error.Error, ImportError) as error:  # Box2D, MuJoCo, jax, ... is missing
        if "box2d" in str(gymnasium.registry[game].entry_point).lower():
            raise ConfigError(f"{game} needs Box2D; {INSTALL_BOX2D} installs it") from error
        raise ConfigError(f"{game} cannot be created: {error}") from error
    if not isinstance(env.observation_space, Box) and env.observation_space.is_np_flattenable:
        return DtypeObservation(FlattenObservation(env), np.float32)
    return env


class GymnasiumEngine:
    """N copies of one Gymnasium environment, stepped in turn when ``receive`` is called."""

    def __init__(self, game: str, envs: Sequence[Env], spec: Spec | None = None) -> None:
        self.num_envs = len(envs)
        self.spec = spec or spec_of(game, envs[0])
        self._envs = envs
        self._first_action = int(envs[0].action_space.start)  # type: ignore[attr-defined]
        self._ended: Bool

    def reset(self, seed: I64) -> EngineStep:
        return self._step(np.zeros_like(seed), seed)

    def send(self, action: I64, seed: I64) -> None:
        self._sent = action, seed

    def receive(self) -> EngineStep:
        return self._step(*self._sent)

    def close(self) -> None:
        for env in self._envs:
            env.close()

    def _step(self, actions: I64, seeds: I64) -> EngineStep:
        n = self.num_envs
        frame = np.empty((n, *self.spec.frame_shape), self.spec.frame_dtype)
        reward, lives = np.zeros(n, np.float32), np.zeros(n, np.int64)
        terminated, truncated = np.zeros(n, bool), np.zeros(n, bool)
        for i, env in enumerate(self._envs):
            if seeds[i] >= 0:
                frame[i], info = env.reset(seed=int(seeds[i]))
            elif self._ended[i]:
                frame[i], info = env.reset()
            else:
                frame[i], gained, terminated[i], truncated[i], info = env.step(
                    int(actions[i]) + self._first_action
                )
                reward[i] = float(gained)
            if self.spec.atari:
                lives[i] = info["lives"]
        if not np.isfinite(reward).all():
            raise ValueError(f"{self.spec.game} gave a reward that is not finite: {reward}")
        self._ended = terminated | truncated
        return EngineStep(frame, reward, terminated, truncated, lives)
