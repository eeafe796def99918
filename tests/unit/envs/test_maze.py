"""The maze: its walls, its moves, its picture."""

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env
from support.streams import play

from dqn.config import Config, EnvConfig
from dqn.envs import ScreenEnvironment, make
from dqn.envs.maze import ACTIONS, allowed, walls

LEADS = [  # up, right, down, left from each cell but the goal
    (0, 1, 3, 0), (1, 2, 1, 0), (2, 2, 5, 1),
    (0, 3, 3, 3), (4, 5, 7, 4), (2, 5, 5, 4),
    (6, 7, 6, 6), (4, 8, 7, 6),
]  # fmt: skip

PICTURE = """
########################
#ss##sss...#x......##..#
#sssssss...............#
#sssssss...oo..........#
#sssssss..oooo.........#
#sssssss..oooo.........#
#sxxxxss...oo..........#
#sxxxxsx########x......#
#......#########x......#
#..##..##..##......##..#
#......##..............#
#......##..............#
#......##..............#
#......##..............#
#......##..............#
#########......x########
########x......x########
#..##......#x...ggg##gg#
#...............ggggggg#
#...............ggggggg#
#...............ggggggg#
#...............ggggggg#
#...............ggxxxgg#
########################
"""


def test_a_move_leads_to_the_next_cell_or_into_a_wall_and_costs_1():
    rendered = gymnasium.make("Maze-v0", render_mode="rgb_array").unwrapped
    assert rendered.render_mode == "rgb_array"  # as Gymnasium's own recorders ask
    check_env(rendered)
    maze = gymnasium.make("Maze-v0")
    assert list(ACTIONS) == ["up", "right", "down", "left"]
    for cell, leads in enumerate(LEADS):
        assert allowed()[cell].tolist() == [there != cell for there in leads]
        for action, there in enumerate(leads):
            assert maze.reset() == (0, {})
            maze.unwrapped._cell = cell
            assert maze.step(action) == (there, -1, there == 8, False, {})
    assert allowed()[8].all() and len(allowed()) == 9
    between = {((1, 1), (2, 1)), ((1, 1), (1, 2)), ((0, 2), (1, 2)), ((2, 2), (3, 2))}
    assert set(walls()) == between


def test_the_picture_shows_cells_walls_names_and_the_agent():
    """A letter is 12x12 pixels; #, x: black, or a little; o: blue; s, g: the start, the goal."""
    environment = ScreenEnvironment(Config(game="Maze-v0"))
    environment.reset(1, "test")
    environment.step(np.array([1]))
    assert environment.decisions_per_second == 4
    blocks = environment.screen().reshape(24, 12, 24, 12, 3).swapaxes(1, 2).reshape(24, 24, 144, 3)
    black, blue = (blocks.sum(3) < 200).sum(2), (blocks[..., 2] > blocks[..., 0] + 100.0).sum(2)
    ground = np.median(blocks[..., 0], 2)
    seen = np.select(
        [black > 18, black > 0, blue > 24, ground == 240, ground == 205], list("#xosg"), "."
    )
    assert "\n".join(map("".join, seen)) == PICTURE.strip()


def test_the_time_limit_truncates_and_can_be_set():
    for limit, steps in ((None, 1000), (7, 7), (20, 20)):
        config = Config(game="Maze-v0", env=EnvConfig(max_episode_steps=limit))
        for environment in (make(config, 1), ScreenEnvironment(config)):
            environment.reset(1, "test")
            stream = play(environment, [np.array([0])] * steps)
            assert [t for t, step in enumerate(stream, 1) if step.last[0]] == [steps]
            assert not stream[-1].terminal[0]
