"""CUDA graphs rehearsed on the CPU: replaying the captured work does what running it did.

A tape stands in for the graph. It records every operation below autograd and repeats it on the same
tensors, so it is as blind as a graph: what Python counted, chose or computed during the recording
is not repeated, and an operation that waits for the device is an error.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from support.learners import CPU
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dqn.config import Config, ConfigError
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.learning import cuda_graphs
from dqn.learning.cuda_graphs import WARM_UPS, CudaGraphed, on_side_stream
from dqn.learning.factory import Agent, _use_cuda_graphs, make_agent

pytestmark = pytest.mark.usefixtures("_taped")
aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default,
    aten.equal.default, aten._unique2.default,
}  # fmt: skip
"""Operations that need a value or a size from the GPU."""
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class Tape(TorchDispatchMode):
    """The operations run, with the tensors they read and wrote; they draw from ``generators``."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self._seeds = {generator.initial_seed() for generator in generators}
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        assert func not in WAITING, "waits for the device"
        if generator := (kwargs or {}).get("generator"):
            assert generator.initial_seed() in self._seeds, "each launch would draw the same"
        for index in args[1] if func in INDEXING else ():
            assert index is None or index.dtype != torch.bool, "waits for the device"
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def repeat(self) -> None:
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor):
                    old.copy_(new)


def recorded(work: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
    """In place of ``cuda_graphs.capture``; recording counts as the first launch."""
    tape, launches = Tape(generators), 0

    def launch() -> None:
        nonlocal launches
        launches += 1
        if launches > 1:
            tape.repeat()

    with tape:
        work()
    return launch


@pytest.fixture
def _taped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "capture", recorded)
    monkeypatch.setattr(cuda_graphs, "on_side_stream", lambda work: work())


# 25 time rows, so that 60 wrap twice
CARTPOLE = (
    "--game=CartPole-v1 --num-envs=4 --learning-starts=40 --replay.capacity=100 "
    "--network.mlp-units=[16,8] --optimizer.learning-rate=1e-2 --learner.batch-size=8"
)
PRIORITIZED = "--replay.n-step=3 --replay.sampler=prioritized --replay.beta-steps=200"
FAMILY = {
    "dqn": f"{PRIORITIZED} --learner.max-gradient-norm=1",
    "uniform": "--learner.max-gradient-norm=1",
    "nature": f"{PRIORITIZED} --learner.max-gradient-norm=.1 --optimizer.name=rmsprop",
    "rainbow": f"{PRIORITIZED} --network.dueling=true --network.noisy=true "
    "--values.kind=categorical --learner.target-policy=double",
    "quantile": f"{PRIORITIZED} --values.kind=quantile --values.quantiles=7",
    "munchausen_iqn": f"{PRIORITIZED} --network.center=true --network.layer-norm=true "
    "--values.kind=implicit_quantile --values.num-taus=4 --values.num-policy-taus=4 "
    "--values.num-cosines=8 --learner.target-policy=munchausen",
}
"""What each variant adds to CARTPOLE."""


@contextlib.contextmanager
def rehearsed_gpu(captured: bool) -> Iterator[None]:
    """If so: no numpy views, and uploads have memory of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dqn.learning.factory._use_cuda_graphs", lambda *_: captured)
        if captured:
            patch.setattr("dqn.replay.arrays._NUMPY", set())
        yield


def agent_of(options: str, captured: bool) -> Agent:
    config = parse(TrainOptions, options.split()).settings
    with rehearsed_gpu(captured):
        agent = make_agent(config, CPU)
    agent.learner.nonfinite._ask_first = False  # as on a GPU
    agent.environment.reset(1, "training")
    return agent


def play(agent: Agent, steps: int, updates: list[int]) -> list[list[int]]:
    """The loop's order of calls, with changing learning rate, beta and rows."""
    chosen, environment = [], agent.environment
    with rehearsed_gpu(isinstance(agent.learn, CudaGraphed)):
        for step in range(steps):
            agent.replay.add_timestep(environment.timestep)
            agent.learner.learning_rate = 1e-2 / (1 + step)
            acting = agent.actor.begin(environment.timestep.stack, 0.2)
            learning = agent.begin_learning(updates[step % len(updates)] if step > 10 else 0)
            action = acting()
            environment.send(action)
            agent.replay.add_action(action)
            learning()
            environment.receive()
            if step % 7 == 0:
                agent.learner.sync_target()
            chosen.append(action.tolist())
    environment.close()
    return chosen


def assert_same_state(*agents: Agent) -> None:
    learners = [tree_leaves(agent.learner.state_dict()) for agent in agents]
    replays = [tree_leaves(agent.replay.state_dict()) for agent in agents]
    for ours, theirs in [*zip(*learners, strict=True), *zip(*replays, strict=True)]:
        assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs


@pytest.mark.parametrize("name", FAMILY)
def test_captured_work_gives_the_same_bits(name):
    """Of two, none and one update at a time."""
    updates = [2, 0, 1]
    plain, captured = (agent_of(f"{CARTPOLE} {FAMILY[name]}", wanted) for wanted in (False, True))
    assert not isinstance(plain.learn, CudaGraphed)
    assert isinstance(captured.learn, CudaGraphed)
    assert play(captured, 60, updates) == play(plain, 60, updates)
    assert len(captured.learn._launch) == len(set(updates) - {0}), "it was captured"
    assert captured.learner.updates == plain.learner.updates > 40
    assert_same_state(captured, plain)
    assert captured.learner.pop_means() == plain.learner.pop_means()


def test_captured_convolutions_give_the_same_bits():
    options = (
        "--game=Breakout --num-envs=2 --learning-starts=40 --replay.capacity=400 "
        "--network.hidden-units=8 --optimizer.learning-rate=1e-2 --learner.batch-size=2"
    )
    plain, captured = (agent_of(options, wanted) for wanted in (False, True))
    assert play(captured, 24, [1]) == play(plain, 24, [1])
    assert_same_state(captured, plain)


def test_the_tape_is_as_blind_as_a_graph():
    """So the tests above notice work done in Python, and work that waits for the device."""
    counted, on_device = [0], torch.zeros(())

    def work(times: int) -> None:
        counted[0] += times
        on_device.add_(times)

    captured = CudaGraphed(work, [])
    for _ in range(WARM_UPS + 5):
        captured(1)
    assert counted[0] == WARM_UPS + 1 and on_device == WARM_UPS + 5
    waits = CudaGraphed(lambda _: on_device.add_(float(on_device)) and None, [])
    for _ in range(WARM_UPS):
        waits(1)
    with pytest.raises(AssertionError, match="waits for the device"):
        waits(1)


def test_captured_work_is_launched_by_a_thread(monkeypatch):
    """But not what warms up or is captured, of each number of times."""
    ran: list[tuple[str, bool]] = []

    def note(what: str) -> None:
        ran.append((what, threading.current_thread() is threading.main_thread()))

    monkeypatch.setattr(cuda_graphs, "capture", lambda *_: lambda: note("launch"))
    captured = CudaGraphed(lambda times: note(f"{times} times"), [])
    for times in (2, 3):
        for _ in range(WARM_UPS + 3):
            captured.begin(times)()
        warm_ups = [(f"{times} times", True)] * WARM_UPS
        assert ran == [*warm_ups, ("launch", True), ("launch", False), ("launch", False)]
        ran.clear()
    monkeypatch.setitem(captured._launch, 3, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        captured.begin(3)()


def test_warm_ups_run_in_order_on_one_side_stream(monkeypatch):
    happened: list[str] = []

    class Stream:
        def __init__(self, name: str = "side") -> None:
            self.name = name
            happened.append(f"{name} made")

        def wait_stream(self, other: "Stream") -> None:
            happened.append(f"{self.name} waits for {other.name}")

    @contextlib.contextmanager
    def using(stream: Stream) -> Iterator[None]:
        happened.append(f"{stream.name} begins")
        yield
        happened.append(f"{stream.name} ends")

    current = Stream("current")
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: current)
    monkeypatch.setattr(torch.cuda, "stream", using)
    cuda_graphs._side_stream.cache_clear()
    for _ in range(2):
        on_side_stream(lambda: happened.append("work"))
    cuda_graphs._side_stream.cache_clear()
    turn = ["side waits for current", "side begins", "work", "side ends", "current waits for side"]
    assert happened == ["current made", "side made", *turn, *turn]


def test_greedy_actions_are_a_copy_and_for_the_pending_time_step_only():
    """The next call does not change the array that the last one returned."""
    agent = agent_of(CARTPOLE, True)
    returned, copies, environment = [], [], agent.environment
    for _ in range(12):
        with torch.no_grad():  # so that another action is best
            for parameter in agent.learner.online.head.parameters():
                parameter.neg_()
        agent.replay.add_timestep(environment.timestep)
        action = agent.actor._greedy(environment.timestep.stack)()
        with pytest.raises(AssertionError, match="not the replay memory's pending"):
            agent.actor._greedy(environment.timestep.stack.copy())
        returned.append(action)
        copies.append(action.copy())
        environment.send(np.array([0, 1, 0, 1]))
        agent.replay.add_action(action)
        environment.receive()
    with pytest.raises(AssertionError, match="not the replay memory's pending"):
        agent.actor._greedy(environment.timestep.stack)
    environment.close()
    assert np.array_equal(returned, copies)
    assert len(set(map(tuple, returned))) > 1


def test_cuda_graphs_are_used_where_everything_is_on_the_gpu_unless_told_not_to():
    gpu = torch.device("cuda")
    for asked, learner, rows, used in (
        ("auto", gpu, gpu, True), (True, gpu, gpu, True), (False, gpu, gpu, False),
        ("auto", gpu, CPU, False), ("auto", CPU, CPU, False), (False, CPU, CPU, False),
    ):  # fmt: skip
        config = Config(cuda_graphs=asked)
        assert _use_cuda_graphs(config, learner, rows) == used
    with pytest.raises(ConfigError, match="cuda_graphs"):
        Config(cuda_graphs=True, device="cpu")
    with pytest.raises(ConfigError, match="here they are cuda and cpu"):
        _use_cuda_graphs(Config(cuda_graphs=True), gpu, CPU)
