"""Environment: stacks, flags and reseeding."""

import copy
from typing import Any

import numpy as np
import pytest
from support.streams import assert_same_stream, play, play_from_reset, random_actions

from dqn.config import Config, EnvConfig
from dqn.envs import Environment, make
from dqn.envs.environment import EngineStep, Spec
from dqn.seeds import environment_seeds
from dqn.types import I64

Tape = list[tuple[int, ...]]
"""Frame, reward, terminated, truncated and lives at each step."""


class ScriptedEngine:
    """Two environments that play back a tape each."""

    spec = Spec("tape", 2, (1, 1), "uint8", 4, True)
    num_envs = 2

    def __init__(self, tapes: tuple[Tape, Tape]) -> None:
        self._steps = iter(zip(*tapes, strict=True))
        self.seeded: list[list[int]] = []

    def reset(self, seed: I64) -> EngineStep:
        self.seeded.append(seed.tolist())
        return self.receive()

    def send(self, action: I64, seed: I64) -> None:
        self.seeded.append(seed.tolist())

    def receive(self) -> EngineStep:
        frame, reward, *ended, lives = np.array(next(self._steps)).T
        terminated, truncated = np.array(ended, bool)
        frame, reward = frame.astype(np.uint8)[:, None, None], reward.astype(np.float32)
        return EngineStep(frame, reward, terminated, truncated, lives)

    def close(self) -> None:
        pass


A, B, C, D, E, F = range(11, 17)
TAPES: tuple[Tape, Tape] = (
    # The worked example of TimeStep's docstring: a life lost at c, the game at e.
    [(A, 0, 0, 0, 3), (B, 7, 0, 0, 3), (C, 0, 0, 0, 2), (D, -9, 0, 0, 2), (E, 1, 1, 0, 0),
     (F, 0, 0, 0, 3)],
    # Truncated at 2 together with a lost life; then an episode of one step that starts with fewer
    # lives than the last one had (no loss), and another that is truncated at once.
    [(1, 0, 0, 0, 5), (2, 0, 0, 1, 4), (3, 0, 0, 0, 3), (4, 2, 1, 0, 3), (5, 0, 0, 1, 3),
     (6, 0, 0, 0, 3)],
)  # fmt: skip


@pytest.mark.parametrize(
    "protocol, terminal",
    [
        ("classic", [[0, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 0]]),
        ("machado", [[0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0]]),
    ],
)
def test_flags_and_stacks_of_a_tape(protocol: Any, terminal: list[list[int]]) -> None:
    environment = Environment(ScriptedEngine(TAPES), EnvConfig(protocol))
    stream = [environment.reset(1, "x"), *play(environment, [np.zeros(2, np.int64)] * 5)]
    stacks = [timestep.stack[:, :, 0, 0].tolist() for timestep in stream]
    assert stacks == [
        [[0, 0, 0, A], [0, 0, 0, 1]],
        [[0, 0, A, B], [0, 0, 1, 2]],
        [[0, A, B, C], [0, 0, 0, 3]],
        [[A, B, C, D], [0, 0, 3, 4]],
        [[B, C, D, E], [0, 0, 0, 5]],
        [[0, 0, 0, F], [0, 0, 0, 6]],
    ]
    first = [[1, 0, 0, 0, 0, 1], [1, 0, 1, 0, 1, 1]]
    last = [[0, 0, 0, 0, 1, 0], [0, 1, 0, 1, 1, 0]]
    flags = np.array([[t.first, t.last, t.terminal] for t in stream]).transpose(1, 2, 0)
    np.testing.assert_array_equal(flags, [first, last, terminal])
    assert [t.reward.tolist() for t in stream] == [[0, 0], [7, 0], [0, 0], [-9, 2], [1, 0], [0, 0]]


def test_each_environment_is_reseeded_at_the_first_end_after_reseed_steps() -> None:
    # Ends: at steps 2 and 5 in the first, at 1, 3 and 4 in the second. Old enough from 3 on.
    ends = [(frame, 0, int(t in (2, 5)), 0, 0) for t, (frame, *_) in enumerate(TAPES[0])]
    engine = ScriptedEngine(([*ends, (9, 0, 0, 0, 0)], [*TAPES[1], TAPES[1][0]]))
    environment = Environment(engine, EnvConfig(reseed_steps=3))
    environment.reset(1, "x")
    play(environment, [np.zeros(2, np.int64)] * 6)
    opening, again = (
        environment_seeds(1, "x", np.arange(2), np.array([count] * 2)).tolist() for count in (0, 1)
    )
    assert engine.seeded == [
        opening, [-1, -1], [-1, -1], [-1, -1], [-1, again[1]], [-1, -1], [again[0], -1]
    ]  # fmt: skip


@pytest.mark.parametrize("rom", ["breakout", "pong"])
def test_stacks_hold_only_frames_of_the_same_episode(rom: str) -> None:
    config = Config(game=rom, env=EnvConfig(max_episode_frames=90, threads=2, reseed_steps=120))
    stream = play_from_reset(make(config, 3), 200)
    assert sum(timestep.first.sum() for timestep in stream) >= 20
    for i in range(3):
        episode: list[Any] = []
        for timestep in stream:
            if timestep.first[i]:
                episode = [np.zeros((84, 84), np.uint8)] * 4
            episode.append(timestep.stack[i, 3])
            np.testing.assert_array_equal(timestep.stack[i], np.stack(episode[-4:]))
            assert timestep.stack[i, 3].any()  # so blank frames are the padding, not a black screen


def test_a_returned_timestep_is_never_written_again() -> None:
    environment = make(Config(game="breakout", env=EnvConfig(max_episode_frames=90)), 2)
    environment.reset(1, "x")
    kept, copies = [], []
    for action in random_actions(environment, 60):
        kept += play(environment, [action])
        copies.append(copy.deepcopy(kept[-1]))
    environment.close()
    assert_same_stream(kept, copies)
