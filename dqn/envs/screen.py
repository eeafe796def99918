"""One environment that can also be seen: Environment with N = 1, and an RGB picture of the screen.

ALE's vector environment has no RGB screen, so the pictures come from Gymnasium's single one.
Frame stacking, flags and time limits are Environment's, so that a video shows exactly what the
agent meets in training.
"""

import os
import tempfile
from collections import deque
from typing import Any

import ale_py
import numpy as np
from ale_py.env import AtariEnv
from gymnasium.utils.seeding import np_random
from gymnasium.wrappers import AtariPreprocessing

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs.atari import FRAME_SKIP, NOOP_MAX, STICKY, atari_spec
from dqn.envs.environment import Environment
from dqn.envs.gymnasium import Env, GymnasiumEngine, make_one
from dqn.envs.names import action_names, atari_rom, resolve_game
from dqn.types import I64, Array, TimeStep

ATARI_FRAMES_PER_SECOND = 60


class ScreenEnvironment(Environment):
    """One environment of the config's game, under its protocol, with its screen.

    Raises:
        ConfigError: unknown game, or one that cannot be rendered.
    """

    decisions_per_second: int
    """Steps per second at the game's own speed: 15 on Atari."""
    action_names: tuple[str, ...]
    """``UPRIGHT`` and the like; numbers where the game has no names."""

    def __init__(self, config: Config, noop_max: int = NOOP_MAX) -> None:
        game = resolve_game(config.game)
        rom = atari_rom(game)
        self._emulator: _RawSeedAtariEnv | None = None
        if rom:
            self._env, self._emulator = _atari(rom, config.env, noop_max)
            self.action_names = tuple(self._emulator.get_action_meanings())
            self.decisions_per_second = ATARI_FRAMES_PER_SECOND // FRAME_SKIP
            spec = atari_spec(rom, self._env.action_space, config.env)
            engine: GymnasiumEngine = _AtariScreenEngine(game, [self._env], spec)
        else:
            self._env = _renderable(game, config.env.max_episode_steps)
            self.decisions_per_second = int(self._env.metadata.get("render_fps") or 30)
            engine = GymnasiumEngine(game, [self._env])
            self.action_names = action_names(game, engine.spec.num_actions)
        super().__init__(engine, config.env)
        if not rom:
            self._env.reset()
            self.screen()  # find a missing graphics library now, not after hours of training

    def step(self, action: I64) -> TimeStep:
        """Take ``action [1]``; after a ``last`` it is ignored and the next episode starts."""
        self.send(action)
        return self.receive()

    def screen(self) -> Array:
        """The current screen as the emulator renders it, ``[H, W, 3]`` uint8, 210x160 on Atari.

        It is the latest emulator frame only, whereas the agent sees the maximum of the last two:
        objects that a game draws on every other frame may be missing here.
        """
        try:
            picture = self._env.render()
        except Exception as error:  # a library is missing, or whatever a renderer raises
            raise ConfigError(f"{self.spec.game} cannot be rendered: {error}") from error
        if not isinstance(picture, np.ndarray) or picture.shape[2:] != (3,):
            raise ConfigError(f"{self.spec.game} cannot be rendered: it shows no RGB picture")
        return np.ascontiguousarray(picture)

    def keep_every_screen(self) -> None:
        """From now on keep what ``screens`` returns, which takes .1 ms a step."""
        if self._emulator is not None:
            self._emulator.screens = deque(maxlen=FRAME_SKIP)

    def screens(self) -> list[Array]:
        """The screens since the last call, up to the current one: 4 at most on Atari, one for each
        emulator frame, 60 a second; elsewhere the current one."""
        if self._emulator is None:
            return [self.screen()]
        assert self._emulator.screens is not None, "keep_every_screen first"
        kept = list(self._emulator.screens)
        self._emulator.screens.clear()
        return kept or [self.screen()]


class _AtariScreenEngine(GymnasiumEngine):
    """Steps exactly as AtariEngine does: a reseeded environment is reset, then given a no-op."""

    def send(self, action: I64, seed: I64) -> None:
        if seed[0] >= 0:
            self.reset(seed)
            action, seed = np.zeros(1, np.int64), np.full(1, -1)
        super().send(action, seed)


class _RawSeedAtariEnv(AtariEnv):
    """Passes its seed to the emulator unchanged, as ALE's vector environment does.

    Gymnasium's own hashes the seed first, so the two would differ from the first sticky action on.
    """

    screens: deque[Array] | None = None
    """The screens after the latest emulator frames, if they are to be kept."""

    def step(self, action: Any) -> Any:
        result = super().step(action)
        if self.screens is not None:
            self.screens.append(self.ale.getScreenRGB())
        return result

    def seed_game(self, seed: int | None = None) -> tuple[int, int]:
        word = seed or 0  # None only in the constructor; every reset here has a seed
        self.ale.setInt("random_seed", word)
        self._np_random, _ = np_random(word)  # for the number of no-ops
        return word, word


def _atari(rom: str, config: EnvConfig, noop_max: int) -> tuple[Env, _RawSeedAtariEnv]:
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # suppresses its banner
    emulator = _RawSeedAtariEnv(
        rom,
        obs_type="grayscale",  # unused, but the cheapest; the screen is read separately
        frameskip=1,
        repeat_action_probability=STICKY[config.protocol],
        full_action_space=config.full_action_set,
        max_num_frames_per_episode=config.max_episode_frames,
        render_mode="rgb_array",
    )
    env = AtariPreprocessing(
        emulator, noop_max=noop_max, frame_skip=FRAME_SKIP, screen_size=config.frame_size
    )
    return env, emulator


def quiet_pygame() -> None:
    """Before pygame is imported: no greeting, and no complaint of SDL's."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())


def _renderable(game: str, max_episode_steps: int | None) -> Env:
    quiet_pygame()  # Gymnasium renders with it
    with make_one(game, max_episode_steps) as trial:
        modes = trial.metadata.get("render_modes") or []
    if "rgb_array" not in modes:
        raise ConfigError(f"{game} cannot be rendered: rgb_array is not among its render modes")
    return make_one(game, max_episode_steps, "rgb_array")
