"""Which places of the screen the action values depend on: perturbation saliency, Greydanus et al.
2018 (arXiv 1711.00138), section 3.

A place is blurred in all frames of the stack, by a Gaussian mask around it, and its score is
``1/2 ||q(blurred) - q||^2``: their equations 1 and 2, with action values for the actor's logits.
Mask and blur are as wide as theirs, relative to the picture.
"""

import math

import torch
import torch.nn.functional as F

from dqn.learning.actor import QModel
from dqn.types import F32, Array

GRID = 16
"""Places along each side: their distance is the paper's, 5 of 80 pixels."""

CHUNK = 16
"""Places evaluated at once; some 10 ms for Nature's network on one core."""

_MASK, _BLUR = 5 / 80, 3 / 80
"""Standard deviations, as parts of a side."""


class Saliency:
    """Computes maps in small pieces, so that acting with the same network never waits long."""

    def __init__(self, model: QModel) -> None:
        self._model = model
        self.map: F32 | None = None
        """The newest complete map ``[GRID, GRID]``, from 0 to 1, its largest score; all 0 if scores
        are no numbers; None before the first."""
        self._done: Array | None = None  # the stack of the newest map
        self._stack: Array | None = None  # that of the next
        self._scores: list[torch.Tensor] = []

    def advance(self, stack: Array) -> bool:
        """Evaluate the next piece of a map; if none has begun, of ``stack [1, S, H, W]``. Returns
        whether a map is complete now that was not before."""
        if self._stack is None:
            self._begin(stack)
        part = self._masks[CHUNK * len(self._scores) :][:CHUNK, None]  # [C, 1, H, W]
        mixed = torch.lerp(self._sharp, self._blurred, part).round().to(self._dtype)
        with torch.inference_mode():
            difference = self._model.q_values(mixed) - self._q
        self._scores.append(difference.square().sum(1) / 2)
        if CHUNK * len(self._scores) < GRID**2:
            return False
        scores = torch.cat(self._scores).view(GRID, GRID)
        relative = scores / scores.max().clamp(min=1e-12)
        self.map = relative.nan_to_num(0).cpu().numpy()
        self._done, self._stack, self._scores = self._stack, None, []
        return True

    def wants(self, stack: Array) -> bool:
        """Whether ``advance`` has something to do."""
        return self._stack is not None or stack is not self._done

    def _begin(self, stack: Array) -> None:
        self._stack = stack
        state = torch.from_numpy(stack).to(self._model.device)
        self._dtype, self._sharp = state.dtype, state.float()
        self._masks = gaussian_masks(*stack.shape[2:]).to(self._model.device)
        self._blurred = blur(self._sharp)
        with torch.inference_mode():
            self._q = self._model.q_values(state)


def gaussian_masks(height: int, width: int) -> torch.Tensor:
    """``[GRID^2, H, W]``: each 1 at its place, the middle of a cell of the grid, and falling around
    it."""
    columns, rows = _bells(width), _bells(height)
    return torch.einsum("iy,jx->ijyx", rows, columns).flatten(0, 1)


def _bells(side: int) -> torch.Tensor:
    """``[GRID, side]``."""
    places = (torch.arange(GRID) + 0.5) / GRID * side - 0.5
    return torch.exp(-((torch.arange(side) - places[:, None]) ** 2) / (2 * (_MASK * side) ** 2))


def blur(frames: torch.Tensor) -> torch.Tensor:
    """A Gaussian blur of ``frames [1, S, H, W]``, each for itself."""
    sigma = _BLUR * max(frames.shape[2:])
    radius = math.ceil(3 * sigma)
    bell = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    bell = (bell / bell.sum()).to(frames.device)
    padded = F.pad(frames.transpose(0, 1), [radius] * 4, mode="replicate")  # [S, 1, H', W']
    rows = F.conv2d(padded, bell.view(1, 1, -1, 1))
    return F.conv2d(rows, bell.view(1, 1, 1, -1)).transpose(0, 1)
