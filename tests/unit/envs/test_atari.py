"""Atari: bit for bit as Gymnasium's own preprocessing, and the rules of the protocols."""

from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py import roms
from gymnasium.wrappers import AtariPreprocessing
from support.streams import assert_same_stream, play, play_from_reset, random_actions

from dqn.config import Config, EnvConfig
from dqn.envs import Environment, display_name, make
from dqn.envs.atari import AtariEngine
from dqn.seeds import environment_seeds
from dqn.types import TimeStep


class Reference:
    """Gymnasium's single environment, stacked and flagged by hand, as a stream of TimeSteps."""

    def __init__(self, rom: str, config: EnvConfig, seed: int) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        emulator = gymnasium.make(
            f"ALE/{display_name(rom)}-v5",
            frameskip=1,
            repeat_action_probability={"classic": 0.0, "machado": 0.25}[config.protocol],
            full_action_space=config.full_action_set,
            max_num_frames_per_episode=config.max_episode_frames,
        )
        self._env = AtariPreprocessing(
            emulator, noop_max=0, frame_skip=4, screen_size=config.frame_size
        )
        # Gymnasium hashes a seed before it reaches the emulator; here it must be the very same.
        emulator.unwrapped.ale.setInt("random_seed", seed)
        emulator.unwrapped.ale.loadROM(roms.get_rom_path(rom))
        self._classic = config.protocol == "classic"
        self.num_actions = int(emulator.action_space.n)
        self.lives = 0
        self.life_losses = 0

    def reset(self) -> TimeStep:
        frame, info = self._env.reset()
        self._frames, self.lives = [frame], info["lives"]
        return self._timestep(0.0, True, False, False)

    def step(self, action: int) -> TimeStep:
        frame, reward, terminated, truncated, info = self._env.step(action)
        self._frames.append(frame)
        lost, self.lives = info["lives"] < self.lives, info["lives"]
        self.life_losses += lost
        return self._timestep(
            reward, False, terminated or truncated, terminated or (self._classic and lost)
        )

    def _timestep(self, reward: Any, first: bool, last: bool, terminal: bool) -> TimeStep:
        blank = [np.zeros_like(self._frames[0])] * 4
        stack = np.stack((blank + self._frames)[-4:])[None]
        flags = (np.array([flag]) for flag in (first, last, terminal))
        return TimeStep(stack, np.array([reward], np.float32), *flags)


GAMES = [
    # game, settings, steps, protocol; at least so many lost lives, game overs and time limits
    ("breakout", {}, 500, "classic", (5, 1, 0)),
    ("breakout", {"full_action_set": True}, 400, "machado", (1, 0, 0)),
    ("ms_pacman", {}, 600, "machado", (3, 1, 0)),
    # 200 frames are 50 steps; a limit of 202 falls inside the frame skip
    ("breakout", {"max_episode_frames": 200}, 200, "classic", (1, 0, 3)),
    ("space_invaders", {"max_episode_frames": 202}, 200, "machado", (0, 0, 3)),
    ("breakout", {"frame_size": 99}, 150, "classic", (2, 0, 0)),
]


@pytest.mark.parametrize("rom, settings, steps, protocol, expected", GAMES)
def test_bit_for_bit_with_gymnasium(rom, settings, steps, protocol, expected):
    config = EnvConfig(protocol=protocol, threads=1, **settings)
    environment = Environment(AtariEngine(rom, 1, config, noop_max=0), config)
    seed = int(environment_seeds(1, "x", np.arange(1), np.zeros(1, np.int64))[0])
    reference = Reference(rom, config, seed)
    assert environment.spec.num_actions == reference.num_actions
    ours, theirs = [environment.reset(1, "x")], [reference.reset()]
    for t, action in enumerate(random_actions(environment, steps), 1):
        theirs.append(reference.reset() if theirs[-1].last[0] else reference.step(int(action[0])))
        ours += play(environment, [action])
        assert environment.state_dict()["lives"][0] == reference.lives, t
    environment.close()
    assert_same_stream(ours, theirs)
    overs = [bool(timestep.terminal[0]) for timestep in theirs if timestep.last[0]]
    happened = reference.life_losses, overs.count(True), overs.count(False)
    assert (np.array(happened) >= expected).all(), (happened, expected)


def test_an_episode_starts_with_up_to_30_no_ops():
    engine = AtariEngine("pong", 2, EnvConfig(max_episode_frames=4, threads=2))
    engine.reset(np.arange(2))
    drawn: set[int] = set()
    for t in range(220):  # every other step starts an episode
        engine._env.send(np.zeros(2, np.int64))
        *_, info = engine._env.recv()
        if t % 2:
            drawn |= set(info["episode_frame_number"].tolist())
    engine.close()
    assert drawn == set(range(31))


def test_the_time_limit_counts_frames_after_the_no_ops():
    """In emulator frames, whole frame skips or not. The frame on which an episode ends is never
    read: if it is not the fourth of its frame skip, nothing new is read at all. Gymnasium's
    preprocessing does the same."""
    for limit, steps in ((100, 25), (101, 26), (102, 26), (103, 26)):
        env = EnvConfig(max_episode_frames=limit, threads=1)
        stream = play_from_reset(make(Config(game="pong", env=env), 2), 2 * steps + 1)
        ends = [t for t, timestep in enumerate(stream) if timestep.last.any()]
        assert ends == [steps, 2 * steps + 1]  # one more: the step that starts an episode
        for timestep in (stream[end] for end in ends):
            assert timestep.last.all() and not timestep.terminal.any()
            if limit % 4:
                np.testing.assert_array_equal(timestep.stack[:, 3], timestep.stack[:, 2])


def test_any_number_of_threads_gives_the_same_bits():
    streams = []
    for threads in (1, 4):
        env = EnvConfig("machado", max_episode_frames=202, reseed_steps=60, threads=threads)
        streams.append(play_from_reset(make(Config(game="seaquest", env=env), 3), 130))
    assert_same_stream(*streams)


def test_a_seed_that_ale_would_ignore_is_refused():
    engine = AtariEngine("pong", 1, EnvConfig())
    engine.reset(np.array([2**31 - 1]))
    for seed in (-1, 2**31):
        with pytest.raises(AssertionError):
            engine.reset(np.array([seed]))
    engine.close()
