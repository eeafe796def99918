"""The replay memory against a literal restatement of the row rule, for every row."""

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.replays import (
    GAME_OVER,
    LIFE_LOST,
    PLAIN,
    TIME_OUT,
    Shape,
    add,
    draw,
    drawable,
    filled,
    follow_the_rule,
    make_replay,
    make_tape,
    moment,
    random_endings,
    replay_of,
)
from torch.overrides import TorchFunctionMode

from dqn.config import ReplayConfig
from dqn.replay.buffer import Replay
from dqn.types import TimeStep

SHAPES = [
    Shape(length, num_envs, n_step, stack)
    for n_step, num_envs, stack, length in itertools.product((1, 3, 5), (1, 3), (1, 4), (11, 23))
]
LAST = SHAPES[-1]
SHAPES += [LAST._replace(storage="compressed", float_frames=floats) for floats in (False, True)]
SHAPES += [LAST._replace(sampler="prioritized")]

CASES = [(shape, "numpy") for shape in SHAPES] + [
    (Shape(11, 3, 5, 4), "torch"),
    (Shape(11, 1, 3, 1, sampler="prioritized"), "torch"),
    (Shape(23, 3, 1, 4, clip=True, float_frames=True), "torch"),
]


@pytest.mark.parametrize("shape, arrays", CASES, ids=str)
def test_every_row_obeys_the_rule_before_and_after_wraps(shape, arrays, monkeypatch):
    """With torch as on a GPU."""
    if arrays == "torch":
        monkeypatch.setattr("dqn.replay.arrays._NUMPY", set())
    endings = random_endings(sum(shape[:4]), 4 * shape.length + 3, shape.num_envs)
    starts = follow_the_rule(endings, shape)
    assert starts > 10 * shape.length, "the pattern left hardly anything to check"


def endings_of(num_envs: int, rows: int) -> st.SearchStrategy[list[list[tuple[bool, bool]]]]:
    """Any pattern of endings, plain rows the likeliest."""
    kind = st.sampled_from([PLAIN, PLAIN, PLAIN, LIFE_LOST, GAME_OVER, TIME_OUT])
    row = st.lists(kind, min_size=num_envs, max_size=num_envs)
    return st.lists(row, min_size=1, max_size=rows)


SPARE_ROWS = st.integers(1, 5)
ANY_SHAPE = st.builds(
    Shape, SPARE_ROWS, num_envs=st.integers(1, 3), n_step=st.integers(1, 5),
    stack=st.sampled_from([1, 2, 4]), clip=st.booleans(), float_frames=st.booleans(),
).map(lambda shape: shape._replace(length=shape.n_step + shape.stack + shape.length))  # fmt: skip


@given(st.data(), ANY_SHAPE)
@settings(max_examples=120)
def test_every_row_obeys_the_rule_whatever_the_pattern(data, shape):
    follow_the_rule(data.draw(endings_of(shape.num_envs, 3 * shape.length)), shape)


def test_a_small_tape_by_hand():
    """A life lost at 2, a time-out at 4, a game over that is an episode of one row at 5."""
    endings = [PLAIN, PLAIN, LIFE_LOST, PLAIN, TIME_OUT, GAME_OVER, PLAIN, PLAIN]
    tape = make_tape([[ending] for ending in endings])
    replay = replay_of(tape, Shape(length=20, num_envs=1, n_step=2, stack=2))
    assert drawable(replay) == {0, 1, 2, 3}  # 4 and 5 are last, 6 and 7 incomplete
    batch = draw(replay, [0, 1, 2, 3])
    rewards = [row[0].reward for row in tape]
    assert rewards[:5] == [-0.25, 1.25, -2.25, 3.25, -4.25]
    expected = [1.25 - 0.9 * 2.25, -2.25, 3.25 - 0.9 * 4.25, -4.25]
    np.testing.assert_allclose(batch.reward, expected, rtol=1e-6)
    np.testing.assert_allclose(batch.discount, [0, 0, 0.81, 0.9], rtol=1e-6)
    assert batch.state[:, :, 0, 0].tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert batch.next_state[:, :, 0, 0].tolist() == [[2, 3], [2, 3], [4, 5], [4, 5]]


def test_dtypes_and_shapes_of_a_batch():
    for float_frames, pixels, frame in ((False, torch.uint8, (2, 2)), (True, torch.float32, (4,))):
        shape = Shape(30, 3, 3, 1 if float_frames else 4, float_frames=float_frames)
        batch = replay_of(make_tape([[PLAIN] * 3] * 12, float_frames), shape).sample(7)
        for state in (batch.state, batch.next_state):
            assert state.dtype == pixels and state.shape == (7, shape.stack, *frame)
        assert [x.dtype for x in (batch.action, batch.index)] == [torch.int64] * 2
        floats = (batch.reward, batch.discount, batch.weight)
        assert [x.dtype for x in floats] == [torch.float32] * 3
        assert all(x.shape == (7,) for x in (*floats, batch.action, batch.index))


@pytest.mark.parametrize("num_actions, dtype", [(256, torch.uint8), (257, torch.int32)])
def test_the_largest_action_fits_its_dtype(num_actions, dtype):
    generator = torch.Generator()
    replay = Replay(
        ReplayConfig(capacity=20), 1, (1,), "uint8", 1, num_actions, lambda t: t.reward, generator
    )
    flag = np.zeros(1, bool)
    step = TimeStep(np.zeros((1, 1, 1), np.uint8), np.zeros(1, np.float32), flag, flag, flag)
    for _ in range(3):
        replay.add(step, np.array([num_actions - 1]))
    assert replay.layout["action"] == (dtype, (1,))
    assert replay.sample(4).action.tolist() == [num_actions - 1] * 4


class Elsewhere(TorchFunctionMode):
    """What is made without a device is made where nothing can be read, as on a machine with a GPU
    it would be made in the other memory."""

    MAKERS = (
        torch.zeros, torch.ones, torch.full, torch.empty, torch.arange, torch.rand, torch.tensor
    )  # fmt: skip

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self.MAKERS and kwargs.get("device") is None:
            kwargs |= {"device": "meta"}
        return func(*args, **kwargs)


def test_everything_is_made_on_the_device_of_the_generator():
    for sampler in ("uniform", "prioritized"):
        shape = Shape(20, 3, 3, 4, sampler=sampler)
        expected = filled(shape, 50).sample(16)
        with Elsewhere():
            ours = filled(shape, 50).sample(16)
        for name, value in ours._asdict().items():
            assert value.device.type == "cpu", name
            assert torch.equal(value, getattr(expected, name)), name


def test_len_and_fill():
    for rows, held in ((0, 0), (7, 7), (20, 20), (55, 20)):
        replay = filled(Shape(20, 3, 1, 4), rows)
        assert len(replay) == 3 * held and replay.fill == held / 20


@pytest.mark.parametrize(
    "rows, sampler, storage",
    [
        (9, "uniform", "compressed"),
        (50, "prioritized", "plain"),
        (137, "uniform", "plain"),
        (137, "prioritized", "compressed"),
    ],
)
def test_rows_and_state_restore_an_equal_memory(rows, sampler, storage):
    """In pieces of odd sizes, before and after wraps; later samples are equal to the bit too."""
    shape = Shape(50, 3, 3, 4, sampler=sampler, storage=storage)
    replay, other = filled(shape, rows), make_replay(shape, seed=99)
    replay.update_priorities(replay.sample(8).index, torch.linspace(0, 20, 8))
    oldest = max(0, rows - shape.length)
    for begin in range(oldest, rows, 7):
        piece = replay.rows(begin, min(begin + 7, rows))
        layout = {name: (values.dtype, values.shape[1:]) for name, values in piece.items()}
        assert layout == replay.layout
        other.load_rows(begin, {name: values.clone() for name, values in piece.items()})
    state = replay.state_dict()
    sampler = {key: value.clone() for key, value in state["sampler"].items()}
    other.load_state_dict({"time": state["time"], "sampler": sampler})
    tape = make_tape(random_endings(7, 250, 3))
    for t in range(rows, 250):
        for ours, theirs in zip(replay.sample(16), other.sample(16), strict=True):
            assert torch.equal(ours, theirs)
        add(replay, tape, t)
        add(other, tape, t)


def test_a_state_that_cannot_be_is_refused():
    """Of 20 rows, 9 are written; a mass is at most the largest so far, at first 1 or 2^20."""
    for sampler, largest in (("uniform", 1), ("prioritized", 2**20)):
        replay = filled(Shape(20, 3, 1, 4, sampler=sampler), 9)
        state = replay.state_dict()
        replay.load_state_dict(state)  # its own is accepted
        mass = state["sampler"]["mass"]
        wrong = [("mass", mass.double()), ("mass", mass[:19])]
        # too much, and in the newest row and in one that was never written, which nothing follows
        for slot, value in ((2, largest + 1), (8, 1), (9, 1), (19, 1)):
            wrong.append(("mass", mass.clone()))
            wrong[-1][1][slot, 1] = value
        if sampler == "prioritized":
            wrong.append(("mass", -mass))
            numbers = (2**20 - 1, float(2**20), [2**20])
            wrong += [("max_priority", torch.tensor(value).int()) for value in numbers[::2]]
            wrong += [("max_priority", torch.tensor(value)) for value in numbers[:2]]
        for name, value in wrong:
            with pytest.raises(ValueError, match=r"masses|cannot start|maximum priority"):
                replay.load_state_dict(state | {"sampler": state["sampler"] | {name: value}})


def test_rows_that_are_not_held_are_refused():
    replay = filled(Shape(20, 1, 1, 4), 50)
    for begin, end in ((30, 50), (30, 30), (50, 50)):
        assert len(replay.rows(begin, end)["frame"]) == end - begin
    for begin, end in ((29, 50), (30, 51), (-1, 3)):
        with pytest.raises(AssertionError):
            replay.rows(begin, end)


@pytest.mark.parametrize("arrays", ["numpy", "torch"])
@pytest.mark.parametrize("float_frames", [False, True])
def test_current_stacks_are_those_of_the_time_step(arrays, float_frames, monkeypatch):
    """At every time step, across wraps and ends, before and after its action is added. With torch,
    as on a GPU, uploads have memory of their own."""
    shape = Shape(12, 5, 2, 4, float_frames=float_frames)
    tape = make_tape(random_endings(3, 60, 5), float_frames)
    plain = make_replay(shape)
    if arrays == "torch":
        monkeypatch.setattr("dqn.replay.arrays._NUMPY", set())
    replay = make_replay(shape)
    assert isinstance(replay._staged.device["slot"], torch.Tensor) == (arrays == "torch")
    for t in range(60):
        step = moment(replay, tape, t)
        with pytest.raises(AssertionError, match="no time step to act on"):
            replay.add_action(np.zeros(5, np.int64))
        replay.add_timestep(step)
        held = replay.current_stacks()
        assert held.numpy().dtype == step.stack.dtype and np.array_equal(held, step.stack)
        with pytest.raises(AssertionError, match="no action yet"):
            replay.state_dict()
        with pytest.raises(AssertionError, match="no action yet"):
            replay.rows(0, 0)
        with pytest.raises(AssertionError, match="no action yet"):
            replay.add_timestep(step)
        replay.add_action(np.array([row.action for row in tape[t]]))
        assert np.array_equal(replay.current_stacks(), step.stack)
        add(plain, tape, t)
        assert drawable(replay) == drawable(plain)
    index = sorted(drawable(plain))
    for ours, theirs in zip(draw(replay, index), draw(plain, index), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("num_envs", [1, 3, 600, 2000])
def test_block_sums_stay_correct_and_every_block_is_drawn_from(num_envs):
    replay = make_replay(Shape(2500 // num_envs + 12, num_envs, 3, 4))
    tape = make_tape(random_endings(1, 20, num_envs))
    masses = replay._sampler._masses
    assert len(masses._sums) > 1
    steps = [moment(replay, tape, t) for t in range(19)]
    for t in range(replay.length + 40):
        replay.add(steps[t % 19], np.zeros(num_envs, np.int64))
        assert torch.equal(masses._sums, masses._by_block.sum(1))
    blocks = replay.sample(20_000).index // masses._by_block.shape[1]
    assert set(blocks.tolist()) == set(masses._sums.nonzero().flatten().tolist())


@pytest.mark.parametrize("n_step", [1, 3])
def test_the_smallest_memory_always_has_a_valid_start(n_step):
    """The smallest capacity that a config accepts, with episodes of two rows."""
    shape = Shape(n_step + 5, 1, n_step, 4)
    tape, replay = make_tape([[PLAIN], [GAME_OVER]] * 40), make_replay(shape)
    for t in range(80):
        add(replay, tape, t)
        assert t == 0 or drawable(replay)
    with pytest.raises(AssertionError):
        make_replay(shape._replace(length=n_step + 4))


MEMORY = """
import numpy as np, psutil, torch
from dqn.config import ReplayConfig
from dqn.replay.buffer import Replay
from dqn.types import TimeStep

process = psutil.Process()
n, rows = 64, 1_000_000
random = np.random.Generator(np.random.SFC64(1))
flag = np.zeros(n, bool)
def step():
    frame = random.integers(0, 2**64, n * 84 * 84 // 8, np.uint64).view(np.uint8)
    return TimeStep(frame.reshape(n, 1, 84, 84), np.zeros(n, np.float32), flag, flag, flag)
step()
before = process.memory_info().rss
generator = torch.Generator().manual_seed(1)
config = ReplayConfig(capacity=rows)
replay = Replay(config, n, (84, 84), "uint8", 4, 18, lambda t: t.reward, generator)
empty = process.memory_info().rss
for _ in range(replay.length):
    replay.add(step(), np.zeros(n, np.int64))
replay.sample(32)
assert len(replay) == rows
print(empty - before, process.memory_info().rss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    psutil.virtual_memory().available < 10e9, reason="less than 10 GB of memory is free here"
)
def test_a_million_rows_take_at_most_7_2_gb_and_nothing_before():
    """Resident memory, with every row filled with random bytes."""
    command = [sys.executable, "-c", MEMORY]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    empty, full = map(int, output.split())
    assert empty < 50e6, empty
    assert 7.05e9 < full <= 7.2e9, full
