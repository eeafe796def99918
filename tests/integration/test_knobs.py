"""No dead setting: a run reads each of them. What each does is the tests' of its room; here stand
those of threads and devices, which leave every number as it is."""

from typing import Any

import torch
from support.reads import record_reads
from support.runs import TINY, train

import dqn.envs.atari
from dqn.config import Config, EnvConfig, ReplayConfig, flatten
from dqn.device import resolve_device
from dqn.learning.factory import make_agent
from dqn.replay.arrays import PlainFrames
from dqn.replay.compressed import CompressedFrames

CARTPOLE = [*TINY, "--game=CartPole-v1"]
RUNS = [
    [*CARTPOLE, "--learner.target-period=20"],
    [*CARTPOLE, "--values.kind=categorical", "--network.noisy", "--replay.sampler=prioritized"],
    [*CARTPOLE, "--values.kind=quantile", "--optimizer.name=rmsprop"],
    [*CARTPOLE, "--values.kind=implicit_quantile", "--learner.target-policy=munchausen"],
    [
        *CARTPOLE, "--optimizer.learning-rate-end=1e-5", "--optimizer.learning-rate-decay-steps=9",
    ],
    [
        *TINY, "--game=Pong", "--network.torso=impala", "--network.hidden-units=8",
        "--learner.batch-size=2", "--env.max-episode-frames=40",
    ],
    [*CARTPOLE, "--method=q_learning", "--device=cpu", "--tabular.limits=[2.4,3,.2,2]"],
    [
        *TINY, "--game=Maze-v0", "--method=policy_gradient", "--device=cpu", "--num-envs=1",
        "--exploration.epsilon-start=0", "--exploration.epsilon-end=0",
    ],
]  # fmt: skip
"""Between them they use all there is to set."""


def test_every_setting_is_read(tmp_path, monkeypatch):
    read = record_reads(monkeypatch)
    for number, options in enumerate(RUNS):
        train(tmp_path / str(number), options)
    assert sorted(set(flatten(Config())) - read) == []


def test_storage():
    """Equal bits, so another class is all there is to see; on the CPU only."""
    for storage, kind in (("plain", PlainFrames), ("compressed", CompressedFrames)):
        config = Config(game="CartPole-v1", replay=ReplayConfig(capacity=100, storage=storage))
        agent = make_agent(config, torch.device("cpu"))
        agent.environment.close()
        assert isinstance(agent.replay._frames, kind)


def test_threads(tmp_path, monkeypatch):
    """The learner's, and the emulators'."""
    asked = []

    class Noted(dqn.envs.atari.AtariVectorEnv):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            asked.append(keywords["num_threads"])
            super().__init__(*arguments, **keywords)

    monkeypatch.setattr(dqn.envs.atari, "AtariVectorEnv", Noted)
    for threads in (2, 1):
        train(tmp_path / f"{threads}", [*CARTPOLE, f"--threads={threads}"])
        assert torch.get_num_threads() == threads
        dqn.envs.make(Config(game="Pong", env=EnvConfig(threads=threads)), 4).close()
    assert asked == [2, 1]


def test_auto_is_the_gpu_if_there_is_one_and_cpu_the_cpu(monkeypatch):
    for available, auto in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda available=available: available)
        assert resolve_device("auto").type == auto
        assert resolve_device("cpu").type == "cpu"
