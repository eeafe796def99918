"""Which rows of the replay memory may start a sample, by the row rule (``buffer``)."""

import numpy as np

from dqn.types import I64, Bool

FLAGS = ("first", "last", "terminal")


class ValidStarts:
    """Finds the rows that become, or stop being, valid starts when a row is added.

    Works on a host copy of the rows' flags, so that it never waits for a device.
    """

    def __init__(self, length: int, num_envs: int, n_step: int, stack: int) -> None:
        self.flags = np.zeros((len(FLAGS), length, num_envs), bool)
        """FLAGS of every row, ``[3, T, N]``."""
        self._length, self._n_step, self._stack = length, n_step, stack

    def kept(self, time: int) -> tuple[I64, Bool]:
        """Slots ``[S]`` whose stacks may show the row that row ``time`` overwrites, and which of
        their rows stay valid all the same, ``[S, N]``: those from the next ``first`` row on."""
        slots = (time + np.arange(self._stack)) % self._length
        keep = np.ones((self._stack, self.flags.shape[2]), bool)
        if time >= self._length:
            keep[0] = False
            np.logical_or.accumulate(self.flags[0, slots[1:]], out=keep[1:])
        return slots, keep

    def completed(self, time: int) -> tuple[I64, Bool]:
        """The n slots ``[n]`` before row ``time``, newest first, and which of their rows it makes
        valid starts, ``[n, N]``: the oldest and, if it is an end, all since the last end."""
        slots = (time - 1 - np.arange(self._n_step)) % self._length
        _, last, terminal = self.flags
        complete = np.zeros((self._n_step, self.flags.shape[2]), bool)
        complete[-1] = True
        complete |= last[time % self._length] | terminal[time % self._length]
        ends = last[slots] | terminal[slots]
        complete[1:] &= ~np.logical_or.accumulate(ends[:-1])
        complete &= ~last[slots]
        complete[time:] = False  # there are only ``time`` earlier rows
        return slots, complete
