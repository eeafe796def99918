"""ALE's C++ vector environment as an Engine, and its pitfalls.

- ``episodic_life`` would reset the whole game when a life is lost, and ``life_loss_info`` hides a
  time limit reached on the same step: both stay off, and Environment compares the lives itself.
- It stacks frames by repeating the first one; we request single frames and stack them ourselves.
- It clips rewards by default; we want the raw score.
- It has no sticky actions by default, unlike ``gymnasium.make("ALE/...")``: the protocol decides.
- It silently treats a negative seed as "unseeded".
- The time limit counts emulator frames after the no-ops. The frame on which an episode ends is
  never read: the final observation is the previous one, or the maximum of that and the
  second-to-last frame.
- Without sticky actions and with a fixed number of no-ops, every seed gives the same game.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py.env import AtariEnv
from ale_py.vector_env import AtariVectorEnv

from dqn.config import EnvConfig
from dqn.device import cores
from dqn.envs.environment import EngineStep, Spec
from dqn.envs.names import display_name, gymnasium_id
from dqn.types import I64, Bool

NOOP_MAX = 30
"""Maximum number of no-ops at the start of an episode; the C++ code draws it."""

STICKY = {"classic": 0.0, "machado": 0.25}
"""Probability per frame that the emulator repeats its previous action instead of ours."""

FRAME_SKIP = 4


def atari_spec(rom: str, actions: gymnasium.Space[Any], config: EnvConfig) -> Spec:
    """The Spec of an Atari game with the action space ``actions``."""
    num_actions = int(actions.n)  # type: ignore[attr-defined]
    frame_shape = config.frame_size, config.frame_size
    return Spec(display_name(rom), num_actions, frame_shape, "uint8", stack=4, atari=True)


def atari_settings(rom: str, config: EnvConfig) -> dict[str, str]:
    """How Gymnasium makes the same game, and what its actions mean, for a reader of other
    programs."""
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # suppresses its banner
    emulator = AtariEnv(rom, full_action_space=config.full_action_set)
    actions = ",".join(emulator.get_action_meanings())
    emulator.close()
    return {
        "environment": gymnasium_id(rom),
        "actions": actions,
        "frame_size": str(config.frame_size),
        "frame_skip": str(FRAME_SKIP),
        "repeat_action_probability": str(STICKY[config.protocol]),
        "full_action_space": str(config.full_action_set).lower(),
        "noop_max": str(NOOP_MAX),
    }


class AtariEngine:
    """N copies of one Atari game in C++ threads."""

    def __init__(
        self, rom: str, num_envs: int, config: EnvConfig, noop_max: int = NOOP_MAX
    ) -> None:
        self.num_envs = num_envs
        # The learner's threads synchronize after every operation, so they all wait for a core that
        # an emulator occupies. The C++ threads inherit the niceness of the thread creating them.
        with ThreadPoolExecutor(1, initializer=_be_nice, initargs=(config.niceness,)) as nice:
            making = nice.submit(
                AtariVectorEnv,
                rom,
                num_envs,
                num_threads=min(config.threads or cores(), num_envs),
                max_num_frames_per_episode=config.max_episode_frames,
                repeat_action_probability=STICKY[config.protocol],
                full_action_space=config.full_action_set,
                img_height=config.frame_size,
                img_width=config.frame_size,
                stack_num=1,
                frameskip=FRAME_SKIP,
                noop_max=noop_max + 1,  # exclusive upper bound
                episodic_life=False,
                life_loss_info=False,
                reward_clipping=False,
                use_fire_reset=False,
            )
        self._env = making.result()
        self.spec = atari_spec(rom, self._env.single_action_space, config)

    def reset(self, seed: I64) -> EngineStep:
        return self._reset(seed, np.ones(self.num_envs, bool))

    def send(self, action: I64, seed: I64) -> None:
        """Start a step. A reseeded environment is reset first and then given a no-op, because the
        C++ code can only step all environments at once."""
        seeded = seed >= 0
        if seeded.any():
            self._reset(seed[seeded], seeded)
        self._env.send(np.where(seeded, 0, action))

    def receive(self) -> EngineStep:
        frame, reward, terminated, truncated, info = self._env.recv()
        reward, lives = reward.astype(np.float32), info["lives"].astype(np.int64)
        return EngineStep(frame[:, 0], reward, terminated, truncated, lives)

    def close(self) -> None:
        self._env.close()

    def _reset(self, seed: I64, mask: Bool) -> EngineStep:
        assert (seed >= 0).all() and (seed < 2**31).all(), seed  # ALE would silently not seed
        frame, info = self._env.reset(seed=seed, options={"reset_mask": mask})
        reward, lives = np.zeros(self.num_envs, np.float32), info["lives"].astype(np.int64)
        ended = np.zeros(self.num_envs, bool)
        return EngineStep(frame[:, 0], reward, ended, ended, lives)


def _be_nice(niceness: int) -> None:
    """Lower this thread's priority. Outside Linux, niceness applies to the whole process."""
    if sys.platform == "linux":
        os.nice(niceness)
