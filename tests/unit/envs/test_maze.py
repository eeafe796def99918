"""The maze: its walls, its moves, its picture."""

import gymnasium
import numpy as np
import pytest
from support.streams import play

from dqn.config import Config, EnvConfig
from dqn.envs import ScreenEnvironment, make
from dqn.envs.maze import ACTIONS, GOAL, MAX_STEPS, MOVES, START, Maze, allowed, walls

BEST = ["right", "right", "down", "left", "down", "right"]


def test_exactly_the_moves_of_the_table_are_possible() -> None:
    maze = Maze()
    for cell in range(GOAL):
        for action, (name, change) in enumerate(ACTIONS.items()):
            maze._cell = cell
            there = cell + change if name in MOVES[cell] else cell
            assert maze.step(action) == (there, -1, there == GOAL, False, {})


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
    assert maze.reset(seed=1) == (START, {})
    steps = [maze.step(list(ACTIONS).index(name)) for name in BEST]
    assert [cell for cell, *_ in steps] == [1, 2, 5, 4, 7, 8]
    assert steps[-1] == (GOAL, -1, True, False, {})


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


@pytest.mark.parametrize("limit", [None, 7, 20])
def test_the_time_limit_truncates_and_can_be_set(limit: int | None) -> None:
    environment = make(Config(game="Maze-v0", env=EnvConfig(max_episode_steps=limit)), 1)
    environment.reset(1, "test")
    stream = play(environment, [np.array([0])] * (limit or MAX_STEPS))
    assert [t for t, step in enumerate(stream, 1) if step.last[0]] == [limit or MAX_STEPS]
    assert not stream[-1].terminal[0]
    environment.close()
