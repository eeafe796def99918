"""Small games are learned, by the very pieces that train on Atari, in seconds."""

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete
from support.tiers import slow_except

from dqn.config import Config
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.config.shipped import PRESETS
from dqn.config.yaml_file import load_config
from dqn.device import use_threads
from dqn.evaluation.evaluate import evaluate
from dqn.learning.factory import make_agent
from dqn.run.loop import loop
from dqn.run.session import Session

CPU = torch.device("cpu")


class Catch(gymnasium.Env):
    """A ball falls down a board of 6 x 5; the paddle below moves left, not, or right.

    +1 for a ball caught, -1 for one missed, at the end of each episode of 5 steps. A perfect
    player scores 1, one that moves at random about -.55.
    """

    rows, columns = 6, 5
    observation_space = Box(0, 1, (rows, columns), np.float32)
    action_space = Discrete(3)

    def __init__(self, shuffled: bool = False) -> None:
        """``shuffled``: whether a ball counts as caught is drawn by lot."""
        self._shuffled = shuffled

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._ball = [0, int(self.np_random.integers(self.columns))]
        self._paddle = self.columns // 2
        return self._board(), {}

    def step(self, action):
        self._paddle = min(max(self._paddle + int(action) - 1, 0), self.columns - 1)
        self._ball[0] += 1
        over = self._ball[0] == self.rows - 1
        caught = self._ball[1] == self._paddle
        if self._shuffled:
            caught = bool(self.np_random.integers(2))
        return self._board(), float(over * (1 if caught else -1)), over, False, {}

    def _board(self):
        board = np.zeros((self.rows, self.columns), np.float32)
        board[tuple(self._ball)] = 1
        board[-1, self._paddle] = 1
        return board


class Chain(gymnasium.Env):
    """Places 0 .. 4 in a row: action 1 goes right, 0 left; arriving at 4 pays 1 and ends it."""

    places = 5
    observation_space = Box(0, 1, (places,), np.float32)
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._place = 0
        return self._seen(), {}

    def step(self, action):
        self._place = max(self._place + (1 if action else -1), 0)
        arrived = self._place == self.places - 1
        return self._seen(), float(arrived), arrived, False, {}

    def _seen(self):
        return np.eye(self.places, dtype=np.float32)[self._place]


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    for name, make in (
        ("Catch-v0", Catch), ("CatchShuffled-v0", lambda: Catch(shuffled=True)), ("Chain-v0", Chain)
    ):  # fmt: skip
        monkeypatch.setitem(gymnasium.registry, name, EnvSpec(name, make))


SMALL = [
    "--device=cpu", "--threads=1", "--learning-starts=200", "--evaluate-period=1e9",
    "--report-period=500", "--replay.capacity=20000", "--network.mlp-units=[64]",
    "--learner.target-period=100", "--exploration.epsilon-decay-steps=1000",
    "--evaluation.episodes=40", "--evaluation.epsilon=0", "--evaluation.held-out-states=2",
]  # fmt: skip
"""A small network, quick steps, one evaluation, at the end."""


def config_of(folder: Path, *options: str) -> Config:
    """What a command line means, for a small game."""
    return parse(TrainOptions, [*SMALL, f"--checkpoints-dir={folder}", *options]).settings


def scored_anew(session: Session, **changes: Any) -> float:
    """Mean return of 40 episodes that no evaluation of the session had."""
    config = dataclasses.replace(session.config, **changes)
    result = evaluate(session.agent.model.make_policy, config, step=10**6)
    assert result is not None
    return result.mean


def learned(config: Config, folder: Path, enough: float = np.inf) -> Session:
    """A session after its loop, evaluated as it goes and at the end like any other; it ends early
    with an evaluation that is ``enough``."""
    use_threads(1)
    agent = make_agent(config, CPU)
    stop = lambda: (session.metrics.best or -np.inf) >= enough  # noqa: E731
    with Session(config, agent, folder, CPU, stop) as session:
        loop(session)
    return session


FOR_ANY_GAME = [name for name, path in PRESETS.items() if load_config(path).game is None]
FOR_ANY_GAME.remove("gpu")  # dqn.yaml with more environments

SMALL_VALUES = {
    "categorical": ["--values.atoms=21", "--values.v-min=-2", "--values.v-max=2"],
    "quantile": ["--values.quantiles=16"],
    "implicit_quantile": ["--values.num-taus=8", "--values.num-policy-taus=8"],
}
NOT_THEIRS = [
    "--env.protocol=classic", "--env.frame-size=84", "--network.torso=auto", "--network.width=1",
    "--network.pool=0", "--network.spectral-norm=false", "--network.hidden-units=512",
    "--optimizer.learning-rate-end=null", "--optimizer.learning-rate-decay-steps=0",
]  # fmt: skip


def catch(preset: str, game: str, folder: Path, *options: str) -> Config:
    """Catch by what a preset is made of: its values, policy, head, draws, loss, kind of optimizer
    and of exploration, in a small size. The target moves often: Munchausen's policy stays near the
    one before it, so that it takes some tens of targets to come round. (At a rate of 3e-3 one of
    six runs of QR-DQN was stuck at .7.)"""
    theirs = load_config(PRESETS[preset])
    rate = {"adam": 2e-3, "rmsprop": 1e-3}[theirs.optimizer.name]
    at_last = 0 if theirs.exploration.epsilon_end == 0 else 0.1
    return config_of(
        folder, f"--config={preset}", *NOT_THEIRS, f"--game={game}",
        "--total-steps=6000", "--num-envs=8", "--evaluate-period=200", "--replay.gamma=.99",
        f"--replay.n-step={min(theirs.replay.n_step, 3)}", f"--optimizer.learning-rate={rate}",
        "--learner.batch-size=32", "--learner.update-period=2", "--learner.target-period=40",
        f"--exploration.epsilon-end={at_last}", *SMALL_VALUES.get(theirs.values.kind, []), *options,
    )  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``--seeds 10``: as many seeds; all but the first are slow."""
    if "seed" in metafunc.fixturenames:
        seeds = range(1, 1 + metafunc.config.getoption("--seeds"))
        metafunc.parametrize("seed", slow_except(seeds, [1]))


@pytest.mark.parametrize("preset", FOR_ANY_GAME)
def test_every_preset_learns_catch(preset, seed, tmp_path):
    """At least .9 of what a perfect player scores, without exploring, over 40 fresh episodes by the
    network it ends with: the first that an evaluation found so good."""
    config = catch(preset, "Catch-v0", tmp_path, f"--seed={seed}")
    session = learned(config, tmp_path, enough=0.95)
    assert scored_anew(session) >= 0.9


@pytest.mark.parametrize("preset", slow_except(["c51", "dqn", "iqn", "qr_dqn"], ["dqn"]))
def test_every_kind_of_value_learns_catch_in_bfloat16(preset, tmp_path):
    config = catch(preset, "Catch-v0", tmp_path, "--seed=1", "--precision=bfloat16")
    session = learned(config, tmp_path, enough=0.95)
    assert scored_anew(session) >= 0.9


def test_catch_is_not_learned_from_shuffled_rewards(tmp_path):
    """So it is the rewards that teach it, and not a flaw in the game or in its evaluation."""
    short = ["--total-steps=2500", "--evaluate-period=2500"]
    config = catch("rainbow", "CatchShuffled-v0", tmp_path, *short)
    assert scored_anew(learned(config, tmp_path), game="Catch-v0") < 0.3


@pytest.mark.parametrize("num_envs", [1, 8])
def test_the_values_of_a_chain_are_known(num_envs, tmp_path):
    """q of each place and action, as the best player has it, from one that goes at random."""
    gamma = 0.8
    config = config_of(
        tmp_path, "--game=Chain-v0", "--total-steps=5000", f"--num-envs={num_envs}",
        "--replay.capacity=10000", f"--replay.gamma={gamma}", "--optimizer.learning-rate=2e-3",
        "--exploration.epsilon-end=1", "--evaluation.episodes=1",
        "--evaluation.epsilon=.5",  # nobody goes left for ever
    )  # fmt: skip
    q = learned(config, tmp_path).agent.model.q_values(torch.eye(5)[:4, None]).detach()
    right = np.array([gamma**3, gamma**2, gamma, 1])
    left = gamma * np.array([right[0], right[0], right[1], right[2]])
    np.testing.assert_allclose(q[:, 1], right, atol=0.03)
    np.testing.assert_allclose(q[:, 0], left, atol=0.03)
