"""The maze: its walls, its moves, its picture."""

import gymnasium
import numpy as np
import pytest

from dqn.config import Config
from dqn.envs import ScreenEnvironment, make
from dqn.envs.maze import ACTIONS, GOAL, MAX_STEPS, MOVES, START, Maze, allowed, walls

BEST = ["right", "right", "down", "left", "down", "right"]


def walk(maze: Maze, *names: str) -> list[int]:
    """The cells that moves lead to."""
    cells = []
    for name in names:
        cell, reward, *_ = maze.step(list(ACTIONS).index(name))
        assert reward == -1
        cells.append(cell)
    return cells


def test_every_move_of_the_table_and_no_other() -> None:
    for cell in range(GOAL):
        for name, change in ACTIONS.items():
            maze = Maze()
            maze.reset()
            maze._cell = cell
            assert walk(maze, name) == [cell + change if name in MOVES[cell] else cell]


def test_the_walls_are_drawn_where_they_are_felt() -> None:
    """One may go back wherever one came from, out of the goal aside."""
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


def test_a_walk_without_end_is_cut_and_not_terminal() -> None:
    environment = make(Config(game="Maze-v0"), 1)
    environment.reset(1, "test")
    for _ in range(MAX_STEPS):
        environment.send(np.array([0]))
        timestep = environment.receive()
    assert timestep.last[0] and not timestep.terminal[0]
    environment.close()


def test_what_is_allowed() -> None:
    table = allowed()
    assert table.shape == (9, 4) and table.any(1).all()
    assert [list(ACTIONS)[action] for action in np.flatnonzero(table[7])] == ["up", "right", "left"]


def test_its_picture_shows_where_one_is() -> None:
    environment = ScreenEnvironment(Config(game="Maze-v0"))
    environment.reset(1, "test")
    before = environment.screen()
    environment.step(np.array([list(ACTIONS).index("right")]))
    after = environment.screen()
    height, width, _ = before.shape
    assert height % 2 == width % 2 == 0, "films want even sides"
    changed = np.argwhere((before != after).any(2))
    assert changed[:, 0].max() < height / 3 and changed[:, 1].max() < 2 * width / 3
    environment.close()


@pytest.mark.parametrize("limit", [7, 20])
def test_a_time_limit_of_ones_own(limit: int) -> None:
    config = Config(game="Maze-v0")
    config = Config(game="Maze-v0", env=type(config.env)(max_episode_steps=limit))
    environment = make(config, 1)
    environment.reset(1, "test")
    lasts = []
    for _ in range(limit):
        environment.send(np.array([0]))
        lasts.append(bool(environment.receive().last[0]))
    assert lasts == [False] * (limit - 1) + [True]
    environment.close()
