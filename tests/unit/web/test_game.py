"""An agent in a game, step by step: the game of ``play``, its values, a person's actions."""

import itertools

import cv2
import numpy as np
import pytest
import torch
from support.runs import CARTPOLE, NEVER, train
from support.scripted import ENDLESS, script_gym
from support.scripted import Game as Script
from support.watching import unpack

from dqn import envs
from dqn.commands.evaluate import make_model
from dqn.config import Config, EvaluationConfig
from dqn.config.commands import PlayOptions
from dqn.config.sections import ValuesConfig
from dqn.envs import ScreenEnvironment
from dqn.learning.factory import make_values
from dqn.storage.saved_run import SavedAgent, load_agent
from dqn.web.estimates import Estimate, estimate
from dqn.web.game import Game
from dqn.web.moment import Controls, moment

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    """The folder of a run of CartPole."""
    options = ["--total-steps=1000", "--evaluation.epsilon=.5"]  # so that its draws count
    return train(tmp_path_factory.mktemp("runs"), CARTPOLE, NEVER, *options)


def test_a_seeds_game_is_the_one_that_play_shows(cartpole, tmp_path, capsys):
    from dqn.commands import play

    game = Game(load_agent(make_model, str(cartpole), "latest", CPU), seed=5)
    while not game.over:
        game.step()
    play.run(PlayOptions(run=str(cartpole), seed=5, png=str(tmp_path / "png"), device="cpu"))
    said = capsys.readouterr().out
    assert f"a return of {game.total:g} in {game.length} steps" in said
    last = cv2.imread(str(max((tmp_path / "png").iterdir())))[..., ::-1]
    assert (last == screens_before_the_end(cartpole, 5)).all()
    game.close()


def screens_before_the_end(run, seed):
    """The screen on which the last decision of a game was made."""
    game = Game(load_agent(make_model, str(run), "latest", CPU), seed)
    while not game.over:
        (screen,) = game.screens
        game.step()
    game.close()
    return screen


def test_a_person_plays_instead_and_the_agents_choice_is_kept(cartpole):
    game = Game(load_agent(make_model, str(cartpole), "latest", CPU), seed=1)
    agreed = 0
    for decision in range(1, 6):
        wanted = game.choice
        game.step(1)
        agreed += wanted == 1
        assert game.last == (1, wanted)
        assert (game.decisions_by_hand, game.agreed) == (decision, agreed)
    game.step()
    assert game.decisions_by_hand == 5
    game.close()


def test_a_game_without_reward_is_cut_and_the_next_one_is_counted_anew(monkeypatch):
    ends, scores = Script((0, 0, 0)), Script((0, 1, 0, 0, 0, 9))
    scripted = script_gym(monkeypatch, ENDLESS, ENDLESS, ENDLESS, ends, scores)  # two are tried
    config = Config(game=scripted, evaluation=EvaluationConfig(max_steps_without_reward=3))
    model = make_model(config, envs.make(config, 1).spec, CPU)
    game = Game(SavedAgent(config, envs.make(config, 1).spec, "best", 0, model), seed=0)
    played = []
    for seed in (1, 2, 3):
        game.start(seed)
        while not game.over and game.length < 9:
            game.step()
        played.append((game.length, game.total, game.cut))
    assert played == [(3, 0, True), (3, 0, False), (5, 1, True)]


def test_every_emulator_frame_is_shown():
    """The last of four is the screen at the decision."""
    environment = ScreenEnvironment(Config(game="Breakout"))
    environment.keep_every_screen()
    environment.reset(1, "test")
    environment.screens()
    seen = []
    for action in (1, 0, 2, 2):
        environment.step(np.array([action]))
        four = environment.screens()
        assert len(four) == 4
        assert (four[-1] == environment.screen()).all()
        seen += four
    changes = [not (a == b).all() for a, b in itertools.pairwise(seen)]
    assert sum(changes) > 8, "they are not one screen four times"
    assert environment.action_names == ("NOOP", "FIRE", "RIGHT", "LEFT")
    environment.close()


@pytest.mark.parametrize("kind", ["categorical", "quantile", "implicit_quantile"])
def test_the_mean_of_a_distribution_is_the_action_value(kind):
    config = Config()
    values = make_values(ValuesConfig(kind=kind, quantiles=32), config.learner)
    z = torch.randn(3, 4, 51 if kind == "categorical" else 32)
    returns, probabilities = values.returns(z)
    torch.testing.assert_close((returns * probabilities).sum(2), values.q(z))
    torch.testing.assert_close(probabilities.sum(2), torch.ones(3, 4))


def test_a_moment_has_the_models_values(cartpole):
    agent = load_agent(make_model, str(cartpole), "latest", CPU)
    game = Game(agent, seed=2)
    game.step()
    state, pictures = unpack(moment("a run", game, Controls(), ["step_000001000"], None).packed())
    expected = agent.model.q_values(torch.from_numpy(game.stack))[0].double().tolist()
    assert state["numbers"] == expected
    assert state["choice"] == np.argmax(expected) or state["random"]
    assert (state["step"], state["seed"], state["actions"]) == (1, "2", ["left", "right"])
    ((name, png),) = pictures
    screen = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert name == "screen"
    assert (screen == game.environment.screen()).all()
    game.close()


def test_numbers_of_an_agent_that_has_diverged_are_left_out(cartpole):
    game = Game(load_agent(make_model, str(cartpole), "latest", CPU), seed=2)
    row = np.array([[1, np.nan], [np.inf, 0.5]], np.float32)
    game.estimate = Estimate("value", np.array([np.nan, 1.5]), (row, row))
    game.total, game.stack = -np.inf, np.array([[[np.nan, 0.25]]])
    state, _ = unpack(moment("", game, Controls(), [], None).packed())
    assert state["numbers"] == [None, 1.5]
    assert state["distribution"]["returns"] == [[1, None], [None, 0.5]]
    assert state["distribution"]["probabilities"] == [[1, None], [None, 0.5]]
    assert (state["return"], state["observation"]) == (None, [None, 0.25])
    game.close()


def test_tables_have_values_and_policies_preferences(tmp_path):
    for method, kind in (("q_learning", "value"), ("policy_gradient", "preference")):
        options = [f"--config=maze_{method}", "--total-steps=40"]
        run = train(tmp_path / method, options, NEVER)
        game = Game(load_agent(make_model, str(run), "latest", CPU), seed=0)
        found = estimate(game.agent.model, game.stack)
        assert found.kind == kind
        assert np.isneginf(found.numbers).tolist() == [True, False, False, True], "walls"
        assert unpack(moment("", game, Controls(), [], None).packed())[0]["numbers"][0] is None
        game.close()
