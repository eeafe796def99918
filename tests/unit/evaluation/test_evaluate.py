"""A stuck game is cut off, in evaluations and in recordings; where none is, nothing changes."""

from types import SimpleNamespace

import numpy as np
import pytest

from dqn.config import Config, EnvConfig, EvaluationConfig
from dqn.envs import ScreenEnvironment
from dqn.evaluation.episode import play_episode
from dqn.evaluation.evaluate import evaluate
from dqn.types import TimeStep


def evaluate_breakout(act, limit, told=None):
    """An evaluation of two short games; ``act`` gives one action a game."""
    config = Config(
        game="Breakout",
        env=EnvConfig(max_episode_frames=400, threads=1),
        evaluation=EvaluationConfig(episodes=2, epsilon=0.0, max_steps_without_reward=limit),
    )
    policy = SimpleNamespace(act=lambda stack, _: np.array([act() for _ in stack]))
    progress = {} if told is None else {"progress": lambda *told_now: told.append(told_now)}
    return evaluate(lambda _: policy, config, 0, **progress)


def test_a_policy_that_never_fires_is_cut_off() -> None:
    told = []
    result = evaluate_breakout(lambda: 0, limit=25, told=told)
    assert (result.lengths, result.returns, result.cut) == ([25, 25], [0, 0], 2)
    assert result.protocol.endswith(", stuck games cut after 25 steps without reward")
    assert result.as_json()["cut"] == 2
    assert told[0] == (0, 2, None) and told[-1] == (2, 50, 0)


@pytest.mark.parametrize("limit", [None, 4_500])
def test_without_a_cut_the_label_and_the_record_are_as_they_were(limit) -> None:
    result = evaluate_breakout(lambda: 0, limit)
    assert min(result.lengths) > 60 and "cut" not in result.protocol
    assert "cut" not in result.as_json()


def test_a_reward_starts_the_count_again() -> None:
    """The one game gains points all the time, the other waits for longer than the limit."""
    generator = np.random.default_rng(0)
    free = evaluate_breakout(lambda: generator.integers(4), None)
    generator = np.random.default_rng(0)
    limited = evaluate_breakout(lambda: generator.integers(4), 60)
    assert max(free.returns) > 0
    assert max(limited.lengths) > 60


def test_a_recording_of_a_stuck_game_ends_too() -> None:
    environment = ScreenEnvironment(Config(game="Breakout"))
    told = []
    record = play_episode(
        environment, lambda _: np.array([0]), 1, "test", [], limit=30,
        progress=lambda *now: told.append(now),
    )  # fmt: skip
    environment.close()
    assert record == (0.0, 30, True, True, 15)
    assert told[-1] == (0, 30, 0.0)


def test_a_lost_point_is_a_reward_too() -> None:
    """Every step of MountainCar costs one."""
    settings = EvaluationConfig(episodes=2, max_steps_without_reward=25)
    policy = SimpleNamespace(act=lambda stack, _: np.ones(len(stack), int))
    result = evaluate(lambda _: policy, Config(game="MountainCar-v0", evaluation=settings), 0)
    assert (result.lengths, result.cut) == ([200, 200], 0)


class OneEnds:
    """Two games without rewards: the first ends after three steps, and another begins there."""

    spec = SimpleNamespace(game="Pong", atari=True)

    def __init__(self) -> None:
        self.step = 0

    def reset(self, *_) -> TimeStep:
        return self.receive()

    def send(self, _) -> None:
        self.step += 1

    def receive(self) -> TimeStep:
        last = np.array([self.step == 3, False])
        return TimeStep(np.zeros((2, 1, 1)), np.zeros(2), last, last, last)

    def close(self) -> None: ...


def test_a_game_that_ended_by_itself_is_not_cut_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dqn.evaluation.evaluate.envs.make", lambda *_: OneEnds())
    settings = EvaluationConfig(episodes=2, max_steps_without_reward=10)
    policy = SimpleNamespace(act=lambda stack, _: np.zeros(len(stack), int))
    result = evaluate(lambda _: policy, Config(game="Pong", evaluation=settings), 0)
    assert (result.lengths, result.cut) == ([3, 10], 1)
