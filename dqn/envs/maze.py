"""A three-by-three maze for tabular methods: ``Maze-v0`` in Gymnasium's registry.

::

    +----+----+----+
    | S0   S1   S2 |    S0 is the start, S8 the goal. Each move costs 1, so the return is
    +    +----+    +    minus the number of moves; the best one is -6:
    | S3 | S4   S5 |    S0 S1 S2 S5 S4 S7 S8.
    +----+    +----+
    | S6   S7   S8 |
    +----+----+----+

``MOVES`` defines the walls. Walking into a wall costs a move and changes nothing; tabular methods
avoid it by asking ``allowed``.
"""

from typing import Any

import cv2
import gymnasium
import numpy as np

from dqn.types import Array, Bool

MAZE = "Maze-v0"
"""Its id in Gymnasium."""

SIDE, START, GOAL = 3, 0, 8
CELLS = SIDE * SIDE

ACTIONS = {"up": -SIDE, "right": 1, "down": SIDE, "left": -1}
"""What each action, in the order of their numbers, adds to the number of the cell."""

MOVES: tuple[tuple[str, ...], ...] = (
    ("right", "down"), ("right", "left"), ("down", "left"),
    ("up",), ("right", "down"), ("up", "left"),
    ("right",), ("up", "right", "left"), (),
)  # fmt: skip
"""The moves possible in each cell; none at the goal, where the episode ends."""

MAX_STEPS = 1000
"""Time limit, a truncation. A random policy needs some 50 moves to the goal, and this many once in
10^8 episodes; a greedy one may go back and forth forever before it has learned."""

PIXELS = 96
"""Side of a cell in the picture; even, as video encoders require."""

_BLACK, _WHITE = (20, 20, 20), (255, 255, 255)
_GREEN, _BLUE, _SAND = (205, 235, 205), (60, 110, 220), (240, 225, 195)


def allowed() -> Bool:
    """``[9, 4]`` whether a move is possible. At the goal all are, since a policy must return some
    action there, which is ignored."""
    table = np.array([[name in moves for name in ACTIONS] for moves in MOVES])
    table[GOAL] = True
    return table


class Maze(gymnasium.Env[int, int]):
    """The maze; the observation is the number of the cell."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))  # type: ignore[assignment]
        self.observation_space = gymnasium.spaces.Discrete(CELLS)  # type: ignore[assignment]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._cell = START
        return self._cell, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        name = list(ACTIONS)[action]
        if name in MOVES[self._cell]:
            self._cell += ACTIONS[name]
        return self._cell, -1.0, self._cell == GOAL, False, {}

    def render(self) -> Array:
        """``[H, W, 3]`` uint8: cells, walls, names and the agent."""
        picture = _map()
        x, y = _center(self._cell)
        cv2.circle(picture, (x, y + PIXELS // 8), PIXELS // 6, _BLUE, -1, cv2.LINE_AA)
        return picture


def walls() -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The walls between cells, each as its two ends ``(x, y)`` in cells from the top left."""
    found = []
    for cell in range(CELLS):
        row, column = divmod(cell, SIDE)
        corner = (column + 1, row + 1)
        if column + 1 < SIDE and "right" not in MOVES[cell]:
            found.append(((column + 1, row), corner))
        if row + 1 < SIDE and "down" not in MOVES[cell]:
            found.append(((column, row + 1), corner))
    return found


def _map() -> Array:
    """The picture without the agent."""
    size, half = SIDE * PIXELS, PIXELS // 2
    picture = np.empty((size, size, 3), np.uint8)
    for cell in range(CELLS):
        x, y = _center(cell)
        word, color = {START: ("START", _SAND), GOAL: ("GOAL", _GREEN)}.get(cell, ("", _WHITE))
        picture[y - half : y + half, x - half : x + half] = color
        _write(picture, f"S{cell}", x, y - PIXELS // 4, 0.5)
        _write(picture, word, x, y + half - 8, 0.4)
    for (x, y), (x2, y2) in walls():
        cv2.line(picture, (x * PIXELS, y * PIXELS), (x2 * PIXELS, y2 * PIXELS), _BLACK, 4)
    cv2.rectangle(picture, (1, 1), (size - 2, size - 2), _BLACK, 4)
    return picture


def _center(cell: int) -> tuple[int, int]:
    row, column = divmod(cell, SIDE)
    return column * PIXELS + PIXELS // 2, row * PIXELS + PIXELS // 2


def _write(picture: Array, text: str, x: int, y: int, size: float) -> None:
    """Write a text centered on ``x`` above the line ``y``."""
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    origin = x - width // 2, y
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, _BLACK, 1, cv2.LINE_AA)


gymnasium.register(MAZE, f"{__name__}:Maze", max_episode_steps=MAX_STEPS)
