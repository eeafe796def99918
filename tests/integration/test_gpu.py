"""What only a GPU can show. Left out where torch can use none."""

import dataclasses
import signal
from operator import attrgetter

import numpy as np
import pytest
import torch
from support.runs import BREAKOUT, NEVER, TINY, assert_same, finish, interrupt, run_of, train
from torch import nn

from dqn.commands.bench_parts import fill
from dqn.config import Config
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.device import use_precision
from dqn.envs import Spec
from dqn.learning.cuda_graphs import WARM_UPS, CudaGraphed
from dqn.learning.factory import Agent, make_agent, make_q_network
from dqn.learning.flat_adam import FlatAdam, compile_kernel
from dqn.learning.learner import Learner
from dqn.learning.optimizers import Adam
from dqn.networks import overlap

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
    """Two updates at a time, launched as the loop does. The weights are compared after each pair,
    which begins with the same ones: a rounding error grows, by another draw or greedy action. The
    generators are never made equal again."""
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
        for _ in range(WARM_UPS + 1):  # from the next call on, a thread launches the graph
            agent.begin_learning(2)()
        for _ in range(50):  # overwriting the oldest rows
            agent.replay.add_timestep(agent.environment.timestep)
            agent.actor.act(stack_of(agent), 0.0)
            action = np.zeros(4, np.int64)
            agent.environment.send(action)
            agent.replay.add_action(action)
            agent.environment.receive()
    for _ in range(20):
        state = plain.learner.state_dict()
        state["generator"] = captured.learner.state_dict()["generator"]
        captured.learner.load_state_dict(state)
        priorities = plain.replay.state_dict()
        priorities["sampler"]["generator"] = captured.replay.state_dict()["sampler"]["generator"]
        captured.replay.load_state_dict(priorities)
        for agent in (plain, captured):
            agent.begin_learning(2)()
        ours, theirs = (agent.model.q_values(states) for agent in (captured, plain))
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()
        for owner in ("learner", "replay._sampler"):
            generators = (attrgetter(f"{owner}._generator")(a) for a in (captured, plain))
            assert torch.equal(*(generator.get_state() for generator in generators)), owner
    assert captured.learner.updates == plain.learner.updates == 2 * (20 + WARM_UPS + 1)
    captured.learner.sync_target()
    learner = captured.learner
    for target, online in zip(
        learner.target.parameters(), learner.online.parameters(), strict=True
    ):
        assert torch.equal(target, online)
    for agent in (plain, captured):
        agent.replay.add_timestep(agent.environment.timestep)
    ours, theirs = (a.actor.act(stack_of(a), 0.0) for a in (captured, plain))
    assert (ours == theirs).mean() >= 0.75
    # what the graph acted on is what the environments show
    assert torch.equal(captured.replay.current_stacks().cpu(), torch.from_numpy(stack_of(captured)))
    for agent in (plain, captured):
        agent.environment.close()


@pytest.mark.gpu
@pytest.mark.usefixtures("_without_tf32")
@pytest.mark.parametrize("preset", ["dqn", "dueling", "iqn", "rainbow"])
def test_gradients_beside_the_backward_pass_are_the_cpus(preset, monkeypatch):
    """Every stream sleeps first, so that one which does not wait for another is noticed."""
    run = overlap._SideStreams.run

    def run_late(streams, work, *read):
        run(streams, lambda: (torch.cuda._sleep(10**6), work()), *read)

    monkeypatch.setattr(overlap._SideStreams, "run", run_late)
    config = parse(TrainOptions, ["--game=Breakout", f"--config={preset}"]).settings
    spec = Spec("Breakout", 4, (84, 84), "uint8", 4, atari=True)
    state = torch.randint(256, (32, 4, 84, 84), dtype=torch.uint8)
    gradients = []
    for device in map(torch.device, ("cpu", "cuda")):
        network = make_q_network(config, spec)[0].place(device, "float32")
        for _ in range(3):
            network.zero_grad()
            if device.type == "cuda":
                torch.cuda._sleep(10**8)
            network(state.to(device)).square().sum().backward()
            network.move_gradients()
        gradients.append([p.grad.cpu() for p in network.parameters() if p.grad is not None])
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).norm() <= 1e-4 * theirs.norm()


@pytest.mark.gpu
def test_the_kernel_of_adam_is_torchs_adam():
    rng = torch.Generator("cuda").manual_seed(1)
    ours, theirs = (
        {"w": nn.Parameter(torch.ones(700, 300, device="cuda")), "b": nn.Parameter(ours_b)}
        for ours_b in torch.ones(2, 5, device="cuda")
    )
    optimizers = FlatAdam(ours, 1.5e-4, compile_kernel()), Adam(theirs, 1.5e-4)
    rate = torch.full((), 0.01, device="cuda")
    for step in range(50):
        for name in ours:
            gradient = torch.randn(ours[name].shape, device="cuda", generator=rng)
            ours[name].grad = gradient * 10.0 ** -(step % 5)
            theirs[name].grad = ours[name].grad.clone()
        for optimizer in optimizers:
            optimizer.step(optimizer.gradients(), rate)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


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
