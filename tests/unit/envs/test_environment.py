"""Environment, from ``make`` to emulators whose games are written: stacks, flags, reseeding."""

import os
import sys
from typing import Any

import numpy as np
import pytest
from support.scripted import Game, script_atari
from support.streams import play

from dqn.config import Config, EnvConfig
from dqn.envs import Environment, Spec, make

GAMES = [
    # The worked example of TimeStep's docstring: a life lost at c, the game at e.
    [Game((7, 0, -9, 1), lives=(3, 2, 2, 0))],
    # Cut by a time limit as a life is won; the next begins with fewer (none is lost), takes two
    # lives at once and is over; the last is cut as a life is lost.
    [Game((0,), (5,), timeout=True), Game((2, 0), (1,)), Game((0.5,), (2,), timeout=True)],
]


def make_pong(**settings: Any) -> Environment:
    return make(Config(game="Pong", env=EnvConfig(frame_size=12, **settings)), 2)


@pytest.mark.parametrize(
    "protocol, terminal",
    [
        ("classic", [[0, 0, 1, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 1, 0]]),
        ("machado", [[0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0]]),
    ],
)
def test_flags_stacks_and_rewards_of_written_games(protocol, terminal, monkeypatch):
    script_atari(monkeypatch, {2: [GAMES]})
    environment = make_pong(protocol=protocol)
    stream = [environment.reset(1, "x"), *play(environment, [np.zeros(2, np.int64)] * 7)]
    assert all(step.reward.dtype == np.float32 for step in stream)
    stacks = np.array([step.stack[:, :, 0, 0] for step in stream]).transpose(1, 0, 2)
    assert stacks.tolist() == [
        [[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5],
         [0, 0, 0, 6], [0, 0, 6, 7], [0, 6, 7, 8]],
        [[0, 0, 0, 101], [0, 0, 101, 102], [0, 0, 0, 103], [0, 0, 103, 104], [0, 103, 104, 105],
         [0, 0, 0, 106], [0, 0, 106, 107], [0, 0, 0, 108]],
    ]  # fmt: skip
    for name, expected in {
        "reward": [[0, 7, 0, -9, 1, 0, 0, 0], [0, 0, 0, 2, 0, 0, 0.5, 0]],
        "first": [[1, 0, 0, 0, 0, 1, 0, 0], [1, 0, 1, 0, 0, 1, 0, 1]],
        "last": [[0, 0, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0, 1, 0]],
        "terminal": terminal,
    }.items():
        assert np.array([getattr(step, name) for step in stream]).T.tolist() == expected, name


def test_each_environment_is_reseeded_at_the_first_end_after_reseed_steps(monkeypatch):
    """Ends at 2 and 5, and at 1, 3 and 6: old enough from 3 on. A new game begins with a no-op."""
    games = [[Game((0, 0))] * 2, [Game((0,)), Game((0,)), Game((0, 0, 0))]]
    emulators = script_atari(monkeypatch, {2: [games]})
    environment = make_pong(reseed_steps=3)
    stream = [environment.reset(1, "x"), *play(environment, [np.full(2, 2)] * 7)]
    ends = np.array([step.last for step in stream]).T
    assert [np.flatnonzero(row).tolist() for row in ends] == [[2, 5], [1, 3, 6]]
    (made,) = emulators.made
    resets = [(step, chosen) for step, chosen, _ in made.resets]
    assert resets == [(0, [0, 1]), (3, [1]), (5, [0]), (6, [1])]
    assert made.actions == [[2, 2], [2, 2], [2, 2], [2, 0], [2, 2], [0, 2], [2, 0]]
    seeds = made.seeds
    assert len(set(seeds)) == len(seeds) == 5
    now = environment.state_dict()
    assert now["seed"].tolist() == [seeds[3], seeds[4]] and now["age"].tolist() == [2, 1]
    assert {now[name].dtype.name for name in ("lives", "count", "seed", "age")} == {"int64"}
    assert now["actions"].dtype == np.uint8 and now["actions"].tolist() == [[2, 2]] * 2


def test_emulator_seeds_belong_to_seed_and_owner(monkeypatch):
    emulators = script_atari(monkeypatch, {})
    for seed, owner in ((1, "x"), (2, "x"), (1, "y"), (1, "x")):
        make_pong().reset(seed, owner)
    first, *others, again = (made.seeds for made in emulators.made)
    assert first == again
    assert len({seed for seeds in (first, *others) for seed in seeds}) == 6


def test_what_is_asked_of_ale(monkeypatch):
    """Raw rewards, whole games and single frames; the largest number of no-ops is exclusive."""
    emulators = script_atari(monkeypatch, {})
    env = EnvConfig("machado", True, 12, max_episode_frames=99, threads=3, niceness=7)
    environment = make(Config(game="space_invaders", env=env), 5)
    make_pong(threads=8)
    made, other = emulators.made
    assert made.asked == {
        "rom": "space_invaders", "num_envs": 5, "num_threads": 3, "max_num_frames_per_episode": 99,
        "repeat_action_probability": 0.25, "full_action_space": True, "img_height": 12,
        "img_width": 12, "stack_num": 1, "frameskip": 4, "noop_max": 31, "episodic_life": False,
        "life_loss_info": False, "reward_clipping": False, "use_fire_reset": False,
    }  # fmt: skip
    assert (other.asked["repeat_action_probability"], other.asked["num_threads"]) == (0, 2)
    assert other.asked["max_num_frames_per_episode"] == 60 * 60 * 30  # half an hour
    assert environment.spec == Spec("SpaceInvaders", 3, (12, 12), "uint8", 4, True)
    if sys.platform == "linux":  # a thread's, elsewhere the whole process's
        assert made.niceness == min(os.getpriority(os.PRIO_PROCESS, 0) + 7, 19)
