"""``table.png``: what a table holds, as a picture."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dqn import envs
from dqn.types import F64, Bool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE = "table.png"

_CORNERS = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
"""Of a cell around its middle, clockwise from the top left; y goes down."""


def draw_table(folder: Path, numbers: F64, allowed: Bool, what: str) -> None:
    """Draw ``numbers [S, A]`` into ``table.png``, unless all are 0: of the maze each cell's four
    directions; of other states the greatest and where it is. ``what`` says what a number is.

    Raises:
        OSError: it cannot be written; an older picture stays.
    """
    # Imported here: it takes a second, and most of the program never needs it.
    from matplotlib.figure import Figure

    if not numbers.any():
        return
    if np.array_equal(allowed, envs.allowed_in_maze()):
        figure = Figure(figsize=(5, 5.2), layout="constrained")
        _draw_maze(figure, numbers, allowed, what)
    else:
        figure = Figure(figsize=(9, 4), layout="constrained")
        _draw_states(figure, numbers, what)
    aside = folder / f".{TABLE}.part.png"
    figure.savefig(aside, dpi=90)
    aside.replace(folder / TABLE)


def _draw_maze(figure: "Figure", numbers: F64, allowed: Bool, what: str) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    axes = figure.add_subplot()
    shown = np.where(allowed, numbers, np.nan)[:-1]  # nothing is chosen at the goal
    colors, norm = colormaps["YlGn"], Normalize(np.nanmin(shown), np.nanmax(shown))
    for cell, values in enumerate(shown):
        row, column = divmod(cell, 3)
        for side, value in enumerate(values):  # up, right, down, left: clockwise, as the corners
            if np.isnan(value):
                continue
            ends = (_CORNERS[side], _CORNERS[(side + 1) % 4])
            corners = [(column, row), *((column + x, row + y) for x, y in ends)]
            best = value == np.nanmax(values)
            axes.fill(
                *zip(*corners, strict=True), fc=colors(norm(value) * 0.8),
                ec="tab:blue" if best else "gray", lw=2.5 if best else 0.5, zorder=2 if best else 1,
            )  # fmt: skip
            x, y = (sum(end[i] for end in ends) * 0.33 for i in (0, 1))
            axes.text(
                column + x, row + y, f"{value:.3f}", ha="center", va="center", fontsize=8, zorder=3
            )
        axes.text(
            column, row, f"S{cell}", ha="center", va="center", fontsize=8, weight="bold", zorder=4,
            bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": "gray", "lw": 0.5},
        )  # fmt: skip
    axes.text(2, 2, "GOAL", ha="center", va="center", weight="bold")
    for (x, y), (x2, y2) in envs.walls_of_maze():
        axes.plot([x - 0.5, x2 - 0.5], [y - 0.5, y2 - 0.5], color="black", linewidth=4, zorder=5)
    axes.plot([-0.5, 2.5, 2.5, -0.5, -0.5], [-0.5, -0.5, 2.5, 2.5, -0.5], "k", linewidth=4)
    axes.set_title(f"{what} of each move in each cell; the best in blue", fontsize=10)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.axis("off")


def _draw_states(figure: "Figure", numbers: F64, what: str) -> None:
    """All states as a rectangle as near to a square as it can be."""
    count = len(numbers)
    height = max(n for n in range(1, math.isqrt(count) + 1) if count % n == 0)
    untouched = ~numbers.any(1)
    greatest = np.ma.array(numbers.max(1), mask=untouched).reshape(height, -1)
    best = np.ma.array(numbers.argmax(1), mask=untouched).reshape(height, -1)
    left, right = figure.subplots(1, 2)
    panels: tuple[tuple[Any, Any, str], ...] = (
        (left, greatest, f"greatest {what}"),
        (right, best, "its action"),
    )
    for axes, values, title in panels:
        image = axes.imshow(values, cmap="viridis", interpolation="nearest")
        figure.colorbar(image, ax=axes)
        axes.set_title(f"{title} (white: never tried)")
        axes.set_xlabel(f"state mod {count // height}")
        axes.set_ylabel(f"state div {count // height}")
