"""Perturbation saliency: what a network looks at, the published formula for one place."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dqn.learning.actor import QModel
from dqn.learning.values import Expected
from dqn.web.saliency import CHUNK, GRID, Saliency

SIDE = 48
RNG = np.random.default_rng(1)
STACK = RNG.integers(256, size=(1, 4, SIDE, SIDE), dtype=np.uint8)


class LooksAt(torch.nn.Module):
    """Two action values: the mean of a part of the newest frame, and 0."""

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        self._part = rows, columns

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        mean = state[:, -1, *self._part].double().mean((1, 2))
        return torch.stack([mean, torch.zeros_like(mean)], 1)[..., None]


def saliency_of(rows: slice, columns: slice) -> Saliency:
    network = LooksAt(rows, columns)
    return Saliency(QModel(network, Expected("mse", 1.0), 2, torch.device("cpu")))


def complete(saliency: Saliency, stack: np.ndarray) -> int:
    """The number of pieces until a map is complete."""
    for piece in range(1, GRID**2 + 1):
        if saliency.advance(stack):
            return piece
    raise AssertionError("it never is")


def test_the_map_shows_where_the_network_looks():
    saliency = saliency_of(slice(30, 33), slice(9, 12))
    lit = np.zeros_like(STACK)
    lit[..., 30:33, 9:12] = 255
    assert complete(saliency, lit) == GRID**2 // CHUNK
    row, column = np.unravel_index(saliency.map.argmax(), (GRID, GRID))
    assert (row, column) == (31 * GRID // SIDE, 10 * GRID // SIDE)
    assert saliency.map.max() == 1
    assert saliency.map[:5].max() == saliency.map[:, 12:].max() == 0, "far away"


def test_a_network_that_has_diverged_looks_nowhere():
    saliency = saliency_of(slice(0), slice(0))  # the mean of nothing is NaN
    complete(saliency, STACK)
    assert saliency.map.max() == 0


def test_a_score_is_that_of_the_paper():
    saliency = saliency_of(slice(30, 33), slice(9, 12))
    complete(saliency, STACK)
    blurred = gaussian_filter(STACK[0, -1].astype(float), 3 / 80 * SIDE, mode="nearest", truncate=3)
    y, x = np.mgrid[:SIDE, :SIDE]
    scores = {}
    for row, column in ((10, 3), (9, 4), (11, 2)):
        middle_y, middle_x = (row + 0.5) * SIDE / GRID - 0.5, (column + 0.5) * SIDE / GRID - 0.5
        squares = (y - middle_y) ** 2 + (x - middle_x) ** 2
        mask = np.exp(-squares / (2 * (5 / 80 * SIDE) ** 2))
        perturbed = np.round(STACK[0, -1] * (1 - mask) + blurred * mask)
        change = (perturbed - STACK[0, -1])[30:33, 9:12].mean()
        scores[row, column] = change**2 / 2
    expected = {place: score / scores[10, 3] for place, score in scores.items()}
    found = {place: saliency.map[place] / saliency.map[10, 3] for place in scores}
    assert found == pytest.approx(expected, rel=0.05)  # a pixel may be rounded otherwise


def test_a_stack_is_computed_once_and_a_map_is_of_the_stack_it_began_with():
    saliency = saliency_of(slice(0, 3), slice(0, 3))
    other = STACK[:, ::-1].copy()
    assert saliency.wants(STACK)
    saliency.advance(STACK)
    complete(saliency, other)
    assert not saliency.wants(STACK)
    assert saliency.wants(other)


def test_nothing_matters_to_a_network_that_looks_at_nothing():
    class Blind(torch.nn.Module):
        def forward(self, state: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(state), 2, 1)

    saliency = Saliency(QModel(Blind(), Expected("mse", 1.0), 2, torch.device("cpu")))
    complete(saliency, STACK)
    assert (saliency.map == 0).all()
