"""Reading the replay memory in order. DQN samples it at random; the methods here read each row
once, as it arrives.

The row rule (replay/buffer.py) holds here too: row t has the observation at t, the action chosen
there, and the reward and flags received on arrival.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dqn.replay.buffer import Replay
from dqn.types import F64, I64, Array, State


class Rows(NamedTuple):
    """L consecutive rows of N environments; the fields are those of TimeStep, and the action."""

    stack: Array
    """``[L, N, 1, *frame]``."""
    action: I64
    """``[L, N]``, and so are the others."""
    reward: F64
    first: Array
    last: Array
    terminal: Array


def read_rows(replay: Replay, begin: int, end: int) -> Rows:
    """The rows of the time steps ``begin .. end-1``, without those already overwritten."""
    oldest = max(replay.time - replay.length, 0)
    rows = replay.rows(max(begin, oldest), end)
    return Rows(
        rows["frame"].numpy()[:, :, None],
        rows["action"].numpy().astype(np.int64),
        rows["reward"].numpy().astype(np.float64),
        *(rows[flag].numpy() for flag in ("first", "last", "terminal")),
    )


class Episode(NamedTuple):
    """A whole episode of L steps."""

    stack: Array
    """``[L, 1, *frame]`` the observation at each step."""
    action: I64
    """``[L]`` the action chosen on it."""
    reward: F64
    """``[L]`` the reward that followed."""
    terminal: bool
    """False if the episode was cut by a time limit."""


class EpisodeReader:
    """Yields each episode of a single environment once, when it has ended.

    If an episode is longer than the memory, only its latest part is yielded; if only its last row
    is left, none of it.
    """

    def __init__(self, replay: Replay) -> None:
        assert replay.num_envs == 1, replay.num_envs
        self._replay = replay
        self._begin = 0  # first row of the current episode
        self._seen = 0  # rows read so far

    def finished(self) -> Iterator[Episode]:
        """The episodes that have ended since the last call."""
        new = read_rows(self._replay, self._seen, self._replay.time)
        row = self._replay.time - len(new.action)
        self._seen = self._replay.time
        for first, last in zip(new.first[:, 0], new.last[:, 0], strict=True):
            if first:
                self._begin = row
            if last and row > max(self._begin, self._replay.time - self._replay.length):
                yield self._episode(row)
            row += 1

    def state_dict(self) -> State:
        return {"begin": self._begin, "seen": self._seen}

    def load_state_dict(self, state: State) -> None:
        if not state["begin"] <= state["seen"] <= self._replay.time:
            raise ValueError("more rows were read than the replay memory was given")
        self._begin, self._seen = state["begin"], state["seen"]

    def _episode(self, end: int) -> Episode:
        """The current episode; ``end`` is its last row, whose action is ignored."""
        rows = read_rows(self._replay, self._begin, end + 1)
        return Episode(
            stack=rows.stack[:-1, 0],
            action=rows.action[:-1, 0],
            reward=rows.reward[1:, 0],
            terminal=bool(rows.terminal[-1, 0]),
        )
