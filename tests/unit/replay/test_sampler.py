"""Prioritized draws against their definition, row by row."""

import bisect
import itertools

import numpy as np
import psutil
import pytest
import torch
from support.replays import (
    Shape,
    add,
    drawable,
    filled,
    make_replay,
    make_tape,
    random_endings,
)

from dqn.config import ReplayConfig
from dqn.replay.arrays import PlainFrames
from dqn.replay.compressed import CompressedFrames
from dqn.replay.prioritized import PrioritizedSampler
from dqn.replay.sampler import UniformSampler

UNIT = PrioritizedSampler.UNIT


def all_enabled(rows: int, alpha: float = 0.5, beta: float = 1.0) -> PrioritizedSampler:
    """One environment, every row enabled; beta grows to 1 in 1000 rows."""
    config = ReplayConfig(alpha=alpha, beta_start=beta, beta_end=1.0, beta_steps=1000)
    sampler = PrioritizedSampler(rows, 1, torch.Generator().manual_seed(1), config)
    sampler.enable(np.arange(rows), np.ones((rows, 1), bool))
    return sampler


def masses(sampler: PrioritizedSampler) -> list[int]:
    return sampler._masses.flat.tolist()


def test_the_config_chooses():
    for name, kind in (("uniform", UniformSampler), ("prioritized", PrioritizedSampler)):
        assert isinstance(make_replay(Shape(9, 1, 1, 4, sampler=name))._sampler, kind)
    for name, kind in (("plain", PlainFrames), ("compressed", CompressedFrames)):
        assert isinstance(make_replay(Shape(9, 1, 1, 4, storage=name))._frames, kind)


@pytest.mark.parametrize("arrays", ["numpy", "torch"])
def test_a_draw_is_the_row_at_its_fraction_of_the_sum(arrays, monkeypatch):
    """Looked up in Python's integers; with torch as on a GPU. Fractions have 53 random bits."""
    if arrays == "torch":
        monkeypatch.setattr("dqn.replay.arrays._NUMPY", set())
    for kind in ("uniform", "prioritized"):
        replay = filled(Shape(150, 3, 3, 4, sampler=kind), 400)
        rows = sorted(drawable(replay))
        if kind == "prioritized":
            priorities = 10 ** (4 * torch.rand(len(rows), generator=torch.Generator()) - 2)
            replay.update_priorities(torch.tensor(rows), priorities)
        sampler, count = replay._sampler, 1000
        copy = torch.Generator()
        copy.set_state(replay.state_dict()["sampler"]["generator"])
        uniform = torch.rand(count, dtype=torch.float64, generator=copy).tolist()
        strata = kind == "prioritized"
        parts = [(i + u) / count for i, u in enumerate(uniform)] if strata else uniform
        sums = list(itertools.accumulate(sampler._masses.flat.tolist()))
        expected = [bisect.bisect_right(sums, int(part * sums[-1])) for part in parts]
        assert sampler.draw(count)[0].tolist() == expected
        # a fraction that rounds to the whole sum
        monkeypatch.setattr(sampler, "_uniform", lambda n: torch.full((n,), 1 - 2**-53).double())
        assert sampler.draw(64)[0][-1] == rows[-1]


def test_a_row_keeps_its_priority_until_its_frames_are_overwritten():
    """With ends of episodes among the n rows; a new row has the largest priority so far."""
    shape = Shape(23, 3, 5, 4, sampler="prioritized")
    tape, replay = make_tape(random_endings(5, 150, 3)), make_replay(shape)
    random, expected, largest = torch.Generator().manual_seed(1), {}, UNIT
    for t in range(150):
        add(replay, tape, t)
        expected = {row: expected.get(row, largest) for row in drawable(replay)}
        masses = replay._sampler._masses.flat
        assert {row: int(masses[row]) for row in drawable(replay)} == expected
        if expected:
            chosen = sorted(expected)[t % 2 :: 2]
            priority = 4 * torch.rand(len(chosen), generator=random).double()
            replay.update_priorities(torch.tensor(chosen), priority)
            expected |= {
                r: round(p**0.5 * UNIT) for r, p in zip(chosen, priority.tolist(), strict=True)
            }
            largest = max(largest, *expected.values())


@pytest.mark.parametrize(
    "priority, mass",
    [(0.0, 1), (1e-30, 1), (1e30, 2**31 - 1), (float("inf"), 2**31 - 1), (float("nan"), 1)],
)
def test_every_priority_gives_a_positive_finite_mass(priority, mass):
    """Reporting a priority that is not finite is the learner's task."""
    sampler = all_enabled(10)
    sampler.update_priorities(torch.tensor([2]), torch.tensor([priority]))
    assert masses(sampler)[2] == mass
    index, weight = sampler.draw(64)
    assert ((0 <= index) & (index < 10)).all() and weight.isfinite().all()
    sampler.update_priorities(torch.tensor([2]), torch.tensor([4.0]))
    assert masses(sampler)[2] == 2 * UNIT, "a later priority counts"


def test_a_disabled_row_stays_disabled():
    sampler = all_enabled(10)
    sampler.disable(np.array([7]), np.zeros((1, 1), bool))
    sampler.update_priorities(torch.tensor([7, 8]), torch.tensor([5.0, 0.0]))
    assert masses(sampler)[7] == 0 and masses(sampler)[8] == 1
    assert 7 not in sampler.draw(1000)[0]


def test_the_mass_of_a_row_drawn_twice_does_not_depend_on_the_order():
    sampler, other = all_enabled(10), all_enabled(10)
    sampler.update_priorities(torch.tensor([3, 5, 3]), torch.tensor([4.0, 1.0, 9.0]))
    other.update_priorities(torch.tensor([3, 3, 5]), torch.tensor([9.0, 4.0, 1.0]))
    assert masses(sampler) == masses(other)
    assert masses(sampler)[3] == 3 * UNIT


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_weights_correct_the_bias(beta):
    """``(N P)^-beta`` over the largest of the batch, by hand for three rows."""
    sampler = all_enabled(3, alpha=1.0, beta=beta)
    sampler.update_priorities(torch.arange(3), torch.tensor([0.5, 1.0, 2.0]))
    index, weight = sampler.draw(700)
    chance = torch.tensor([0.5, 1.0, 2.0])[index] / 3.5
    expected = (3 * chance) ** -beta
    torch.testing.assert_close(weight, expected / expected.max())
    assert weight.dtype == torch.float32


def test_beta_grows_linearly_to_its_end():
    sampler = all_enabled(2, alpha=1.0, beta=0.4)
    sampler.update_priorities(torch.arange(2), torch.tensor([1.0, 4.0]))
    for step, beta in ((0, 0.4), (500, 0.7), (1000, 1.0), (5000, 1.0)):
        sampler.set_beta(step)
        _, weight = sampler.draw(100)
        assert weight.min().item() == pytest.approx(4**-beta)


def test_beta_is_that_of_the_steps_of_all_environments():
    """Of a restored memory too. By default it grows by .6 in 50 million steps."""
    shape = Shape(23, 3, 1, 4, sampler="prioritized")
    replay, restored = filled(shape, 40), make_replay(shape)
    restored.load_state_dict(replay.state_dict())
    for memory in replay, restored:
        assert memory._sampler._beta == pytest.approx(0.4 + 0.6 * 40 * 3 / 50e6, rel=1e-12)


def test_compressed_frames_take_no_more_memory_than_their_bytes():
    """zstd allocates a whole frame for each result, which would be 280 MB here."""
    frames = CompressedFrames((40_000, 1, 84, 84), torch.uint8, torch.device("cpu"))
    frame = np.zeros((1, 84, 84), np.uint8)
    before = psutil.Process().memory_info().rss
    for slot in range(40_000):
        frame[0, slot % 84, slot // 84 % 84] = slot % 255
        frames.write(np.array([slot]), frame[None])
    assert psutil.Process().memory_info().rss - before < 60e6
