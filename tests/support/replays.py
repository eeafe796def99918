"""Replay memories for tests: tapes of distinct rows, and the row rule restated in plain code."""

import itertools
from typing import Any, Literal, NamedTuple
from unittest import mock

import numpy as np
import torch

from dqn.config import ReplayConfig
from dqn.replay.arrays import PlainFrames
from dqn.replay.buffer import Replay
from dqn.types import Batch, TimeStep

GAMMA = 0.9


class Row(NamedTuple):
    """One environment at one time step."""

    frame: np.ndarray
    action: int
    reward: float
    first: bool
    last: bool
    terminal: bool


Tape = list[list[Row]]
"""``tape[t][environment]``: everything that happened, nothing overwritten."""


class Shape(NamedTuple):
    """The settings of a replay memory under test."""

    length: int
    num_envs: int
    n_step: int
    stack: int
    clip: bool = False
    float_frames: bool = False
    storage: Literal["plain", "compressed"] = "plain"
    sampler: Literal["uniform", "prioritized"] = "uniform"


PLAIN, LIFE_LOST, GAME_OVER, TIME_OUT = (False, False), (False, True), (True, True), (True, False)
"""(last, terminal) of a row."""


def painted_frame(time: int, environment: int, float_frames: bool) -> np.ndarray:
    """A frame from which time and environment can be read, never all zeros."""
    if float_frames:
        return np.array([time + 1, environment + 1, 0.5, -time - 1], np.float32)
    digits = [time % 250, time // 250, environment % 250, environment // 250]
    return np.array(digits, np.uint8).reshape(2, 2) + np.uint8(1)


def make_tape(endings: list[list[tuple[bool, bool]]], float_frames: bool = False) -> Tape:
    """A stream with these endings (``endings[t][environment]``) and distinct rewards.

    ``first`` follows from the row before: an ending right after an ending is an episode of one row.
    """
    return [
        [
            Row(
                frame=painted_frame(t, e, float_frames),
                action=(3 * t + e) % 5,
                reward=(1 if (t + e) % 2 else -1) * (0.25 + t + 1000 * e),
                first=t == 0 or endings[t - 1][e][0],
                last=ending[0],
                terminal=ending[1],
            )
            for e, ending in enumerate(row)
        ]
        for t, row in enumerate(endings)
    ]


def frames_shown(tape: Tape, t: int, e: int, size: int) -> list[np.ndarray]:
    """Frames in the stack at ``t``, newest last, at most back to the first row of the episode."""
    frames = [tape[t][e].frame]
    while len(frames) < size and not tape[t][e].first:
        t -= 1
        frames.insert(0, tape[t][e].frame)
    return frames


def seen_at(tape: Tape, t: int, e: int, size: int) -> np.ndarray:
    """The stack that the actor saw: newest frame last, zeros before the episode began."""
    frames = frames_shown(tape, t, e, size)
    blank = [np.zeros_like(frames[0])] * (size - len(frames))
    return np.stack(blank + frames)


def row_rule(tape: Tape, shape: Shape, written: int) -> dict[int, dict[str, Any]]:
    """Every start, ``slot * N + environment``, after ``written`` rows, and the sample it must
    give."""
    starts = {}
    held = range(max(0, written - shape.length), written)
    for t, e in itertools.product(held, range(shape.num_envs)):
        if tape[t][e].last:
            continue  # last rows are never starts
        if t - len(frames_shown(tape, t, e, shape.stack)) + 1 < written - shape.length:
            continue  # a frame of its stack is overwritten
        total = 0.0
        for k in range(1, min(shape.n_step, written - 1 - t) + 1):  # the rows that exist
            row = tape[t + k][e]
            reward = max(-1.0, min(1.0, row.reward)) if shape.clip else row.reward
            total += GAMMA ** (k - 1) * reward
            if k == shape.n_step or row.terminal or row.last:
                starts[t % shape.length * shape.num_envs + e] = {
                    "state": seen_at(tape, t, e, shape.stack),
                    "action": tape[t][e].action,
                    "reward": total,
                    "discount": 0.0 if row.terminal else GAMMA**k,
                    "next_state": seen_at(tape, t + k, e, shape.stack),
                }
                break
    return starts


def make_replay(shape: Shape, seed: int = 0) -> Replay:
    """A replay memory of that shape; unwritten rows hold values that must never be sampled."""
    length, num_envs, n_step, stack, clip, float_frames, storage, sampler = shape
    capacity = length * num_envs + num_envs - 1  # not a multiple of N
    config = ReplayConfig(
        capacity=capacity, n_step=n_step, gamma=GAMMA, storage=storage, sampler=sampler
    )
    frame_shape, frame_dtype = ((4,), "float32") if float_frames else ((2, 2), "uint8")
    replay = Replay(
        config, num_envs, frame_shape, frame_dtype, stack, num_actions=5,
        reward=lambda step: step.reward.clip(-1, 1) if clip else step.reward,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    assert replay.length == length
    unwritten = list(replay._rings.values())
    if isinstance(replay._frames, PlainFrames):
        unwritten.append(replay._frames._ring)
    for rows in unwritten:
        rows.fill_(torch.nan if rows.is_floating_point() else True)
    return replay


def moment(replay: Replay, tape: Tape, t: int) -> TimeStep:
    """Row ``t`` of a tape, as the environments return it."""
    stack = np.stack([seen_at(tape, t, e, len(replay._ago)) for e in range(len(tape[t]))])
    _, _, reward, *flags = map(np.array, zip(*tape[t], strict=True))
    return TimeStep(stack, reward.astype(np.float32), *flags)


def add(replay: Replay, tape: Tape, t: int) -> None:
    """Add row ``t`` of a tape as the loop does."""
    replay.add(moment(replay, tape, t), np.array([row.action for row in tape[t]]))


def replay_of(tape: Tape, shape: Shape) -> Replay:
    """A replay memory with all rows of a tape."""
    replay = make_replay(shape)
    for t in range(len(tape)):
        add(replay, tape, t)
    return replay


def drawable(replay: Replay) -> set[int]:
    """Rows that can be drawn, as ``slot * N + environment``."""
    return set(replay._sampler._masses.flat.nonzero().flatten().tolist())


def draw(replay: Replay, index: list[int]) -> Batch:
    """The samples of chosen rows: ``sample`` with the sampler's draw replaced."""
    chosen = np.array(index) if isinstance(replay._ago, np.ndarray) else torch.tensor(index)
    with mock.patch.object(replay._sampler, "draw", return_value=(chosen, torch.ones(len(index)))):
        return replay.sample(len(index))


def follow_the_rule(endings: list[list[tuple[bool, bool]]], shape: Shape) -> int:
    """Compare every row with the rule after each step; returns the number of starts compared."""
    tape, replay, total = make_tape(endings, shape.float_frames), make_replay(shape), 0
    for t in range(len(tape)):
        add(replay, tape, t)
        expected = row_rule(tape, shape, t + 1)
        assert drawable(replay) == set(expected), t
        total += len(expected)
        if not expected:
            continue
        batch = draw(replay, list(expected))
        for name in ("state", "next_state", "action", "reward", "discount"):
            ours = getattr(batch, name).numpy()
            theirs = np.stack([sample[name] for sample in expected.values()])
            if name in ("reward", "discount"):
                np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-4, err_msg=name)
            else:
                np.testing.assert_array_equal(ours, theirs, err_msg=name)
        assert (batch.weight == 1).all()
    return total


def random_endings(seed: int, rows: int, num_envs: int) -> list[list[tuple[bool, bool]]]:
    """Endings of every kind, so dense that stacks and n-step returns meet several."""
    random = np.random.default_rng(seed)
    kinds = [PLAIN, LIFE_LOST, GAME_OVER, TIME_OUT]
    draws = random.choice(4, size=(rows, num_envs), p=[0.7, 0.1, 0.1, 0.1])
    return [[kinds[kind] for kind in row] for row in draws]


def filled(shape: Shape, rows: int) -> Replay:
    """A replay memory after ``rows`` rows of a random tape."""
    endings = random_endings(0, rows, shape.num_envs)
    return replay_of(make_tape(endings, shape.float_frames), shape)
