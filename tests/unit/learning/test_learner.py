"""The learner against one written plainly from the papers (``support/plain.py``)."""

import copy
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.learners import generator, make_learner, make_network, random_batch, tiny_learner
from support.plain import PlainLearner, Recipe, mlp

from dqn.config import Config, LearnerConfig, NetworkConfig, OptimizerConfig, ValuesConfig
from dqn.learning.actor import QModel
from dqn.learning.factory import make_acting, make_values
from dqn.learning.learner import Learner
from dqn.learning.nonfinite import NonFiniteGuard

CPU = torch.device("cpu")
FAST = {"torso": mlp(0), "rate": 0.01}
C51 = Recipe(kind="categorical", outputs=11, v_min=-3, v_max=2, **FAST)
QR = Recipe(kind="quantile", outputs=7, kappa=0.7, **FAST)
IQN = Recipe(kind="implicit_quantile", taus=5, policy_taus=4, kappa=0.5, **FAST)
SOFT = {"policy": "munchausen", "munchausen": (0.8, 0.3, -0.5)}

RECIPES = {
    "DQN": Recipe(**FAST),
    "DQN, clipped": Recipe(max_norm=0.3, kappa=0.6, **FAST),
    "squared error, not clipped": Recipe(max_norm=1e3, loss="mse", **FAST),
    "Nature's RMSProp": Recipe(optimizer="rmsprop", epsilon=1e-3, **FAST),
    "Double, dueling, noisy": Recipe(policy="double", dueling=True, noisy=True, **FAST),
    "Munchausen, noisy": Recipe(noisy=True, **SOFT, **FAST),
    "C51, noisy": C51._replace(noisy=True),
    "C51, Double, dueling": C51._replace(policy="double", dueling=True),
    "C51, Munchausen": C51._replace(**SOFT),
    "QR": QR,
    "QR, Double, noisy": QR._replace(policy="double", noisy=True),
    "QR, Munchausen": QR._replace(**SOFT),
    "IQN": IQN,
    "IQN, Double, noisy": IQN._replace(policy="double", noisy=True),
    "IQN, Munchausen, dueling, noisy": IQN._replace(dueling=True, noisy=True, **SOFT),
}


def learner_of(recipe: Recipe, tau: float) -> Learner:
    values = ValuesConfig(
        recipe.kind, 11, recipe.v_min, recipe.v_max, 7, 5, 4, 8, kappa=recipe.kappa
    )
    alpha, temperature, low = recipe.munchausen
    networks = [
        make_network(
            values=values, mlp_units=(8,), dueling=recipe.dueling, noisy=recipe.noisy, seed=seed
        )
        for seed in (1, 2)
    ]
    learner = make_learner(
        networks[0], values, OptimizerConfig(recipe.optimizer, recipe.rate, epsilon=recipe.epsilon),
        loss=recipe.loss, target_policy=recipe.policy, munchausen_alpha=alpha, target_tau=tau,
        munchausen_temperature=temperature, munchausen_clip_min=low,
        max_gradient_norm=None if recipe.max_norm == np.inf else recipe.max_norm,
    )  # fmt: skip
    learner.target.load_state_dict(networks[1].state_dict())
    return learner


def test_updates_equal_plain_ones(subtests):
    """Priorities, metrics and both networks, which begin far apart; with importance weights, ends,
    another learning rate from the third update on, a target network moved after the fifth, and
    then, unless there is noise, four steps on parts of one batch."""
    for name, recipe in RECIPES.items():
        with subtests.test(name):
            tau = 1.0 if "Double" in name else 0.3
            learner = learner_of(recipe, tau)
            plain = PlainLearner(learner.online, learner.target, recipe)
            totals = []
            for step in range(8):
                if step == 2:
                    learner.learning_rate = plain.optimizer.rate = 0.004
                batch, again = random_batch(step, scale=2.0), torch.Generator()
                again.set_state(learner.state_dict()["generator"])
                steps = 4 if step == 5 and not recipe.noisy else 1
                priority, metrics = plain.update(batch, again, steps)
                ours = learner.update(batch, steps)
                np.testing.assert_allclose(ours, priority, rtol=2e-3, atol=2e-4)
                assert torch.equal(learner.state_dict()["generator"], again.get_state())
                totals += metrics
                if step == 4:
                    learner.sync_target()
                    plain.sync(tau)
            for ours, theirs in (learner.online, plain.online), (learner.target, plain.target):
                for mine, other in zip(ours.parameters(), theirs.parameters, strict=True):
                    np.testing.assert_allclose(mine.detach(), other.detach(), rtol=0, atol=2e-4)
            assert learner.updates == len(totals) >= 8 and learner.learning_rate == pytest.approx(
                0.004
            )
            assert list(learner.pop_means().values()) == pytest.approx(np.mean(totals, 0), rel=1e-3)
            assert learner.pop_means() == {"loss": None, "td_error": None, "gradient_norm": None}


@pytest.mark.parametrize("tau", [1.0, 0.25])
def test_the_target_network_changes_in_sync_target_only(tau):
    """All that is saved of it: the center and the vectors of spectral norm too."""
    settings = {"torso": "impala", "spectral_norm": True, "center": True, "hidden_units": 8}
    learner = make_learner(make_network((1, 16, 16), **settings), target_tau=tau)
    learner.center_on(torch.randint(256, (4, 1, 16, 16), generator=generator()).byte())
    first = copy.deepcopy(learner.target.state_dict())
    assert_equal(first, learner.online.state_dict())
    assert not any(parameter.requires_grad for parameter in learner.target.parameters())
    assert (first["center"] > 0).any() and "torso.2.first.left" in first
    for step in range(3):
        pixels = torch.rand(2, 8, 1, 16, 16, generator=generator(step))
        batch = random_batch(step, size=8)
        learner.update(batch._replace(state=pixels[0], next_state=pixels[1]))
    assert_equal(learner.target.state_dict(), first)
    learner.sync_target()
    online = learner.online.state_dict()
    for name, target in learner.target.state_dict().items():
        assert name == "center" or not torch.equal(online[name], first[name])
        torch.testing.assert_close(target, (1 - tau) * first[name] + tau * online[name])
        assert tau != 1 or torch.equal(target, online[name])


def assert_equal(ours: Any, theirs: Any) -> None:
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_restored_learner_continues_to_the_bit(name):
    """Its noise and taus too."""
    ours, theirs = (
        tiny_learner("implicit_quantile", noisy=True, optimizer=OptimizerConfig(name, 0.01))
        for _ in range(2)
    )
    for step in range(3):
        ours.update(random_batch(step))
        theirs.update(random_batch(step + 50))
        if step == 1:
            ours.sync_target()
    theirs.update(random_batch(60))
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    for step in range(3, 6):
        assert torch.equal(ours.update(random_batch(step)), theirs.update(random_batch(step)))
    assert ours.updates == theirs.updates == 6
    assert ours.pop_means() == theirs.pop_means()


def test_counts_go_on_where_a_float32_would_stop():
    learner, many = tiny_learner(), 2**24
    learner.load_state_dict(learner.state_dict() | {"updates": many, "summed": many})
    learner.update(random_batch(1)._replace(reward=torch.full((16,), torch.nan)))
    assert learner.updates == learner._summed == int(learner.nonfinite.first) == many + 1


def test_noise_is_on_in_training_and_off_in_evaluation():
    """Evaluating draws nothing, so a run does not depend on it."""
    learner = tiny_learner(noisy=True)
    state = torch.randn(5, 1, 2, generator=generator())
    config = Config(network=NetworkConfig(noisy=True))
    noise, acting = make_acting(config, learner.online, learner._values, CPU)
    assert not torch.equal(acting(state), acting(state))
    before = learner.state_dict()["generator"].clone(), noise.get_state()
    model = QModel(learner.online, learner._values, 3, CPU)
    assert torch.equal(model.q_values(state), model.q_values(state))
    assert torch.equal(learner.state_dict()["generator"], before[0])
    assert torch.equal(noise.get_state(), before[1])
    with torch.no_grad():
        for name, parameter in learner.online.named_parameters():
            parameter *= "sigma" not in name
    torch.testing.assert_close(acting(state), model.q_values(state))


def test_what_is_not_finite_is_remembered():
    """An update, whatever follows it, and a weight even without an update."""
    infinite = torch.full((16,), torch.inf)
    for broken in ({}, {"reward": infinite}, {"weight": infinite}):
        learner = tiny_learner()
        for step in range(4):
            batch = random_batch(step)
            learner.update(batch._replace(**broken) if step == 1 else batch)
        assert learner.finite() == (not broken) != learner.nonfinite.seen
    learner = tiny_learner()
    assert learner.finite()
    with torch.no_grad():
        learner.online.head.advantage[2].bias[1] = torch.nan
    assert not learner.finite()


def test_the_first_batch_that_was_not_finite_is_kept():
    """Also where it may not be looked at in between, as on a GPU, and where all batches lie in the
    same memory, as in a CUDA graph."""
    metrics = torch.ones(6, 4, 3)  # of four updates at once, each with a quarter of a batch
    metrics[2, 1, 1], metrics[2, 3, 2], metrics[4] = torch.nan, torch.inf, torch.nan
    for ask_first in (True, False):
        guard, batch = NonFiniteGuard(CPU), random_batch(0)
        guard._ask_first = ask_first
        for seed in range(6):
            for part, new in zip(batch, random_batch(seed), strict=True):
                part.copy_(new)
            guard.check(batch, metrics[seed], torch.tensor(100 + 4 * seed))
            assert guard.seen == (seed >= 2)
        assert guard.first == 100 + 4 * 2 + 2
        assert guard.batch is not None
        for kept, part in zip(guard.batch, random_batch(2), strict=True):
            assert torch.equal(kept, part[4:8])


def test_a_learner_works_on_the_device_of_its_generator():
    """Given batches on another; torch refuses to mix them, and has "meta" on every machine, though
    neither random numbers nor its fused Adam there."""
    values = [ValuesConfig(kind) for kind in ("expected", "categorical", "quantile")]
    for value, policy in itertools.product(values, ("greedy", "double", "munchausen")):
        settings = {"target_policy": policy, "max_gradient_norm": 1.0, "target_tau": 0.5}
        config, there = LearnerConfig(**settings), SimpleNamespace(device=torch.device("meta"))
        network = make_network(values=value, dueling=True, center=True)
        optimizer = OptimizerConfig("rmsprop")
        learner = Learner(network, make_values(value, config), optimizer, config, "float32", there)
        tensors = [value for value in vars(learner).values() if isinstance(value, torch.Tensor)]
        assert {tensor.device.type for tensor in tensors} == {"meta"}, "as a CUDA graph needs them"
        learner.center_on(torch.zeros(3, 1, 2))
        assert learner.update(random_batch(1)).device.type == "meta"
        learner.sync_target()
        assert learner.online(torch.zeros(3, 1, 2, device="meta")).device.type == "meta"


@pytest.mark.gpu
def test_a_batch_may_come_from_the_cpu_to_a_learner_on_the_gpu():
    learner, on_cpu = tiny_learner(device="cuda"), tiny_learner()
    for step in range(5):
        ours, theirs = learner.update(random_batch(step)), on_cpu.update(random_batch(step))
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=1e-5)
