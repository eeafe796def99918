"""The maze: its walls, its moves, its picture."""

import gymnasium
import numpy as np
import pytest
from support.streams import play

from dqn.config import Config, EnvConfig
from dqn.envs import ScreenEnvironment, make
from dqn.envs.maze import ACTIONS, GOAL, MAX_STEPS, MOVES, START, Maze, allowed, walls

BEST = ["right", "right", "down", "left", "down", "right"]


def walk(maze: Maze, *names: str) -> list[int]:
    """The cell after each move."""
    cells = []
    for name in names:
        cell, reward, *_ = maze.step(list(ACTIONS).index(name))
        assert reward == -1
        cells.append(cell)
    return cells


def test_exactly_the_moves_of_the_table_are_possible() -> None:
    for cell in range(GOAL):
        for name, change in ACTIONS.items():
            maze = Maze()
            maze.reset()
            maze._cell = cell
            assert walk(maze, name) == [cell + change if name in MOVES[cell] else cell]


def test_the_walls_drawn_are_those_that_block() -> None:
    """Every move can be reversed, except from the goal."""
    for cell, names in enumerate(MOVES):
        for name in names:
            back = {"up": "down", "down": "up", "left": "right", "right": "left"}[name]
            there = cell + ACTIONS[name]
            assert there == GOAL or back in MOVES[there]
    assert sorted(walls()) == sorted(
        [((1, 1), (2, 1)), ((1, 1), (1, 2)), ((0, 2), (1, 2)), ((2, 2), (3, 2))]
    )


def test_the_best_path() -> None:
    maze = gymnasium.make("Maze-v0")
    cell, _ = maze.reset(seed=1)
    assert cell == START
    cells = []
    for name in BEST:
        cell, _, terminated, truncated, _ = maze.step(list(ACTIONS).index(name))
        cells.append(cell)
    assert cells == [1, 2, 5, 4, 7, 8]
    assert terminated and not truncated


def test_the_time_limit_truncates() -> None:
    environment = make(Config(game="Maze-v0"), 1)
    environment.reset(1, "test")
    timestep = play(environment, [np.array([0])] * MAX_STEPS)[-1]
    assert timestep.last[0] and not timestep.terminal[0]
    environment.close()


def test_allowed_actions() -> None:
    table = allowed()
    assert table.shape == (9, 4) and table.any(1).all()
    assert [list(ACTIONS)[action] for action in np.flatnonzero(table[7])] == ["up", "right", "left"]


def test_the_picture_shows_the_agent() -> None:
    environment = ScreenEnvironment(Config(game="Maze-v0"))
    environment.reset(1, "test")
    before = environment.screen()
    environment.step(np.array([list(ACTIONS).index("right")]))
    after = environment.screen()
    height, width, _ = before.shape
    assert height % 2 == width % 2 == 0, "video encoders require even sides"
    changed = np.argwhere((before != after).any(2))
    assert changed[:, 0].max() < height / 3 and changed[:, 1].max() < 2 * width / 3
    environment.close()


@pytest.mark.parametrize("limit", [7, 20])
def test_the_time_limit_can_be_set(limit: int) -> None:
    environment = make(Config(game="Maze-v0", env=EnvConfig(max_episode_steps=limit)), 1)
    environment.reset(1, "test")
    lasts = [bool(step.last[0]) for step in play(environment, [np.array([0])] * limit)]
    assert lasts == [False] * (limit - 1) + [True]
    environment.close()
