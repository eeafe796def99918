"""Which parts a config gets, and that they are wired together, for every preset of method dqn."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from support.learners import CPU, find_singular_vectors
from support.plain import PlainLearner, Recipe, convolutions, impala, mlp

from dqn import envs
from dqn.config import (
    Config,
    ConfigError,
    LearnerConfig,
    NetworkConfig,
    ReplayConfig,
    ValuesConfig,
)
from dqn.config.yaml_file import load_config
from dqn.envs import Spec
from dqn.learning.factory import (
    Agent,
    _replay_device,
    batches_together,
    make_agent,
    make_model,
    make_replay,
)
from dqn.types import TimeStep

CONFIGS = Path(__file__).parents[3] / "configs"
ATARI = Spec("Pong", 6, (36, 39), "uint8", 4, atari=True)
CARTPOLE = Spec("CartPole-v1", 2, (4,), "float32", 1, atari=False)
LANDER = Spec("LunarLander-v3", 4, (8,), "float32", 1, atari=False)


class Wiring(NamedTuple):
    """What a preset says, in the words of ``support/plain.py``."""

    recipe: Recipe
    num_envs: int = 8
    n_step: int = 1
    gamma: float = 0.99
    alpha: float | None = None
    """Of the priorities; None: uniform."""
    reward: float = 1.0
    """What is stored of a reward of 2.5."""
    spec: Spec = ATARI


NATURE = Recipe(convolutions(4, 2, 1), actions=6)
C51 = NATURE._replace(kind="categorical", outputs=51)
QR = NATURE._replace(kind="quantile", outputs=200, rate=5e-5, epsilon=3.125e-4)
IQN = QR._replace(kind="implicit_quantile", outputs=1, taus=64, policy_taus=32)
RAINBOW = C51._replace(dueling=True, noisy=True, policy="double")
LAPTOP = NATURE._replace(torso=convolutions(4, 3), layer_norm=True, rate=5e-4, max_norm=10)
SMALL = Recipe(mlp(1), actions=2, policy="double", rate=1e-3, epsilon=1e-8)

PRESETS = {
    "dqn": Wiring(NATURE),
    "gpu": Wiring(NATURE, num_envs=128),
    "nature": Wiring(
        NATURE._replace(optimizer="rmsprop", rate=2.5e-4, epsilon=9.765625e-6), num_envs=1
    ),
    "pong": Wiring(NATURE._replace(rate=1e-4), n_step=3),
    "double": Wiring(NATURE._replace(policy="double")),
    "dueling": Wiring(NATURE._replace(policy="double", dueling=True, max_norm=10)),
    "prioritized": Wiring(NATURE._replace(policy="double", rate=1.5625e-5), alpha=0.6),
    "c51": Wiring(C51._replace(rate=2.5e-4, epsilon=3.125e-4)),
    "qr_dqn": Wiring(QR),
    "iqn": Wiring(IQN),
    "munchausen_iqn": Wiring(IQN._replace(policy="munchausen")),
    "rainbow": Wiring(RAINBOW, n_step=3, alpha=0.5),
    "data_efficient_rainbow": Wiring(
        RAINBOW._replace(torso=convolutions(5, 5), rate=1e-4, max_norm=10),
        num_envs=1, n_step=20, alpha=0.5,
    ),
    "btr": Wiring(
        IQN._replace(
            torso=impala(6, spectral_norm=True), taus=8, policy_taus=8, dueling=True, noisy=True,
            policy="munchausen", rate=1e-4, epsilon=1.953125e-5, max_norm=10,
        ),
        num_envs=64, n_step=3, gamma=0.997, alpha=0.2, spec=ATARI._replace(frame_shape=(12, 15)),
    ),
    "breakout": Wiring(LAPTOP, n_step=10, gamma=0.98),
    "laptop": Wiring(LAPTOP, n_step=10, gamma=0.98),
    "quick": Wiring(LAPTOP, n_step=5, gamma=0.95),
    "cartpole": Wiring(SMALL, num_envs=1, n_step=4, reward=2.5, spec=CARTPOLE),
    "cartpole_shaped": Wiring(SMALL, num_envs=1, n_step=4, reward=0.2, spec=CARTPOLE),
    "lunarlander": Wiring(
        SMALL._replace(actions=4, layer_norm=True, kappa=10, rate=5e-4, max_norm=10),
        num_envs=4, n_step=3, reward=2.5, spec=LANDER,
    ),
}  # fmt: skip


def test_the_table_has_every_preset_of_method_dqn():
    presets = {path.stem for path in CONFIGS.glob("*.yaml") if load_config(path).method == "dqn"}
    assert set(PRESETS) == presets


def agent_of(config: Config, spec: Spec, patch: pytest.MonkeyPatch) -> Agent[Any]:
    patch.setattr(envs, "make", lambda _, count: SimpleNamespace(spec=spec, num_envs=count))
    small = {"hidden_units": 16} if spec.atari else {}
    config = dataclasses.replace(
        config,
        game=spec.game,
        num_envs=config.num_envs,
        network=dataclasses.replace(config.network, **small),
        learner=dataclasses.replace(config.learner, batch_size=3),
        replay=dataclasses.replace(config.replay, capacity=40 * config.num_envs),
    )
    return make_agent(config, CPU)


def fill(agent: Agent[Any], spec: Spec, rows: int, random: np.random.Generator) -> TimeStep:
    """One endless episode with rewards of 2.5; carts at half the way to the right, poles upright.
    Returns its last time step."""
    count = agent.environment.num_envs
    stack = np.zeros((count, spec.stack, *spec.frame_shape), spec.frame_dtype)
    no = np.zeros(count, bool)
    for row in range(rows):
        frame = random.integers(256, size=stack[:, 0].shape)
        if not spec.atari:
            frame = frame / 256
            frame[:, [0, 2]] = 1.2, 0.0
        stack = np.concatenate([stack[:, 1:], frame[:, None].astype(stack.dtype)], 1)
        reward = np.full(count, 0.0 if row == 0 else 2.5, np.float32)
        timestep = TimeStep(stack, reward, no | (row == 0), no, no)
        agent.replay.add(timestep, random.integers(spec.num_actions, size=count))
    return timestep


@pytest.mark.parametrize("name", PRESETS)
def test_two_updates_of_a_preset_equal_plain_ones(name, monkeypatch):
    """What is stored, drawn and learned, the priorities that go back, and how the agent acts."""
    recipe, num_envs, n_step, gamma, alpha, reward, spec = PRESETS[name]
    config, random = load_config(CONFIGS / f"{name}.yaml"), np.random.default_rng(1)
    agent = agent_of(config, spec, monkeypatch)
    learner, replay = agent.learner, agent.replay
    assert agent.environment.num_envs == num_envs
    last = fill(agent, spec, n_step + 8, random)
    if config.network.center:
        learner.center_on(torch.as_tensor(last.stack))
    for network in (learner.online, learner.target):
        find_singular_vectors(network)
    with torch.no_grad():
        for parameter in learner.target.head.parameters():
            parameter *= 1.2
    plain, again = PlainLearner(learner.online, learner.target, recipe), torch.Generator()
    again.set_state(learner.state_dict()["generator"])
    batches, sample = [], replay.sample
    monkeypatch.setattr(replay, "sample", lambda size: batches.append(sample(size)) or batches[-1])
    agent.learn(2)
    alone = recipe.noisy or alpha is not None  # each batch is drawn after the update before it
    metrics, size = [], 3 if alone else 6
    for batch in batches:
        assert batch.state.shape == (size, spec.stack, *spec.frame_shape)
        total = reward * sum(gamma**i for i in range(n_step))
        np.testing.assert_allclose(batch.reward, np.full(size, total), rtol=1e-5)
        np.testing.assert_allclose(batch.discount, np.full(size, gamma**n_step), rtol=1e-5)
        priority, measured = plain.update(batch, again, size // 3)
        metrics += measured
    assert len(metrics) == learner.updates == 2
    assert list(learner.pop_means().values()) == pytest.approx(np.mean(metrics, 0), rel=1e-3)
    for mine, theirs in zip(learner.online.parameters(), plain.online.parameters, strict=True):
        error = (mine - theirs).detach().abs() / recipe.rate
        assert error.max() < 0.2 and error.mean() < 0.01  # Adam divides small gradients by smaller
    masses = replay.state_dict()["sampler"]["mass"].flatten()[batches[-1].index]
    expected = torch.ones(size) if alpha is None else priority**alpha * 2**20
    np.testing.assert_allclose(masses, expected, rtol=1e-3)
    state, draws = torch.as_tensor(last.stack), np.random.default_rng()
    draws.bit_generator.state = agent.actor.state_dict()["generator"]
    draws.random(num_envs), draws.integers(spec.num_actions, size=num_envs)
    with torch.no_grad():
        quiet = plain.q(state, None)
        noisy = plain.q(state, torch.Generator().manual_seed(int(draws.integers(2**63))))
        np.testing.assert_allclose(agent.model.q_values(state), quiet, rtol=1e-3, atol=1e-3)
    assert agent.actor.act(last.stack, 0.0).tolist() == noisy.argmax(1).tolist()


def test_more_updates_than_fit_together_are_made_in_parts(monkeypatch):
    monkeypatch.setattr("dqn.learning.factory.MAX_TRANSITIONS_TOGETHER", 7)
    agent = agent_of(Config(), CARTPOLE, monkeypatch)
    fill(agent, CARTPOLE, 8, np.random.default_rng(1))
    sizes, sample = [], agent.replay.sample
    monkeypatch.setattr(agent.replay, "sample", lambda size: sizes.append(size) or sample(size))
    agent.learn(5)
    assert (sizes, agent.learner.updates) == ([6, 6, 3], 5)


def test_a_batch_larger_than_all_that_fit_together_is_drawn_alone():
    for size, together in ((32, 16), (256, 16), (512, 8), (4097, 1), (5000, 1)):
        assert batches_together(Config(learner=LearnerConfig(batch_size=size))) == together
    iqn = ValuesConfig(kind="implicit_quantile")  # takes eight times the memory
    for size, together in ((32, 16), (64, 8), (513, 1)):
        config = Config(values=iqn, learner=LearnerConfig(batch_size=size))
        assert batches_together(config) == together


def test_models_and_learners_compute_in_the_precision_of_the_config(monkeypatch):
    config, state = Config(precision="bfloat16"), torch.ones(1, 1, 4)
    agent = agent_of(config, CARTPOLE, monkeypatch)
    for network in agent.learner.online, make_model(config, CARTPOLE, CPU).network:
        assert network.preprocess(state).dtype == torch.bfloat16


def test_rewards_are_clipped_on_atari_or_as_told(monkeypatch):
    """And what is reported stays raw."""
    raw, clipped = [-7, -0.25, 0, 0.5, 2.5], [-1, -0.25, 0, 0.5, 1]
    no, action = np.zeros(5, bool), np.zeros(5, np.int64)
    for spec, clip, stored in (
        (ATARI, "auto", clipped), (CARTPOLE, "auto", raw), (ATARI, False, raw),
        (CARTPOLE, True, clipped),
    ):  # fmt: skip
        config = Config(num_envs=5, replay=ReplayConfig(clip_reward=clip))
        agent, reward = agent_of(config, spec, monkeypatch), np.array(raw, np.float32)
        stack = np.zeros((5, spec.stack, *spec.frame_shape), spec.frame_dtype)
        agent.replay.add(TimeStep(stack, reward, no, no, no), action)
        assert agent.replay.rows(0, 1)["reward"].tolist() == [stored], (spec.game, clip)
        assert reward.tolist() == raw


def test_a_shaped_reward_is_clipped_too(monkeypatch):
    config = Config(replay=ReplayConfig(shape_reward="cartpole", clip_reward=True), num_envs=1)
    agent, no = agent_of(config, CARTPOLE, monkeypatch), np.zeros(1, bool)
    at_the_edge = np.array([[[2.4, 0, 12 * np.pi / 180, 0]]], np.float32)  # shaped: -1.3
    agent.replay.add(TimeStep(at_the_edge, np.ones(1, np.float32), no, no, no), np.zeros(1, int))
    assert agent.replay.rows(0, 1)["reward"].tolist() == [[-1]]


def test_pooling_without_a_deterministic_gradient_is_refused():
    network = NetworkConfig(torso="impala", pool=6)
    config = Config("Pong", deterministic=True, network=network)
    with pytest.raises(ConfigError, match=r"use --network\.pool 0 or --deterministic false"):
        make_agent(config, torch.device("cuda"))


def test_a_shaped_reward_is_for_cartpole_only(monkeypatch):
    config = Config(replay=ReplayConfig(shape_reward="cartpole"))
    with pytest.raises(ConfigError, match="is for CartPole, not LunarLander-v3"):
        agent_of(config, LANDER, monkeypatch)


def test_everything_random_has_a_stream_of_its_own_from_the_seed(monkeypatch):
    """The same in every version: a seed's run can be repeated."""

    def draws(seed: int) -> list[float]:
        agent = agent_of(Config(seed=seed), CARTPOLE, monkeypatch)
        learner, sampler = agent.learner.state_dict(), agent.replay.state_dict()["sampler"]
        drawn = [float(learner["online"]["torso.0.weight"][0, 0])]
        for state in (learner["generator"], sampler["generator"]):
            generator = torch.Generator()
            generator.set_state(state)
            drawn.append(float(torch.rand((), generator=generator)))
        policy = np.random.default_rng()
        policy.bit_generator.state = agent.actor.state_dict()["generator"]
        return [*drawn, policy.random()]

    assert draws(1) == pytest.approx([-1.1861908, 0.3680129, 0.7692679, 0.0283867], abs=1e-6)
    assert len({*draws(1), *draws(2)}) == 8


def test_an_untrained_model_is_the_one_that_training_begins_with(monkeypatch):
    config = Config(seed=3, network=NetworkConfig(dueling=True))
    ours = make_model(config, CARTPOLE, CPU)
    theirs = agent_of(config, CARTPOLE, monkeypatch).model
    state = torch.ones(5, 1, 4)
    assert torch.equal(ours.q_values(state), theirs.q_values(state))
    with torch.no_grad():
        theirs.network.head.advantage[2].bias += 1
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.q_values(state), theirs.q_values(state))
    best, stack = int(ours.q_values(state[:1]).argmax()), np.ones((50, 1, 4), np.float32)
    for model in ours, theirs:
        policy = model.make_policy(np.random.default_rng(1))
        assert (policy.act(stack, 0.0) == best).all()
        assert set(policy.act(stack, 1.0)) == {0, 1}


def test_a_replay_memory_that_cannot_be_had_is_a_mistake_of_the_config(monkeypatch):
    """A thousand rows of two and a half million numbers."""
    config = Config(replay=ReplayConfig(capacity=1000))
    spec = CARTPOLE._replace(frame_shape=(2_500_000,))
    for error in (MemoryError, RuntimeError):  # numpy's and torch's
        monkeypatch.setattr("dqn.learning.factory.Replay", Mock(side_effect=error))
        with pytest.raises(ConfigError, match=r"1,000 rows needs 10\.0 GB, more than cpu"):
            make_replay(config, spec, torch.Generator())


def test_a_replay_memory_larger_than_what_is_free_is_announced(monkeypatch, caplog):
    """Of 40 rows of 10,000 bytes in each of 8 environments: it would fail hours later."""
    spec = CARTPOLE._replace(frame_shape=(2500,))
    message = (
        "The replay memory will take 3.2 MB when it is full, and 2.9 MB are free: "
        "--replay.storage compressed takes a fraction, and --replay.capacity 232 would fit."
    )
    for storage, free, announced in (
        ("plain", 3_200_000, []), ("plain", 2_900_000, [message]), ("compressed", 2_900_000, []),
    ):  # fmt: skip
        memory = SimpleNamespace(available=free)
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        agent_of(Config(replay=ReplayConfig(storage=storage)), spec, monkeypatch)
        assert caplog.messages == announced
        caplog.clear()


def test_rows_are_stored_beside_the_learner_if_not_compressed_or_elsewhere(monkeypatch):
    learners = torch.device("meta")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for settings, device in (
        (ReplayConfig(), learners), (ReplayConfig(device="cpu"), CPU),
        (ReplayConfig(storage="compressed"), CPU),
    ):  # fmt: skip
        assert _replay_device(Config(replay=settings), learners) == device
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"replay\.device is cuda"):
        _replay_device(Config(replay=ReplayConfig(device="cuda")), learners)
