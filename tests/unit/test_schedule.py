"""Schedules, checked against a counting loop and by hand; and independent generators."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dqn.config import Config, ExplorationConfig, OptimizerConfig
from dqn.schedule import due, epsilon, epsilons, learning_rate, linear, spread_epsilon
from dqn.seeds import environment_seeds, numpy_generator, seed_sequence, torch_generator


@given(before=st.integers(0, 500), jump=st.integers(0, 100), period=st.integers(1, 60))
def test_due_counts_the_multiples_passed(before, jump, period):
    passed = [step for step in range(before + 1, before + jump + 1) if step % period == 0]
    assert due(before, before + jump, period) == len(passed)


@given(jumps=st.lists(st.integers(1, 50), min_size=1), period=st.integers(1, 60))
def test_due_adds_up_however_the_counter_jumps(jumps, period):
    counter = list(itertools.accumulate(jumps, initial=0))
    parts = sum(due(a, b, period) for a, b in itertools.pairwise(counter))
    assert parts == due(0, counter[-1], period) == counter[-1] // period


def test_due_of_large_numbers_is_exact():
    assert due(10**17 - 1, 10**17, 10) == 1
    assert due(10**17, 10**17 + 9, 10) == 0


@pytest.mark.parametrize("wrong", [(-1, 5, 1), (5, 4, 1), (0, 5, 0)])
def test_due_rejects_invalid_arguments(wrong):
    with pytest.raises(AssertionError):
        due(*wrong)


def test_linear_by_hand():
    """It falls or rises; with no duration it jumps."""
    steps = [0, 50_000, 50_001, 300_000, 550_000, 1_050_000, 1_050_001, 10**12]
    values = [linear(step, 1.0, 0.1, begin=50_000, duration=1_000_000) for step in steps]
    assert values == pytest.approx([1, 1, 1 - 0.9e-6, 0.775, 0.55, 0.1, 0.1, 0.1], rel=1e-12)
    assert [linear(step, 0.4, 1.0, 0, 10) for step in (0, 5, 10)] == pytest.approx([0.4, 0.7, 1])
    assert [linear(step, 1.0, 0.1, begin=5, duration=0) for step in (4, 5, 6)] == [1.0, 0.1, 0.1]


def test_spread_epsilon_by_hand():
    """Ape-X: .4 to the powers 1, 2, .. 8 in 8 environments; unchanged in a single one."""
    np.testing.assert_allclose(spread_epsilon(0.4, 8, 7.0), [0.4**i for i in range(1, 9)])
    assert spread_epsilon(0.4, 1, 7.0).tolist() == [0.4]
    assert spread_epsilon(0.1, 3, 0.0).tolist() == [0.1] * 3
    assert spread_epsilon(1.0, 3, 7.0).tolist() == [1.0] * 3, "random until learning starts"
    assert spread_epsilon(0.0, 3, 7.0).tolist() == [0.0] * 3


def test_a_configs_schedules_by_hand():
    """Both start to fall when learning starts."""
    rate = OptimizerConfig("adam", 1e-3, learning_rate_end=2e-4, learning_rate_decay_steps=400)
    exploration = ExplorationConfig(0.8, 0.4, 200, epsilon_off_step=900, spread=1)
    config = Config(learning_starts=100, num_envs=2, optimizer=rate, exploration=exploration)
    steps = [0, 100, 200, 300, 500, 899, 900, 10**9]
    rates = [1e-3, 1e-3, 8e-4, 6e-4, 2e-4, 2e-4, 2e-4, 2e-4]
    probabilities = np.array([0.8, 0.8, 0.6, 0.4, 0.4, 0.4, 0, 0])
    assert [learning_rate(config, step) for step in steps] == pytest.approx(rates)
    assert [epsilon(config, step) for step in steps] == pytest.approx(probabilities.tolist())
    spread = [epsilons(config, step) for step in steps]
    np.testing.assert_allclose(spread, np.stack([probabilities, probabilities**2], axis=1))


def test_a_learning_rate_without_an_end_is_constant():
    assert learning_rate(Config(), 10**9) == Config().optimizer.learning_rate


OWNERS = ["network", "replay", "actor", "evaluation actor", "held-out states"]


def draws(seed: int, owner: str, *numbers: int) -> tuple[int, ...]:
    return tuple(numpy_generator(seed, owner, *numbers).integers(0, 2**62, 4).tolist())


def torch_draws(seed: int, owner: str, *numbers: int) -> tuple[int, ...]:
    generator = torch_generator(seed, owner, *numbers)
    return tuple(torch.randint(2**62, (4,), generator=generator).tolist())


@pytest.mark.parametrize("draw", [draws, torch_draws])
def test_only_the_same_seed_and_owner_give_the_same_draws(draw):
    """For neighbouring seeds, owners and instances; not one number appears twice."""
    keys = [
        (seed, owner, *numbers)
        for seed in (0, 1, 2, 3, 2**32, 2**63 - 1)
        for owner in OWNERS
        for numbers in ((), (0,), (1,), (250_000,), (1, 0), (0, 1))
    ]
    drawn = [number for key in keys for number in draw(*key)]
    assert len(set(drawn)) == len(drawn) == 4 * len(keys)
    assert drawn == [number for key in keys for number in draw(*key)]


def test_streams_are_those_of_the_first_release():
    """A change here makes all older runs irreproducible."""
    assert seed_sequence(1, "actor", 7).generate_state(2).tolist() == [2013365708, 634442016]


def test_a_generator_is_on_the_device_it_is_for():
    """Where there is no such device, there is an error and no generator elsewhere."""
    try:
        assert torch_generator(1, "actor", device="cuda").device.type == "cuda"
    except RuntimeError:
        assert not torch.cuda.is_available()


def test_environment_seeds_are_in_range_and_distinct():
    n = np.arange(64)
    keys = itertools.product((1, 2), ("training", "evaluation 250000"), range(8))
    seeds = np.concatenate([environment_seeds(s, owner, n, np.full(64, k)) for s, owner, k in keys])
    assert seeds.dtype == np.int64
    assert (seeds >= 0).all() and (seeds < 2**31).all()
    assert (seeds >= 2**30).mean() == pytest.approx(0.5, abs=0.05), "all 31 bits are used"
    assert len(np.unique(seeds)) == len(seeds)


def test_an_environments_seed_does_not_depend_on_the_others():
    together = environment_seeds(3, "training", np.arange(8), np.arange(8) % 3)
    for i, seed in enumerate(together):
        assert environment_seeds(3, "training", np.array([i]), np.array([i % 3])) == [seed]
