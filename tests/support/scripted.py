"""Games in which everything is written in advance: screens, rewards, lives, ends.

``ScriptedAtari`` stands in for ALE's vector environment, the lowest place where the rewards can be
chosen; ``ScriptedGym`` is an environment in Gymnasium's registry. What both are asked is kept.
"""

import os
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import pytest

from dqn.types import I64, Array, Bool

ACTIONS = 3


class Game(NamedTuple):
    """One game; it ends with its last reward."""

    rewards: tuple[float, ...]
    """What each decision brings."""
    lives: tuple[int, ...] = ()
    """What each decision leaves of three lives, as far as one is lost."""
    timeout: bool = False
    """Whether it is cut by a time limit, and not over."""

    def after(self, step: int) -> tuple[float, int, bool, bool]:
        """Reward, lives, game over and time-out after ``step`` decisions, at least one."""
        last = step == len(self.rewards)
        lives = self.lives[step - 1] if step <= len(self.lives) else [3, *self.lives][-1]
        return self.rewards[step - 1], lives, last and not self.timeout, last and self.timeout


ENDLESS = Game((0.0,) * 100_000)

Games = list[Game]
"""The games of one emulator, in turn; after them it plays ``ENDLESS``."""


class ScriptedAtari:
    """N emulators. Screens are gray: the first of emulator i is ``100 i + 1``, the next one more.

    Like ALE's it resets itself, with the step after an end, and does what its options say.
    """

    games: ClassVar[dict[int, list[list[Games]]]] = {}
    """By the number of emulators, which tells training from evaluation: for the first that is made
    with that number, the second, ... the games of each of its emulators."""
    made: ClassVar[list["ScriptedAtari"]] = []
    """All that were made."""
    seconds: ClassVar[int] = 0
    """How long they have played: each takes a second a step."""
    single_action_space = gymnasium.spaces.Discrete(ACTIONS)

    def __init__(self, rom: str, num_envs: int, **options: Any) -> None:
        earlier = sum(other.num_envs == num_envs for other in self.made)
        rounds = self.games.get(num_envs, [])
        script = rounds[earlier] if earlier < len(rounds) else []
        self.num_envs = num_envs
        self.resets: list[tuple[int, list[int], list[int]]] = []
        """Of each reset: the steps before it, which emulators, and their seeds."""
        self.actions: list[list[int]] = []
        """The actions of each step."""
        self._received = 0
        self._options = options
        self.asked = {"rom": rom, "num_envs": num_envs} | options
        self.niceness = os.getpriority(os.PRIO_PROCESS, 0)
        """That of the thread which makes them."""
        self._script = script or [[]] * num_envs
        self._next = np.zeros(num_envs, np.int64)  # game of each emulator
        self._seeded: dict[int, tuple[int, int]] = {}
        self._game = [ENDLESS] * num_envs
        self._step = np.zeros(num_envs, np.int64)
        self._shown = 100 * np.arange(num_envs)
        self._ended = np.zeros(num_envs, bool)
        self.made.append(self)

    def reset(self, seed: I64, options: dict[str, Bool]) -> tuple[Array, dict[str, Array]]:
        assert options["reset_mask"].dtype == bool
        chosen, words = np.flatnonzero(options["reset_mask"]).tolist(), seed.tolist()
        self.resets.append((len(self.actions), chosen, words))
        for i, word in zip(chosen, words, strict=True):
            # A seed leads to where it led before.
            known = self._seeded.setdefault(word, (self._next[i], self._shown[i]))
            self._next[i], self._shown[i] = known
            self._start(i)
        return self._screens(), {"lives": np.full(self.num_envs, 3)}

    def send(self, action: I64) -> None:
        assert action.dtype == np.int64 and len(self.actions) == self._received
        self.actions.append(action.tolist())

    def recv(self) -> tuple[Array, Array, Bool, Bool, dict[str, Array]]:
        ScriptedAtari.seconds += self.num_envs
        self._received += 1
        assert len(self.actions) == self._received, "nothing was sent"
        after = []
        for i in range(self.num_envs):
            if self._ended[i]:
                self._start(i)
                after.append((0.0, 3, False, False))
            else:
                self._step[i] += 1
                self._shown[i] += 1
                after.append(self._game[i].after(int(self._step[i])))
        reward, lives, over, timeout = map(np.array, zip(*after, strict=True))
        frames = self._options["frameskip"] * self._step
        timeout |= (frames >= self._options["max_num_frames_per_episode"]) & ~over
        if self._options["episodic_life"]:
            over |= lives < 3
        if self._options["reward_clipping"]:
            reward = np.clip(reward, -1, 1)
        self._ended = over | timeout
        return self._screens(), reward, over, timeout, {"lives": lives}

    @property
    def seeds(self) -> list[int]:
        """Every seed that an emulator was given."""
        return [seed for *_, seeds in self.resets for seed in seeds]

    def close(self) -> None: ...

    def _start(self, i: int) -> None:
        self._game[i] = [*self._script[i][self._next[i] :], ENDLESS][0]
        self._next[i] += 1
        self._step[i] = 0
        self._shown[i] += 1
        self._ended[i] = False

    def _screens(self) -> Array:
        side = self._options["img_height"]
        gray = self._shown.astype(np.uint8)[:, None, None, None]
        return np.tile(gray, (1, self._options["stack_num"], side, side))


class ScriptedGym(gymnasium.Env[Array, int]):
    """One environment that plays ``games`` in turn; it shows 0, 1, ... the number of decisions."""

    games: ClassVar[Games] = []
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 5}
    action_space: Any = gymnasium.spaces.Discrete(ACTIONS)
    observation_space = gymnasium.spaces.Box(0, 1000, (2,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._coming = iter(self.games)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Array, Any]:
        super().reset(seed=seed)
        self._game, self._step = next(self._coming, ENDLESS), 0
        return self._screen(), {}

    def step(self, action: int) -> tuple[Array, float, bool, bool, Any]:
        self._step += 1
        reward, lives, over, timeout = self._game.after(self._step)
        return self._screen(), reward, over, timeout, {"lives": lives}

    def render(self) -> Array:
        return np.full((8, 8, 3), self._step, np.uint8)

    def _screen(self) -> Array:
        return np.array([self._step, 0.5], np.float32)


GYM = "Scripted-v0"


def script_atari(
    patch: pytest.MonkeyPatch, games: dict[int, list[list[Games]]]
) -> type[ScriptedAtari]:
    """Every Atari game is now played from ``games``."""
    for name, value in (("games", games), ("made", []), ("seconds", 0)):
        patch.setattr(ScriptedAtari, name, value)
    patch.setattr("dqn.envs.atari.AtariVectorEnv", ScriptedAtari)
    return ScriptedAtari


def script_gym(patch: pytest.MonkeyPatch, *games: Game) -> str:
    """The id of an environment whose every copy plays ``games``."""
    patch.setattr(ScriptedGym, "games", list(games))
    patch.setitem(gymnasium.registry, GYM, gymnasium.envs.registration.EnvSpec(GYM, ScriptedGym))
    return GYM
