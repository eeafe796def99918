"""Other Gymnasium environments with discrete actions, behind the Engine's three verbs.

They run in this process, one after the other: a CartPole step takes microseconds, less than any
hand-over to a thread.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import DtypeObservation, FlattenObservation

from dqn.config import ConfigError
from dqn.envs.engine import Arrival, Spec
from dqn.types import I64

BOX2D = "pip install -r requirements-box2d.txt"
"""Brings the physics of LunarLander and its kin."""


def spec_of(game: str, env: gymnasium.Env[Any, Any]) -> Spec:
    """The Spec of a Gymnasium environment.

    Raises:
        ConfigError: it has no discrete actions or no plain array as its observation.
    """
    actions, observations = env.action_space, env.observation_space
    if not isinstance(actions, Discrete):
        raise ConfigError(
            f"{game} has the action space {actions}; every method here needs a discrete one"
        )
    if observations.shape is None or observations.dtype is None:
        raise ConfigError(f"{game} has the observation space {observations}; an array is needed")
    dtype = np.dtype(observations.dtype).name
    return Spec(
        game=game,
        num_actions=int(actions.n),
        frame_shape=tuple(observations.shape),
        frame_dtype="float32" if dtype == "float64" else dtype,
        stack=1,
        atari=False,
        one_hot=isinstance(env.unwrapped.observation_space, Discrete),
    )


def make_one(
    game: str, max_episode_steps: int | None, render_mode: str | None = None
) -> gymnasium.Env[Any, Any]:
    """One Gymnasium environment, with its own time limit if there is no other. Of a number that
    it shows is made a vector with a single 1, and of several numbers several behind each other.

    Raises:
        ConfigError: it needs a library that is not here.
    """
    try:
        # not even None may reach the constructor of an environment that cannot be shown
        mode: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
        env: gymnasium.Env[Any, Any] = gymnasium.make(game, max_episode_steps, **mode)
    except (gymnasium.error.Error, ImportError) as error:  # Box2D, MuJoCo, jax, ... is missing
        if "box2d" in str(gymnasium.registry[game].entry_point).lower():
            raise ConfigError(f"{game} needs Box2D; {BOX2D} installs it") from error
        reason = " ".join(str(error).split())
        raise ConfigError(f"{game} cannot be made: {reason}") from error
    if not isinstance(env.observation_space, Box) and env.observation_space.is_np_flattenable:
        return DtypeObservation(FlattenObservation(env), np.float32)
    return env


class ClassicEngine:
    """N copies of one Gymnasium environment, stepped in turn."""

    def __init__(self, game: str, num_envs: int, max_episode_steps: int | None) -> None:
        self.num_envs = num_envs
        self._envs = [make_one(game, max_episode_steps) for _ in range(num_envs)]
        self.spec = spec_of(game, self._envs[0])
        self._first_action = int(self._envs[0].action_space.start)  # type: ignore[attr-defined]
        self._ended = np.ones(num_envs, bool)
        self._sent: tuple[I64, I64] | None = None

    def reset(self, seed: I64) -> Arrival:
        """Seed every environment and open its first episode."""
        self.send(np.zeros(self.num_envs, np.int64), seed)
        return self.receive()

    def send(self, action: I64, seed: I64) -> None:
        """Remember the step; ``receive`` makes it."""
        assert self._sent is None, "send twice without receive"
        self._sent = action, seed

    def receive(self) -> Arrival:
        """Make the step."""
        assert self._sent is not None, "receive without send"
        frames = np.empty((self.num_envs, *self.spec.frame_shape), self.spec.frame_dtype)
        reward = np.zeros(self.num_envs, np.float32)
        terminated = np.zeros(self.num_envs, bool)
        truncated = np.zeros(self.num_envs, bool)
        for i, (env, action, seed) in enumerate(zip(self._envs, *self._sent, strict=True)):
            if seed >= 0 or self._ended[i]:
                frames[i], _ = env.reset(seed=int(seed) if seed >= 0 else None)
            else:
                frames[i], gained, terminated[i], truncated[i], _ = env.step(
                    int(action) + self._first_action
                )
                reward[i] = float(gained)
        self._sent = None
        self._ended = terminated | truncated
        return Arrival(frames, reward, terminated, truncated, np.zeros(self.num_envs, np.int64))

    def close(self) -> None:
        """Close each environment."""
        for env in self._envs:
            env.close()
