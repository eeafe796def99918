"""Draws ``table.png``, a picture of a table."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dqn.envs.maze import GOAL, SIDE, walls
from dqn.envs.maze import allowed as allowed_in_maze
from dqn.storage.files import AtomicFile
from dqn.types import F64, Bool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE = "table.png"

_CORNERS = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
"""Corners of a cell relative to its center, clockwise from the top left; y points down."""


def draw_table(folder: Path, entries: F64, allowed: Bool, what: str) -> None:
    """Draw ``entries [S, A]`` into ``table.png``, unless all are 0: the four directions in each
    cell of the maze; for other states the greatest entry and its action. ``what`` names an entry.

    Raises:
        OSError: it cannot be written; an older picture is kept.
    """
    # Imported here because it takes a second, and most of the program never needs it.
    from matplotlib.figure import Figure

    if not entries.any():
        return
    if np.array_equal(allowed, allowed_in_maze()):
        figure = Figure(figsize=(5, 5.2), layout="constrained")
        _draw_maze(figure, entries, allowed, what)
    else:
        figure = Figure(figsize=(9, 4), layout="constrained")
        _draw_states(figure, entries, what)
    with AtomicFile(folder / TABLE) as part:
        figure.savefig(part, dpi=90, format="png")


def _draw_maze(figure: "Figure", entries: F64, allowed: Bool, what: str) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    axes = figure.add_subplot()
    shown = np.where(allowed, entries, np.nan)[:GOAL]  # no action matters at the goal
    colors, norm = colormaps["YlGn"], Normalize(np.nanmin(shown), np.nanmax(shown))
    for cell, values in enumerate(shown):
        row, column = divmod(cell, SIDE)
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
    for (x, y), (x2, y2) in walls():
        axes.plot([x - 0.5, x2 - 0.5], [y - 0.5, y2 - 0.5], color="black", linewidth=4, zorder=5)
    axes.plot([-0.5, 2.5, 2.5, -0.5, -0.5], [-0.5, -0.5, 2.5, 2.5, -0.5], "k", linewidth=4)
    axes.set_title(f"{what} of each move in each cell; the best in blue", fontsize=10)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.axis("off")


def _draw_states(figure: "Figure", entries: F64, what: str) -> None:
    """Arrange the states in a rectangle as close to a square as possible."""
    count = len(entries)
    height = max(n for n in range(1, math.isqrt(count) + 1) if count % n == 0)
    never_updated = ~entries.any(1)
    greatest = np.ma.array(entries.max(1), mask=never_updated).reshape(height, -1)
    best = np.ma.array(entries.argmax(1), mask=never_updated).reshape(height, -1)
    panels = ((greatest, f"greatest {what}"), (best, "its action"))
    for axes, (values, title) in zip(figure.subplots(1, 2), panels, strict=True):
        image = axes.imshow(values, cmap="viridis", interpolation="nearest")
        figure.colorbar(image, ax=axes)
        axes.set_title(f"{title} (white: never tried)")
        axes.set_xlabel(f"state mod {count // height}")
        axes.set_ylabel(f"state div {count // height}")
