"""What a CUDA graph holds, on a machine without a GPU: every preset writes, acts and learns on
torch's "meta" device, which knows shapes and no numbers.

There a copy to the host, a branch on a tensor and ``.item()`` are errors of torch's own;
``OnDevice`` makes errors of what torch would allow. It is not CUDA: Adam and the gradients of
weights are computed as on a CPU.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dqn import envs
from dqn.commands.bench_parts import OperationCount
from dqn.config import Config
from dqn.config.yaml_file import load_config
from dqn.envs import Spec
from dqn.learning import cuda_graphs, factory
from dqn.learning.cuda_graphs import CudaGraphed, CudaGraphedGreedy
from dqn.learning.factory import Agent, batches_together, make_agent
from dqn.replay.arrays import StagingBuffer
from dqn.types import TimeStep

CONFIGS = Path(__file__).parents[3] / "configs"
META = torch.device("meta")
CARTPOLE = Spec("CartPole-v1", 2, (4,), "float32", 1, atari=False)
LANDER = Spec("LunarLander-v3", 4, (8,), "float32", 1, atari=False)
OTHER_GAMES = {"cartpole": CARTPOLE, "cartpole_shaped": CARTPOLE, "lunarlander": LANDER}

Make = Callable[[Config, Spec], Agent[Any]]

BUDGETS = {
    "dqn": 49, "gpu": 49, "pong": 49, "cartpole": 49, "cartpole_shaped": 49, "c51": 57,
    "nature": 57, "double": 66, "quick": 67, "laptop": 67, "breakout": 67, "qr_dqn": 67,
    "lunarlander": 68, "iqn": 79, "munchausen_iqn": 81, "dueling": 96, "prioritized": 175,
    "rainbow": 291, "data_efficient_rainbow": 306, "btr": 560,
}  # fmt: skip
"""Operations of an update, with its part of an iteration's draws, copies and bookkeeping."""


class OnDevice(TorchDispatchMode):
    """Every operand is on the device, but for what the replay memory uploads."""

    def __init__(self, agent: Agent[Any]) -> None:
        super().__init__()
        buffers = [part for part in vars(agent.replay).values() if isinstance(part, StagingBuffer)]
        self._staged = [buffer._host for buffer in buffers]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        upload = func is torch.ops.aten.copy_.default and any(args[1] is s for s in self._staged)
        operands = tree_leaves((args[0] if upload else args, kwargs))
        for tensor in operands:
            on_device = not isinstance(tensor, torch.Tensor) or tensor.device == META
            assert on_device, f"{func} reads a tensor of the CPU"
        return func(*args, **(kwargs or {}))


def without_generator(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A generator has a device, and none is for this one."""

    def random(*size: int, generator: Any, **kwargs: Any) -> torch.Tensor:
        assert generator.device == META
        return make(*size, **kwargs)

    return random


def fused_adam(*tensors: Any, **_: Any) -> None:
    """It has no meta kernel. Its loop over all weights is fast only where their layouts agree."""
    for parameter, gradient, mean, square in zip(*tensors[:4], strict=True):
        assert parameter.stride() == gradient.stride() == mean.stride() == square.stride()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a preset's agent on the device."""
    there = SimpleNamespace(device=META, get_state=lambda: None)
    monkeypatch.setattr(torch, "rand", without_generator(torch.rand))
    monkeypatch.setattr(torch, "randn", without_generator(torch.randn))
    monkeypatch.setattr(torch, "_fused_adam_", fused_adam)
    seeded = factory.torch_generator
    monkeypatch.setattr(
        factory, "torch_generator", lambda *a, device="cpu": there if device == META else seeded(*a)
    )
    monkeypatch.setattr(factory, "_use_cuda_graphs", lambda *_: True)
    monkeypatch.setattr(cuda_graphs, "on_side_stream", lambda work: work())

    def make(config: Config, spec: Spec) -> Agent[Any]:
        count = config.num_envs
        monkeypatch.setattr(envs, "make", lambda *_: SimpleNamespace(spec=spec, num_envs=count))
        return make_agent(config, META)

    return make


def timestep(agent: Agent[Any]) -> TimeStep:
    spec, count = agent.environment.spec, agent.environment.num_envs
    stack = np.zeros((count, spec.stack, *spec.frame_shape), spec.frame_dtype)
    no = np.zeros(count, bool)
    return TimeStep(stack, np.zeros(count, np.float32), no, no, no)


@pytest.mark.parametrize("preset", BUDGETS)
def test_an_iteration_of_a_preset(preset, make):
    """It needs no number on the host, and few operations."""
    config = load_config(CONFIGS / f"{preset}.yaml")
    updates = 16 if batches_together(config) > 1 else 2
    side, num_envs = config.env.frame_size, updates * config.learner.update_period
    atari = Spec("Pong", 6, (side, side), "uint8", 4, atari=True)
    agent = make(dataclasses.replace(config, num_envs=num_envs), OTHER_GAMES.get(preset, atari))
    assert isinstance(agent.learn, CudaGraphed)
    with OnDevice(agent):
        agent.replay.add(timestep(agent), np.zeros(agent.environment.num_envs, np.int64))
        agent.replay.add_timestep(timestep(agent))
        agent.actor._greedy._work()
        agent.learn(updates)
        agent.learner.learning_rate = 1e-3
        agent.learner.sync_target()
        with OperationCount() as operations:
            agent.learn(updates)
    assert BUDGETS[preset] - 1 < operations.total / updates <= BUDGETS[preset]


def test_memory_that_is_copied_to_or_from_a_gpu_is_pinned(monkeypatch):
    """Otherwise a copy waits for the device."""
    asked, zeros, gpu = [], torch.zeros, torch.device("cuda")

    def on_cpu(*size: Any, device: Any = None, pin_memory: bool = False, **kwargs: Any) -> Any:
        asked.append((device, pin_memory))
        return zeros(*size, **kwargs)

    monkeypatch.setattr(torch, "zeros", on_cpu)
    monkeypatch.setattr(torch.cuda, "Event", Mock())
    StagingBuffer({"reward": (torch.float32, (3,))}, gpu)
    CudaGraphedGreedy(Mock(), Mock(num_envs=2, device=gpu), [])
    assert asked == 2 * [(gpu, False), (None, True)]
