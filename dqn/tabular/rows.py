"""Reading the replay memory in order: what DQN draws from at random, its forerunners look at once,
as it comes.

The row rule (replay.py) holds here too: row t has what was seen at t, the action chosen there, and
the reward and flags on arrival.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dqn.replay.buffer import Replay
from dqn.types import F64, I64, Array, State


class Moments(NamedTuple):
    """Moments in a row, L of them, of N environments; the names are TimeStep's."""

    stack: Array
    """``[L, N, 1, *frame]``."""
    action: I64
    """``[L, N]``."""
    reward: F64
    first: Array
    last: Array
    terminal: Array


def read(replay: Replay, begin: int, end: int) -> Moments:
    """Rows ``begin .. end-1`` in time; those that were overwritten are left out."""
    oldest = max(replay.time - replay.length, 0)
    rows = replay.rows(max(begin, oldest), end)
    return Moments(
        rows["frame"].numpy()[:, :, None],
        rows["action"].numpy().astype(np.int64),
        rows["reward"].numpy().astype(np.float64),
        *(rows[flag].numpy() for flag in ("first", "last", "terminal")),
    )


class Episode(NamedTuple):
    """A whole episode of L steps."""

    stack: Array
    """``[L, 1, *frame]`` what each action was chosen on."""
    action: I64
    """``[L]``."""
    reward: F64
    """``[L]`` what it led to."""
    terminal: bool
    """False if a time limit cut it."""


class Episodes:
    """The episodes of one environment, each handed over once, when it has ended.

    Of one that is longer than the memory the newest part is handed over; one of which the last row
    alone is left is not.
    """

    def __init__(self, replay: Replay) -> None:
        assert replay.num_envs == 1, replay.num_envs
        self._replay = replay
        self._begin = 0  # row that opened the episode under way
        self._seen = 0  # rows looked at

    def ended(self) -> Iterator[Episode]:
        """Those that have ended since the last call."""
        new = read(self._replay, self._seen, self._replay.time)
        at = self._replay.time - len(new.action)
        self._seen = self._replay.time
        for first, last in zip(new.first[:, 0], new.last[:, 0], strict=True):
            if first:
                self._begin = at
            if last and at > max(self._begin, self._replay.time - self._replay.length):
                yield self._episode(at)
            at += 1

    def state_dict(self) -> State:
        """How far it has read."""
        return {"begin": self._begin, "seen": self._seen}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        self._begin, self._seen = state["begin"], state["seen"]

    def _episode(self, end: int) -> Episode:
        """The one whose last row is ``end``, on which no action is taken."""
        moments = read(self._replay, self._begin, end + 1)
        return Episode(
            stack=moments.stack[:-1, 0],
            action=moments.action[:-1, 0],
            reward=moments.reward[1:, 0],
            terminal=bool(moments.terminal[-1, 0]),
        )
