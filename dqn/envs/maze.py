"""A maze of three by three cells, for tables: ``Maze-v0`` in Gymnasium's registry.

::

    +----+----+----+
    | S0   S1   S2 |    S0 is the start, S8 the goal. Each move costs 1, so a return is
    +    +----+    +    minus the number of moves; the best is -6:
    | S3 | S4   S5 |    S0 S1 S2 S5 S4 S7 S8.
    +----+    +----+
    | S6   S7   S8 |
    +----+----+----+

``MOVES`` is the one table of its walls. To walk into one is to stay, at the price of a move; a
tabular method asks ``allowed`` and does not try.
"""

from typing import Any

import cv2
import gymnasium
import numpy as np

from dqn.types import Array, Bool

MAZE = "Maze-v0"
"""Its id, and the name of its runs' folder."""

SIDE, START, GOAL = 3, 0, 8
CELLS = SIDE * SIDE

ACTIONS = {"up": -SIDE, "right": 1, "down": SIDE, "left": -1}
"""What each action, in the order of its number, adds to the cell's."""

MOVES: tuple[tuple[str, ...], ...] = (
    ("right", "down"), ("right", "left"), ("down", "left"),
    ("up",), ("right", "down"), ("up", "left"),
    ("right",), ("up", "right", "left"), (),
)  # fmt: skip
"""Where one may go from each cell; nowhere from the goal, where the episode ends."""

MAX_STEPS = 1000
"""Time limit, a truncation. A random player takes some 50 moves to the goal, and this many once in
10^8 episodes; a greedy one that has not learned yet may go to and fro for ever."""

PIXELS = 96
"""Side of a cell in the picture; even, so that films take it."""

_BLACK = (20, 20, 20)
_GREEN, _BLUE, _SAND = (205, 235, 205), (60, 110, 220), (240, 225, 195)

Position = tuple[int, dict[str, Any]]


def allowed() -> Bool:
    """``[9, 4]`` whether a move leads anywhere. At the goal all do: there none is made, and who
    has to name one may name any."""
    table = [[name in moves for name in ACTIONS] for moves in MOVES]
    table[GOAL] = [True] * len(ACTIONS)
    return np.array(table)


class Maze(gymnasium.Env[int, int]):
    """The maze. What is seen is the cell's number."""

    metadata: dict[str, Any] = {  # noqa: RUF012  Gymnasium's
        "render_modes": ["rgb_array"],
        "render_fps": 4,
    }

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))  # type: ignore[assignment]
        self.observation_space = gymnasium.spaces.Discrete(CELLS)  # type: ignore[assignment]
        self._cell = START

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002  Gymnasium's signature
    ) -> Position:
        """Go back to the start."""
        super().reset(seed=seed)
        self._cell = START
        return self._cell, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Walk, or stay where a wall is in the way."""
        name = list(ACTIONS)[action]
        if name in MOVES[self._cell]:
            self._cell += ACTIONS[name]
        return self._cell, -1.0, self._cell == GOAL, False, {}

    def render(self) -> Array:
        """``[H, W, 3]`` uint8: cells, walls, names, and where the walker is."""
        picture = _map()
        x, y = _middle(self._cell)
        cv2.circle(picture, (x, y + PIXELS // 8), PIXELS // 6, _BLUE, -1, cv2.LINE_AA)
        return picture


def walls() -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The walls between cells, each as its two ends ``(x, y)`` in cells from the top left."""
    found = []
    for cell in range(CELLS):
        row, column = divmod(cell, SIDE)
        if column + 1 < SIDE and not _passage(cell, "right", "left"):
            found.append(((column + 1, row), (column + 1, row + 1)))
        if row + 1 < SIDE and not _passage(cell, "down", "up"):
            found.append(((column, row + 1), (column + 1, row + 1)))
    return found


def _passage(cell: int, there: str, back: str) -> bool:
    return there in MOVES[cell] or back in MOVES[cell + ACTIONS[there]]


def _map() -> Array:
    size = SIDE * PIXELS
    picture = np.full((size, size, 3), 255, np.uint8)
    for cell, color in ((START, _SAND), (GOAL, _GREEN)):
        row, column = divmod(cell, SIDE)
        picture[row * PIXELS : (row + 1) * PIXELS, column * PIXELS : (column + 1) * PIXELS] = color
    for cell in range(CELLS):
        x, y = _middle(cell)
        word = {START: "START", GOAL: "GOAL"}.get(cell, "")
        _write(picture, f"S{cell}", x, y - PIXELS // 4, 0.5)
        _write(picture, word, x, y + PIXELS // 2 - 8, 0.4)
    for (x, y), (x2, y2) in walls():
        ends = (x * PIXELS, y * PIXELS), (x2 * PIXELS, y2 * PIXELS)
        cv2.line(picture, *ends, _BLACK, 4)
    cv2.rectangle(picture, (1, 1), (size - 2, size - 2), _BLACK, 4)
    return picture


def _middle(cell: int) -> tuple[int, int]:
    row, column = divmod(cell, SIDE)
    return column * PIXELS + PIXELS // 2, row * PIXELS + PIXELS // 2


def _write(picture: Array, text: str, x: int, y: int, size: float) -> None:
    """A text with its foot's middle at (x, y)."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    place = x - width // 2, y
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, _BLACK, 1, cv2.LINE_AA)


gymnasium.register(MAZE, f"{__name__}:Maze", max_episode_steps=MAX_STEPS)
