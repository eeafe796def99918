"""What only a GPU can show. Left out where torch can use none."""

import dataclasses
import signal

import numpy as np
import pytest
import torch
from support.runs import BREAKOUT, NEVER, TINY, assert_same, finish, interrupt, run_of, train

from dqn.commands.bench_parts import fill
from dqn.config import Config
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.device import use_precision
from dqn.learning.cuda_graphs import WARM_UPS, CudaGraphed
from dqn.learning.factory import Agent, make_agent
from dqn.learning.learner import Learner

ON_GPU = [*BREAKOUT, "--num-envs=8", "--device=cuda", "--deterministic=true"]


@pytest.fixture
def _deterministic_mode_restored():
    """The runs of these tests switch deterministic operations on for the whole process."""
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def _without_tf32():
    """TF32 rounds factors to 10 bits (1e-3), and a graph may choose other kernels than eager calls
    do; without it both round to 24 bits (6e-8)."""
    use_precision("float32")


@pytest.mark.gpu
@pytest.mark.usefixtures("_deterministic_mode_restored")
@pytest.mark.parametrize("replay", ["cuda", "cpu"])
def test_the_same_bits_twice_and_across_a_resume(replay, tmp_path):
    options = [*ON_GPU, f"--replay.device={replay}"]
    once = train(tmp_path / "once", options, NEVER)
    again = tmp_path / "again"
    finish(again, options)
    assert_same(run_of(again), once)
    resumed = tmp_path / "resumed"
    for number in (signal.SIGKILL, signal.SIGTERM):
        interrupt(resumed, options, number, after=6)
    finish(resumed, options)
    assert_same(run_of(resumed), once)


def stack_of(agent: Agent[Learner]) -> np.ndarray:
    return agent.environment.timestep.stack


@pytest.mark.gpu
@pytest.mark.usefixtures("_without_tf32")
@pytest.mark.parametrize("preset", ["dqn", "nature", "rainbow", "munchausen_iqn", "btr"])
def test_captured_graphs_learn_the_same(preset):
    """From the same rows the q-values agree to 1e-6 after one update and to 1e-3 after a hundred,
    which amplify rounding."""
    options = [
        "--game=Breakout", f"--config={preset}", "--num-envs=4", "--device=cuda",
        "--replay.capacity=800", "--learner.batch-size=32",
    ]  # fmt: skip
    config = parse(TrainOptions, options).settings
    plain, captured = (
        make_agent(dataclasses.replace(config, cuda_graphs=wanted), torch.device("cuda"))
        for wanted in (False, True)
    )
    assert isinstance(captured.learn, CudaGraphed)
    for agent in (plain, captured):
        agent.environment.reset(1, "training")
        fill(agent, 800, seed=1)
    states = plain.replay.sample(32).state
    captured.replay.sample(32)
    for agent in (plain, captured):
        for _ in range(WARM_UPS):  # from the next call on, it is the graph
            agent.learn(1)
        for _ in range(50):  # overwriting the oldest rows
            agent.replay.add_timestep(agent.environment.timestep)
            agent.actor.act(stack_of(agent), 0.0)
            action = np.zeros(4, np.int64)
            agent.environment.send(action)
            agent.replay.add_action(action)
            agent.environment.receive()
    captured.learner.load_state_dict(plain.learner.state_dict())
    captured.replay.load_state_dict(plain.replay.state_dict())
    for updates, tolerance in ((1, 1e-6), (99, 1e-3)):
        for agent in (plain, captured):
            for _ in range(updates):
                agent.learn(1)
        ours, theirs = (agent.model.q_values(states) for agent in (captured, plain))
        assert (ours - theirs).norm() <= tolerance * theirs.norm()
    assert captured.learner.updates == plain.learner.updates == 100 + WARM_UPS
    for agent in (plain, captured):
        agent.replay.add_timestep(agent.environment.timestep)
    ours, theirs = (a.actor.act(stack_of(a), 0.0) for a in (captured, plain))
    assert (ours == theirs).mean() >= 0.75
    # what the graph acted on is what the environments show
    assert torch.equal(captured.replay.current_stacks().cpu(), torch.from_numpy(stack_of(captured)))
    for agent in (plain, captured):
        agent.environment.close()


@pytest.mark.parametrize("wanted", [True, False])
def test_deterministic_operations_are_asked_for(wanted, tmp_path, monkeypatch):
    """The knob is read; that it helps is the test above."""
    asked = []
    monkeypatch.setattr(
        "dqn.commands.train.use_deterministic_operations", lambda device: asked.append(device.type)
    )
    cartpole = [*TINY, "--game=CartPole-v1", "--device=cpu"]
    train(tmp_path, [*cartpole, f"--deterministic={str(wanted).lower()}"])
    assert asked == (["cpu"] if wanted else [])
    assert not Config().deterministic
