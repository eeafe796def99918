"""ALE's C++ vector environment behind the Engine's three verbs, and the traps it sets.

- ``episodic_life`` would reset the whole game at a lost life, and ``life_loss_info`` hides a
  time-out that falls on one: both stay off, and Environment compares the lives itself.
- It stacks frames by repeating the first; we ask for single frames and stack them ourselves.
- Rewards are clipped unless told otherwise; the raw score is wanted here.
- It has no sticky actions by default, ``gymnasium.make("ALE/...")`` has: the protocol says which.
- A negative seed means "unseeded", silently.
- The time limit counts emulator frames after the no-ops. The frame on which an episode ends is
  never read: the final observation is the one before, or that with the last frame but one on it.
- With neither sticky actions nor another number of no-ops, every seed is the same game.
"""

import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from ale_py.vector_env import AtariVectorEnv

from dqn.config import EnvConfig
from dqn.envs.engine import Arrival, Spec
from dqn.types import I64, Bool

NOOP_MAX = 30
"""No-ops that open an episode, at most; drawn by the C++ side."""

STICKY = {"classic": 0.0, "machado": 0.25}
"""Probability that the emulator repeats its previous action instead of ours, per frame."""

FRAME_SKIP = 4


class AtariEngine:
    """N copies of one Atari game in C++ threads."""

    def __init__(
        self, rom: str, game: str, num_envs: int, config: EnvConfig, noop_max: int = NOOP_MAX
    ) -> None:
        self.num_envs = num_envs
        make = functools.partial(
            AtariVectorEnv,
            rom,
            num_envs,
            num_threads=min(config.threads, num_envs),
            max_num_frames_per_episode=config.max_episode_frames,
            repeat_action_probability=STICKY[config.protocol],
            full_action_space=config.full_action_set,
            img_height=config.frame_size,
            img_width=config.frame_size,
            stack_num=1,
            frameskip=FRAME_SKIP,
            noop_max=noop_max + 1,  # it draws from 0 to one less than this
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            use_fire_reset=False,
        )
        # The learner's threads wait for each other at the end of every operation, and so for a core
        # that an emulator holds. The emulators' inherit the niceness of the one that makes them.
        with ThreadPoolExecutor(1, initializer=_be_nice, initargs=(config.niceness,)) as nice:
            self._env = nice.submit(make).result()
        self.spec = Spec(
            game=game,
            num_actions=int(self._env.single_action_space.n),  # type: ignore[attr-defined]
            frame_shape=(config.frame_size, config.frame_size),
            frame_dtype="uint8",
            stack=4,
            atari=True,
        )

    def reset(self, seed: I64) -> Arrival:
        """Seed every environment and open its first episode."""
        everyone = np.ones(self.num_envs, bool)
        return self._reset(seed, everyone)

    def send(self, action: I64, seed: I64) -> None:
        """Begin a step. An environment with a seed is reset first and then given a no-op, since
        the C++ side can only step all of them."""
        seeded = seed >= 0
        if seeded.any():
            self._reset(seed[seeded], seeded)
        self._env.send(np.where(seeded, 0, action))

    def receive(self) -> Arrival:
        """Wait for the step."""
        frame, reward, terminated, truncated, info = self._env.recv()
        return Arrival(
            frame=frame[:, 0],  # [N, H, W]
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            lives=info["lives"].astype(np.int64),
        )

    def close(self) -> None:
        """Stop the C++ threads."""
        self._env.close()

    def _reset(self, seed: I64, mask: Bool) -> Arrival:
        assert (seed >= 0).all() and (seed < 2**31).all(), seed
        frame, info = self._env.reset(seed=seed, options={"reset_mask": mask})
        nothing = np.zeros(self.num_envs, bool)
        return Arrival(
            frame=frame[:, 0],
            reward=np.zeros(self.num_envs, np.float32),
            terminated=nothing,
            truncated=nothing,
            lives=info["lives"].astype(np.int64),
        )


def _be_nice(niceness: int) -> None:
    """Let other threads go first. Elsewhere than on Linux that would be the whole process."""
    if sys.platform == "linux":
        os.nice(niceness)
