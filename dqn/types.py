"""The two records that everything else exchanges, and the letters that name tensor dimensions.

    N  environments          T  rows of the replay memory
    B  batch size            A  actions
    K  outputs per action (1 for plain DQN, 51 for C51, ...)

A frame is one observation of one environment: ``[84, 84]`` uint8 on Atari, the environment's own
shape and dtype elsewhere. A stack is the latest ``S`` frames, oldest first (4 on Atari, else 1).
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
"""An object's saved state: a tree of dicts with arrays, tensors, numbers, strings and lists."""


class TimeStep(NamedTuple):
    """The output of N environments at one time step (numpy).

    A worked example: one environment that loses a life at ``c`` and the game at ``e``
    (stacks oldest first, 0 = blank)::

        stack     000a  00ab  0abc  abcd  bcde  000f
        first       1     0     0     0     0     1
        last        0     0     0     0     1     0
        terminal    0     0     1     0     1     0     (protocol classic: c ends the return)
    """

    stack: Array
    """``[N, S, *frame]``, oldest to newest, zeros before the episode began."""
    reward: F32
    """``[N]`` raw reward received on arriving here."""
    first: Bool
    """``[N]`` whether an episode starts here."""
    last: Bool
    """``[N]`` whether it ends here (game over or time limit); the action chosen here is ignored."""
    terminal: Bool
    """``[N]`` nothing to bootstrap from: game over, or a lost life in protocol classic."""


class Batch(NamedTuple):
    """A batch of transitions, everything a learner sees (torch, on ``replay.device``)."""

    state: torch.Tensor
    """``[B, S, *frame]``."""
    action: torch.Tensor
    """``[B]`` int64."""
    reward: torch.Tensor
    """``[B]`` float32: clipped, then summed over k <= n rows with gamma."""
    discount: torch.Tensor
    """``[B]`` float32: gamma^k, or 0 if the transition ends in a terminal state."""
    next_state: torch.Tensor
    """``[B, S, *frame]``, k rows later."""
    weight: torch.Tensor
    """``[B]`` float32: importance-sampling weight, 1 under uniform sampling."""
    index: torch.Tensor  # type: ignore[assignment]  # shadows tuple.index, which is not needed
    """``[B]`` int64: the rows drawn, for ``update_priorities``."""
