"""One environment with its RGB screen: the same stream as Environment with N = 1, and a picture.

The vector environment has no screen, so pictures come from Gymnasium's single one. It is made
into an Engine like the others, and what matters (stacking, flags, time-outs) is Environment's: a
film shows what the agent meets in training.
"""

import os
import tempfile
from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py.env import AtariEnv
from gymnasium.utils.seeding import np_random
from gymnasium.wrappers import AtariPreprocessing

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs.atari import FRAME_SKIP, NOOP_MAX, STICKY
from dqn.envs.engine import Arrival, Spec
from dqn.envs.environment import Environment
from dqn.envs.gymnasium import make_one, spec_of
from dqn.envs.names import atari_rom, display_name, resolve
from dqn.types import I64, Array, TimeStep

ATARI_FRAMES_PER_SECOND = 60


class ScreenEnvironment:
    """One environment of the config's game, under its protocol, with its screen.

    Raises:
        ConfigError: unknown game, or one that cannot be drawn.
    """

    def __init__(self, config: Config, noop_max: int = NOOP_MAX) -> None:
        game = resolve(config.game)
        rom = atari_rom(game)
        if rom:
            self._engine = _atari(rom, display_name(game), config.env, noop_max)
        else:
            self._engine = _other(game, config.env.max_episode_steps)
        self._environment = Environment(
            self._engine,
            life_loss_is_terminal=config.env.protocol == "classic",
            reseed_steps=config.env.reseed_steps,
        )
        self.spec = self._engine.spec

    @property
    def decisions_per_second(self) -> int:
        """Decisions in a second of play at the game's own speed: 15 on Atari."""
        return self._engine.decisions_per_second

    def reset(self, seed: int, owner: str) -> TimeStep:
        """Open an episode, with a seed that belongs to ``owner`` alone."""
        return self._environment.reset(seed, owner)

    def step(self, action: I64) -> TimeStep:
        """Take ``action [1]``; the step after a ``last`` ignores it and opens the next episode."""
        self._environment.send(action)
        return self._environment.receive()

    def screen(self) -> Array:
        """``[H, W, 3]`` the picture of this moment as the emulator draws it, 210x160 on Atari.

        It is the newest emulator frame alone, while the agent sees the brighter of the last two:
        what a game draws on every other frame only may be missing here.
        """
        return self._engine.screen()

    def close(self) -> None:
        """Let go of the emulator."""
        self._environment.close()


class _ScreenEngine:
    """A single Gymnasium environment behind the Engine's verbs. It steps when asked to receive."""

    num_envs = 1

    def __init__(
        self, env: gymnasium.Env[Any, Any], spec: Spec, first_action: int, decisions_per_second: int
    ) -> None:
        self.spec = spec
        self.decisions_per_second = decisions_per_second
        self._env = env
        self._first_action = first_action
        self._ended = True

    def reset(self, seed: I64) -> Arrival:
        """Seed it with ``seed [1]`` and open an episode."""
        return self._open(int(seed[0]))

    def send(self, action: I64, seed: I64) -> None:
        """Remember the step; ``receive`` makes it."""
        self._action, self._seed = int(action[0]), int(seed[0])

    def receive(self) -> Arrival:
        """Make the step."""
        if self._seed >= 0:
            opening = self._open(self._seed)
            # The vector environment opens a seeded episode with a no-op, and so does its likeness.
            return self._step(0) if self.spec.atari else opening
        return self._open(None) if self._ended else self._step(self._action)

    def screen(self) -> Array:
        """``[H, W, 3]``."""
        try:
            picture = self._env.render()
        except gymnasium.error.Error as error:  # pygame or another painter is missing
            raise ConfigError(f"{self.spec.game} cannot be drawn: {error}") from error
        assert isinstance(picture, np.ndarray) and picture.shape[2:] == (3,), type(picture)
        return np.ascontiguousarray(picture)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _open(self, seed: int | None) -> Arrival:
        frame, info = self._env.reset(seed=seed)
        return self._arrival(frame, 0.0, False, False, info)

    def _step(self, action: int) -> Arrival:
        frame, reward, terminated, truncated, info = self._env.step(action + self._first_action)
        return self._arrival(frame, float(reward), terminated, truncated, info)

    def _arrival(
        self, frame: Any, reward: float, terminated: bool, truncated: bool, info: dict[str, Any]
    ) -> Arrival:
        self._ended = terminated or truncated
        return Arrival(
            frame=np.array(frame, self.spec.frame_dtype)[None],
            reward=np.array([reward], np.float32),
            terminated=np.array([terminated]),
            truncated=np.array([truncated]),
            lives=np.array([info["lives"] if self.spec.atari else 0], np.int64),
        )


class _PlainlySeeded(AtariEnv):
    """Hands the emulator the seed it was given, as the vector environment does.

    Gymnasium's own would hash it first, and the two would part at the first sticky action.
    """

    def seed_game(self, seed: int | None = None) -> tuple[int, int]:
        word = 0 if seed is None else seed  # None: while it is made; every reset here has a seed
        self.ale.setInt("random_seed", word)
        self._np_random, _ = np_random(word)  # draws the no-ops
        return word, word


def _atari(rom: str, game: str, config: EnvConfig, noop_max: int) -> _ScreenEngine:
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # else it prints a banner
    emulator = _PlainlySeeded(
        rom,
        obs_type="grayscale",  # unused, and the cheapest to make; the screen is asked for by itself
        frameskip=1,
        repeat_action_probability=STICKY[config.protocol],
        full_action_space=config.full_action_set,
        max_num_frames_per_episode=config.max_episode_frames,
        render_mode="rgb_array",
    )
    side = config.frame_size
    env = AtariPreprocessing(emulator, noop_max=noop_max, frame_skip=FRAME_SKIP, screen_size=side)
    spec = Spec(
        game=game,
        num_actions=int(emulator.action_space.n),  # type: ignore[attr-defined]
        frame_shape=(side, side),
        frame_dtype="uint8",
        stack=4,
        atari=True,
    )
    return _ScreenEngine(env, spec, 0, ATARI_FRAMES_PER_SECOND // FRAME_SKIP)


def _other(game: str, max_episode_steps: int | None) -> _ScreenEngine:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # Gymnasium paints with pygame
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())  # else SDL complains
    with make_one(game, max_episode_steps) as trial:
        spec, modes = spec_of(game, trial), trial.metadata.get("render_modes") or []
    if "rgb_array" not in modes:
        raise ConfigError(f"{game} cannot be drawn: it has no rgb_array among its render modes")
    env = make_one(game, max_episode_steps, "rgb_array")
    first_action = int(env.action_space.start)  # type: ignore[attr-defined]
    engine = _ScreenEngine(env, spec, first_action, int(env.metadata.get("render_fps") or 30))
    engine.reset(np.zeros(1, np.int64))
    engine.screen()  # a missing painter is found now, not after hours of training
    return engine
