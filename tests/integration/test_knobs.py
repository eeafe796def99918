"""No dead setting: a run reads each of them. What each does is the tests' of its room; here stand
those of threads and devices, which leave every number as it is."""

import sys
from typing import Any

import torch
from support.local_workers import play_in_this_process
from support.runs import TINY, train

import dqn.envs.atari
from dqn.config import Config, EnvConfig, flatten
from dqn.device import resolve_device

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
    [*CARTPOLE, "--actors=2"],
    [*CARTPOLE, "--method=q_learning", "--device=cpu", "--tabular.limits=[2.4,3,.2,2]"],
    [
        *TINY, "--game=Maze-v0", "--method=policy_gradient", "--device=cpu", "--num-envs=1",
        "--exploration.epsilon-start=0", "--exploration.epsilon-end=0",
    ],
]  # fmt: skip
"""Between them they use all there is to set."""


def test_every_setting_is_read(tmp_path, monkeypatch):
    """By a module outside ``dqn.config``."""
    config, every, read = Config(), set(flatten(Config)), set()

    def listen(section: type, prefix: str) -> None:
        def get(part: Any, name: str) -> Any:
            reader = sys._getframe(1).f_globals["__name__"]
            if reader.startswith("dqn.") and not reader.startswith("dqn.config"):
                read.add(prefix + name)
            return object.__getattribute__(part, name)

        monkeypatch.setattr(section, "__getattribute__", get)

    listen(Config, "")
    for section in {name.split(".")[0] for name in every if "." in name}:
        listen(type(getattr(config, section)), f"{section}.")
    play_in_this_process(monkeypatch)
    for number, options in enumerate(RUNS):
        train(tmp_path / str(number), options)
    assert sorted(every - read) == []


def test_threads(tmp_path, monkeypatch):
    """The learner's, and the emulators'."""
    asked = []

    class Noted(dqn.envs.atari.AtariVectorEnv):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            asked.append(keywords["num_threads"])
            super().__init__(*arguments, **keywords)

    monkeypatch.setattr(dqn.envs.atari, "AtariVectorEnv", Noted)
    monkeypatch.setattr(dqn.envs.atari, "cores", lambda: 3)
    for threads in (2, 1):
        train(tmp_path / f"{threads}", [*CARTPOLE, f"--threads={threads}"])
        assert torch.get_num_threads() == threads
        dqn.envs.make(Config(game="Pong", env=EnvConfig(threads=threads)), 4).close()
    dqn.envs.make(Config(game="Pong", env=EnvConfig(threads=0)), 4).close()
    assert asked == [2, 1, 3]


def test_auto_is_the_gpu_if_there_is_one_and_cpu_the_cpu(monkeypatch):
    for available, auto in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda available=available: available)
        assert resolve_device("auto").type == auto
        assert resolve_device("cpu").type == "cpu"
