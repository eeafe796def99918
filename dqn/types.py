"""The two things that travel through the program, and the letters that name their sides.

    N  environments          T  time rows of the replay memory
    B  batch                 A  actions
    K  numbers per action (1 for plain DQN, 51 for C51, ...)

A frame is one observation of one environment: ``[84, 84]`` uint8 on Atari, the environment's own
shape and dtype elsewhere. A stack is the newest ``S`` frames, oldest first (4 on Atari, else 1).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

State = dict[str, Any]
"""What an object remembers: a tree of dicts with arrays, tensors, numbers, strings and lists."""


class TimeStep(NamedTuple):
    """What N environments show at one moment (numpy).

    A worked stream of one environment that loses a life at ``c`` and the game at ``e``
    (stacks oldest first, 0 = blank)::

        stack     000a  00ab  0abc  abcd  bcde  000f
        first       1     0     0     0     0     1
        last        0     0     0     0     1     0
        terminal    0     0     1     0     1     0     (protocol classic: c ends the return)
    """

    stack: Array
    """``[N, S, *frame]``, oldest to newest, zeros before the episode began."""
    reward: F32
    """``[N]`` raw score gained on arriving here."""
    first: Bool
    """``[N]`` opens an episode."""
    last: Bool
    """``[N]`` closes it (game over or time-out); the action chosen here is ignored."""
    terminal: Bool
    """``[N]`` no value lies beyond: game over, or a lost life where the protocol says so."""


class Batch(NamedTuple):
    """All that a learner may know (torch, on ``replay.device``)."""

    state: torch.Tensor
    """``[B, S, *frame]``."""
    action: torch.Tensor
    """``[B]`` int64."""
    reward: torch.Tensor
    """``[B]`` float32: clipped, then summed over k <= n rows with gamma."""
    discount: torch.Tensor
    """``[B]`` float32: gamma^k, or 0 where nothing lies beyond."""
    next_state: torch.Tensor
    """``[B, S, *frame]``, k rows later."""
    weight: torch.Tensor
    """``[B]`` float32: importance weight, 1 when drawn uniformly."""
    index: torch.Tensor  # type: ignore[assignment]  # hides a method of tuple nobody needs
    """``[B]`` int64: the rows drawn, for ``update_priorities``."""
