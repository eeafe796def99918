"""Evaluations, held-out states and recordings of games that are written in advance."""

from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from support.scripted import ENDLESS, Game, ScriptedGym, script_atari, script_gym

from dqn.config import Config, EnvConfig, EvaluationConfig
from dqn.envs import ScreenEnvironment
from dqn.evaluation.episode import play_episode, render_evaluation
from dqn.evaluation.evaluate import Evaluation, evaluate, held_out_states, mean_max_q
from dqn.types import I64, Array

GAMES = [
    [ENDLESS],
    [Game((0, 0, 5, 0, 0, -1, 0, 0, 0, 9))],  # a lost point is a reward too
    [Game((0, 2)), Game((100, 100))],
    [Game((0, 0, 0))],  # over when it would be cut
]


def evaluated(limit: int | None, **more: Any) -> Evaluation | None:
    """An evaluation of four games by a policy that acts by the newest screen."""
    settings = EvaluationConfig(episodes=4, epsilon=0.25, max_steps_without_reward=limit)
    config = Config(game="Pong", env=EnvConfig(frame_size=12), evaluation=settings)

    def act(stack: Array, epsilon: float) -> I64:
        assert epsilon == 0.25
        return stack[:, -1, 0, 0].astype(np.int64) % 3

    return evaluate(lambda _: SimpleNamespace(act=act), config, 700, **more)


def test_a_game_without_reward_for_so_many_steps_is_cut_and_keeps_its_return(monkeypatch):
    emulators = script_atari(monkeypatch, {4: [GAMES]})
    told: list[tuple[int, int, float | None]] = []
    result = evaluated(3, progress=lambda *now: told.append(now))
    assert result and {type(length) for length in result.lengths} == {int}
    assert result.as_json() == {
        "game": "Pong", "step": 700, "epsilon": 0.25,
        "protocol": "classic, 12x12 pictures, stuck games cut after 3 steps without reward",
        "returns": [0, 4, 2, 0], "lengths": [3, 9, 2, 3], "cut": 2, "mean": 1.5, "median": 1,
        "human_normalised": pytest.approx((1.5 + 20.7) / (14.6 + 20.7)),
    }  # fmt: skip
    assert told == [
        (0, 4, None), (1, 8, 2), (3, 11, 2), *[(3, steps, 2) for steps in range(12, 17)], (4, 17, 4)
    ]  # fmt: skip
    # Screens of 1, 101, 201 and 301 (45 in a byte), then one more each; 0 for those not played.
    (made,) = emulators.made
    assert made.actions[:4] == [[1, 2, 0, 0], [2, 0, 1, 1], [0, 1, 0, 2], [0, 2, 0, 0]]


def test_without_a_limit_no_game_is_cut(monkeypatch):
    games = [[Game((0,) * 40, timeout=True)], *GAMES[1:]]
    script_atari(monkeypatch, {4: [games]})
    result = evaluated(None)
    assert result and (result.returns, result.lengths) == ([0, 13, 2, 0], [40, 10, 2, 3])
    assert result.protocol == "classic, 12x12 pictures" and "cut" not in result.as_json()


def test_an_evaluation_that_is_stopped_has_no_result(monkeypatch):
    emulators = script_atari(monkeypatch, {4: [GAMES]})
    assert evaluated(3, stop=iter([False, False, True]).__next__) is None
    assert len(emulators.made[0].actions) == 2


def test_an_evaluation_depends_on_seed_step_and_owner_alone(monkeypatch):
    """Both what the policy draws and the games."""
    emulators = script_atari(monkeypatch, {1: [[[Game((1,))]]] * 5})

    def drawn(seed: int, step: int, owner: str) -> tuple[float, int]:
        policy, draws = SimpleNamespace(act=lambda *_: np.zeros(1, np.int64)), []

        def make_policy(generator: np.random.Generator) -> Any:
            draws.append(generator.random())
            return policy

        config = Config(game="Pong", seed=seed, evaluation=EvaluationConfig(episodes=1))
        evaluate(make_policy, config, step, owner=owner)
        return draws[0], emulators.made[-1].seeds[0]

    first, *others = [drawn(*case) for case in ((1, 5, "a"), (2, 5, "a"), (1, 6, "a"), (1, 5, "b"))]
    assert drawn(1, 5, "a") == first
    assert all(len({first[i], *(other[i] for other in others)}) == 4 for i in (0, 1))


def test_held_out_states_are_every_fourth_of_eight_random_players(monkeypatch):
    emulators = script_atari(monkeypatch, {})
    newest = [(100 * i + screen) % 256 for screen in (5, 9) for i in range(8)]
    for count in (12, 16):
        settings = EvaluationConfig(held_out_states=count)
        config = Config(game="Pong", env=EnvConfig(frame_size=12), evaluation=settings)
        states = held_out_states(config)
        assert states.shape == (count, 4, 12, 12)
        assert states[:, -1, 0, 0].tolist() == newest[:count]
        assert states[0, :, 0, 0].tolist() == [2, 3, 4, 5]
    made, again = emulators.made
    assert {action for step in made.actions for action in step} == {0, 1, 2}
    assert made.actions == again.actions and made.seeds == again.seeds and len(made.actions) == 8


def test_held_out_q_is_the_mean_of_the_greatest():
    """Of 100 states: 2 s and 99 - s, of which the first is greater from s = 34 on."""
    states = torch.arange(100.0)[:, None]
    q = mean_max_q(lambda s: torch.cat([2 * s, 99 - s], 1), states, torch.device("cpu"))
    assert q == (sum(range(66, 100)) + sum(range(68, 200, 2))) / 100
    elsewhere = mean_max_q(
        lambda s: torch.full((len(s), 3), float(s.is_meta)), states, torch.device("meta")
    )
    assert elsewhere == 1, "states are moved to the network's device"


def test_a_recorded_game_has_its_raw_return_and_every_screen(monkeypatch):
    game = script_gym(monkeypatch, ENDLESS, Game((5, -2, 0.5)), ENDLESS)  # tried at first
    environment = ScreenEnvironment(Config(game=game))
    screens: list[int] = []
    recorder: Any = SimpleNamespace(
        add=lambda screen: screens.append(int(screen[0, 0, 0])),
        end=lambda screen: screens.append(100 + int(screen[0, 0, 0])),
    )
    told: list[tuple[int, int, float]] = []

    def play(limit: int | None) -> Any:
        return play_episode(
            environment, lambda _: np.array([0]), 1, "test", [recorder], limit=limit,
            progress=lambda *now: told.append(now),
        )  # fmt: skip

    assert play(None) == (3.5, 3, True, False, 5)
    assert screens == [0, 1, 2, 103]
    assert told == [(0, 1, 5), (0, 2, 3), (0, 3, 3.5)]
    assert play(30) == (0, 30, True, True, 5), "the second game is stuck"


def test_a_recorded_game_that_ends_when_it_would_be_cut_is_not_stuck(monkeypatch):
    game = script_gym(monkeypatch, ENDLESS, Game((0, 0, 0)), ENDLESS)  # tried at first
    environment = ScreenEnvironment(Config(game=game))
    for stuck in (False, True):
        played = play_episode(environment, lambda _: np.array([0]), 1, "test", [], limit=3)
        assert played == (0, 3, True, stuck, 5)


def test_a_game_recorded_in_training_is_played_as_an_evaluation(tmp_path, monkeypatch):
    """By its epsilon and limit, with draws of its own for each seed and step; the video shows the
    end too."""
    game = script_gym(monkeypatch, ENDLESS, Game((1, 0, 0, 0, 0, 0, 9)))
    settings = EvaluationConfig(epsilon=0.25, max_steps_without_reward=5)
    asked: list[float] = []
    told: list[tuple[int, int, float]] = []
    draws: list[float] = []
    seeds: list[int | None] = []
    reset = ScriptedGym.reset

    def keep_seed(env: ScriptedGym, *, seed: int | None = None, options: Any = None) -> Any:
        seeds.append(seed)
        return reset(env, seed=seed)

    def act(_: Array, epsilon: float) -> I64:
        asked.append(epsilon)
        return np.zeros(1, np.int64)

    def make_policy(generator: np.random.Generator) -> Any:
        draws.append(generator.random())
        return SimpleNamespace(act=act)

    monkeypatch.setattr(ScriptedGym, "reset", keep_seed)
    for seed, step in ((1, 100), (1, 100), (1, 200), (2, 100)):
        config = Config(game=game, seed=seed, evaluation=settings)
        record = render_evaluation(
            make_policy, config, step, tmp_path, 7, progress=lambda *now: told.append(now)
        )
        assert record == (1, 6, True, True, 5)
    assert asked == [0.25] * 24 and told[-1] == (0, 6, 1)
    for drawn in (draws, seeds[1::2]):  # each environment is tried first, without a seed
        assert drawn[0] == drawn[1] and len(set(drawn)) == 3
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["eval_007", "eval_007.mp4"]
    assert len(list((tmp_path / "eval_007").iterdir())) == 6
    with av.open(str(tmp_path / "eval_007.mp4")) as video:
        assert len(list(video.decode(video=0))) == 6 + 5, "the end, held for a second"
