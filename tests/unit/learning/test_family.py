"""The members of the DQN family, each against a literal restatement of its equation."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dqn.config import (
    ConfigError,
    LearnerConfig,
    NetworkConfig,
    OptimizerConfig,
    ValuesConfig,
)
from dqn.learning.actor import QModel
from dqn.learning.learner import Learner
from dqn.learning.policies import Munchausen, greedy
from dqn.learning.values import BootstrapInputs, Categorical, Expected, Quantile, make_values
from dqn.networks.layers import LayerNormReLU, NoisyLinear, SpectralConvolution
from dqn.networks.q_network import QNetwork, make_network
from dqn.networks.torsos import MIN_SIDE
from dqn.types import Batch


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(
    shape: tuple[int, ...] = (1, 2), values: ValuesConfig | None = None, **network: Any
) -> QNetwork:
    """Of three actions."""
    values = values or ValuesConfig()
    outputs = make_values(values, LearnerConfig()).num_outputs
    return make_network(NetworkConfig(**network), values, shape, 3, outputs, generator())


NOTHING = torch.zeros(1, 2)


# ------------------------------------------------------------------------------------------ C51


def chances(*rows: list[float]) -> torch.Tensor:
    """Logits ``[1, A, K]`` of these chances."""
    return torch.tensor([rows]).log()


def test_categorical_q_by_hand() -> None:
    values = Categorical(3, -1.0, 1.0)
    z = chances([0.5, 0.25, 0.25], [0.1, 0.1, 0.8])
    torch.testing.assert_close(values.q(z), torch.tensor([[-0.25, 0.7]]))


@pytest.mark.parametrize(
    "reward, discount, expected",
    [
        (0.0, 1.0, [0.2, 0.3, 0.5]),  # nothing moves
        (0.0, 0.0, [0.0, 1.0, 0.0]),  # an end: all on 0
        (0.25, 0.0, [0.0, 0.75, 0.25]),  # between two atoms, by nearness
        (9.0, 1.0, [0.0, 0.0, 1.0]),  # beyond the last
        (-9.0, 1.0, [1.0, 0.0, 0.0]),
        (0.0, 0.5, [0.1, 0.1 + 0.3 + 0.25, 0.25]),  # -1/2 and 1/2 lie halfway
    ],
)
def test_categorical_target_by_hand(reward: float, discount: float, expected: list[float]) -> None:
    values = Categorical(3, -1.0, 1.0)
    z = chances([1.0, 0.0, 0.0], [0.2, 0.3, 0.5])
    policy = torch.tensor([[0.0, 1.0]])
    after = BootstrapInputs(torch.tensor([reward]), torch.tensor([discount]), z, policy, NOTHING)
    torch.testing.assert_close(values.target(after), torch.tensor([expected]))


def algorithm_1(
    atoms: Any, z: torch.Tensor, policy: Any, bonus: Any, reward: Any, discount: Any
) -> Any:
    """Row by row, of a soft policy: ``[B, K]``."""
    chance = z.double().softmax(2).numpy()
    batch, actions, count = chance.shape
    expected = np.zeros((batch, count))
    for b, a, j in np.ndindex(batch, actions, count):
        moved = reward[b] + discount[b] * (atoms[j] + bonus[b, a])
        place = (np.clip(moved, atoms[0], atoms[-1]) - atoms[0]) / (atoms[1] - atoms[0])
        low, high = math.floor(place), math.ceil(place)
        share = policy[b, a] * chance[b, a, j]
        if low == high:
            expected[b, low] += share
        else:
            expected[b, low] += share * (high - place)
            expected[b, high] += share * (place - low)
    return expected


def test_categorical_target_against_algorithm_1() -> None:
    """51 atoms, soft policies and bonuses, in double precision, row by row."""
    random = np.random.default_rng(0)
    atoms = np.linspace(-10, 10, 51)
    z = torch.randn(6, 4, 51, generator=generator())
    policy = random.dirichlet(np.ones(4), 6)
    bonus = random.uniform(0, 2, (6, 4))
    reward, discount = random.uniform(-3, 3, 6), random.choice([0.99, 0.0, 0.9], 6)
    expected = algorithm_1(atoms, z, policy, bonus, reward, discount)
    after = BootstrapInputs(
        *(torch.from_numpy(x).float() for x in (reward, discount)),
        z,
        *(torch.from_numpy(x).float() for x in (policy, bonus)),
    )
    target = Categorical(51, -10.0, 10.0).target(after)
    np.testing.assert_allclose(target, expected, atol=2e-6)
    np.testing.assert_allclose(target.sum(1), 1, rtol=1e-5)


def test_categorical_loss_and_priority_by_hand() -> None:
    """Cross entropy, and the Kullback-Leibler divergence: 0 where the chances are the target's."""
    values = Categorical(2, 0.0, 1.0)
    z = chances([0.5, 0.5], [0.25, 0.75]).requires_grad_()
    loss, priority = values.loss(z, None, torch.tensor([1]), torch.tensor([[0.5, 0.5]]))
    expected = -0.5 * math.log(0.25) - 0.5 * math.log(0.75)
    assert loss.tolist() == pytest.approx([expected])
    assert priority.tolist() == pytest.approx([expected - math.log(2)])
    loss.sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, torch.tensor([[[0.0, 0.0], [-0.25, 0.25]]]))
    _, none = values.loss(z, None, torch.tensor([1]), torch.tensor([[0.25, 0.75]]))
    assert none.tolist() == pytest.approx([0], abs=1e-7)
    _, certain = values.loss(z, None, torch.tensor([0]), torch.tensor([[0.0, 1.0]]))
    assert certain.tolist() == pytest.approx([math.log(2)])


# ------------------------------------------------------------------------------------ quantiles


def test_quantile_q_and_target_by_hand() -> None:
    values = Quantile(2, 1.0)
    z = torch.tensor([[[1.0, 3.0], [4.0, 6.0]]])
    assert values.q(z).tolist() == [[2.0, 5.0]]
    arguments = torch.tensor([1.0]), torch.tensor([0.5]), z
    best = values.target(BootstrapInputs(*arguments, torch.tensor([[0.0, 1.0]]), NOTHING))
    assert best.tolist() == [[3.0, 4.0]]
    mixed = BootstrapInputs(*arguments, torch.tensor([[0.5, 0.5]]), torch.tensor([[2.0, 0.0]]))
    soft = values.target(mixed)
    assert soft.tolist() == [[1 + 0.5 * 3.5, 1 + 0.5 * 5.5]]


@pytest.mark.parametrize("kappa", [1.0, 0.5])
@pytest.mark.parametrize("drawn", [True, False])
def test_quantile_loss_against_its_equation(kappa: float, drawn: bool) -> None:
    random = np.random.default_rng(1)
    z, target = random.normal(size=(5, 3, 4)) * 2, random.normal(size=(5, 6)) * 2
    action = random.integers(3, size=5)
    taus = random.uniform(size=(5, 4)) if drawn else np.tile((np.arange(4) + 0.5) / 4, (5, 1))
    expected, sizes = np.zeros(5), np.zeros(5)
    for b in range(5):
        for i in range(4):
            for j in range(6):
                u = target[b, j] - z[b, action[b], i]
                huber = u * u / 2 if abs(u) <= kappa else kappa * (abs(u) - kappa / 2)
                expected[b] += abs(taus[b, i] - (u < 0)) * huber / kappa / 6
                sizes[b] += abs(u) / 24
    numbers = torch.from_numpy(z).float().requires_grad_()
    loss, priority = Quantile(4, kappa).loss(
        numbers,
        torch.from_numpy(taus).float() if drawn else None,
        torch.from_numpy(action),
        torch.from_numpy(target).float(),
    )
    np.testing.assert_allclose(loss.detach(), expected, rtol=1e-5)
    np.testing.assert_allclose(priority, sizes, rtol=1e-5)
    loss.sum().backward()
    assert numbers.grad is not None
    others = torch.ones(5, 3, dtype=torch.bool)
    others[torch.arange(5), torch.from_numpy(action)] = False
    assert (numbers.grad[others] == 0).all()


def test_quantiles_are_learned() -> None:
    """Of the returns 0 (chance .3) and 10 the quantiles below .3 become 0, the others 10."""
    z = torch.zeros(1, 1, 10, requires_grad=True)
    values = Quantile(10, 0.01)
    optimizer = torch.optim.Adam([z], 0.1)
    target = torch.tensor([[0.0] * 3 + [10.0] * 7])
    for _ in range(500):
        optimizer.zero_grad()
        values.loss(z, None, torch.tensor([0]), target)[0].sum().backward()
        optimizer.step()
    expected = torch.tensor([0.0] * 3 + [10.0] * 7)
    torch.testing.assert_close(z.detach().flatten(), expected, atol=0.3, rtol=0)


# ------------------------------------------------------------------------------------- policies


def test_greedy_takes_the_first_of_the_best() -> None:
    q = torch.tensor([[1.0, 3.0, 3.0], [-1.0, -2.0, -3.0]])
    assert greedy(q).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_munchausen_against_its_equation() -> None:
    alpha, tau, low = 0.9, 0.03, -1.0
    random = np.random.default_rng(2)
    q, next_q = random.normal(size=(4, 3)), random.normal(size=(4, 3)) * 0.05
    action = np.array([0, 1, 2, 0])
    soft = np.exp((next_q - next_q.max(1, keepdims=True)) / tau)
    soft /= soft.sum(1, keepdims=True)
    now = (q - q.max(1, keepdims=True)) / tau
    log_now = now - np.log(np.exp(now).sum(1, keepdims=True))
    munchausen = Munchausen(alpha, tau, low)
    policy, bonus = munchausen.policy(torch.from_numpy(next_q))
    np.testing.assert_allclose(policy, soft, rtol=1e-6)
    np.testing.assert_allclose(bonus, -tau * np.log(soft), rtol=1e-6)
    reward = munchausen.reward(torch.from_numpy(q), torch.from_numpy(action))
    clipped = np.clip(tau * log_now[np.arange(4), action], low, 0)
    np.testing.assert_allclose(reward, alpha * clipped, rtol=1e-6)
    assert (reward == alpha * low).any(), "the clip is seen at work"


KINDS = ("expected", "categorical", "quantile", "implicit_quantile")


def tiny(kind: str = "expected", seed: int = 1, noisy: bool = False, **learner: Any) -> Learner:
    values = ValuesConfig(
        kind=kind,  # type: ignore[arg-type]
        atoms=11,
        v_min=-3,
        v_max=3,
        quantiles=7,
        num_taus=5,
        num_policy_taus=4,
    )
    config = LearnerConfig(**learner)
    network = made(values=values, mlp_units=(8,), noisy=noisy)
    adam = OptimizerConfig(learning_rate=0.01)
    return Learner(network, make_values(values, config), adam, config, generator(seed))


def random_batch(seed: int, size: int = 16) -> Batch:
    g = generator(seed)
    return Batch(
        state=torch.randn(size, 1, 2, generator=g),
        action=torch.randint(3, (size,), generator=g),
        reward=torch.randn(size, generator=g),
        discount=0.9 * (torch.rand(size, generator=g) < 0.8),
        next_state=torch.randn(size, 1, 2, generator=g),
        weight=torch.ones(size),
        index=torch.arange(size),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["greedy", "double", "munchausen"])
def test_each_policy_works_with_each_meaning(policy: str, kind: str) -> None:
    """Where no reward lies beyond, what is learned is the reward, whatever the policy and the
    meaning; with Munchausen alpha 0 for that."""
    learner = tiny(kind, target_policy=policy, munchausen_alpha=0.0)
    batch = random_batch(0)._replace(discount=torch.zeros(16), reward=torch.ones(16))
    batch = batch._replace(action=torch.arange(16) % 3)
    for _ in range(300):
        learner.update(batch)
    q = learner.acting_q_values(batch.state)
    chosen = q.gather(1, batch.action[:, None])
    torch.testing.assert_close(chosen.detach(), torch.ones(16, 1), atol=0.1, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_policies_differ(kind: str) -> None:
    """From one state, one batch: three policies, three networks."""
    after = []
    for policy in ("greedy", "double", "munchausen"):
        learner = tiny(kind, target_policy=policy)
        for seed in range(40):
            learner.update(random_batch(seed))
        after.append(torch.cat([p.detach().flatten() for p in learner.online.parameters()]))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(after[i], after[j], rtol=1e-3)


def q_restated(kind: str, z: torch.Tensor) -> torch.Tensor:
    """What ``tiny`` expects of ``z``; of the taus of IQN, by the last four."""
    if kind == "expected":
        return z[:, :, 0]
    if kind == "categorical":
        return z.softmax(2) @ torch.linspace(-3, 3, 11)
    return z[:, :, -4:].mean(2) if kind == "implicit_quantile" else z.mean(2)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["greedy", "double", "munchausen"])
def test_which_network_says_what_of_a_target(policy: str, kind: str, noisy: bool) -> None:
    """Restated word by word, from two networks far apart, each asked with noise of its own."""
    learner = tiny(kind, noisy=noisy, target_policy=policy, munchausen_temperature=0.5)
    for seed in range(40):
        learner.update(random_batch(seed))
    batch, again = random_batch(99), torch.Generator()
    again.set_state(learner._generator.get_state())
    with torch.no_grad():
        taus = None
        if kind == "implicit_quantile":
            middles = torch.tensor([0.125, 0.375, 0.625, 0.875]).expand(16, 4)
            taus = torch.cat([torch.rand(16, 5, generator=again), middles], 1)
        z = learner.target.forward_preprocessed(batch.next_state.flatten(1), again, taus)
        q, reward, bonus = q_restated(kind, z), batch.reward, torch.zeros(16, 3)
        if policy == "munchausen":
            z_now = learner.target.forward_preprocessed(batch.state.flatten(1), again)
            now = q_restated(kind, z_now)
            log_now = 0.5 * (now / 0.5).log_softmax(1)[torch.arange(16), batch.action]
            reward = reward + 0.9 * log_now.clamp(-1, 0)
            weight = (q / 0.5).softmax(1)
            bonus = -0.5 * weight.log()
        else:
            chosen = q
            if policy == "double":
                online = learner.online.forward_preprocessed(batch.next_state.flatten(1), again)
                chosen = q_restated(kind, online)
                assert (chosen.argmax(1) != q.argmax(1)).any()
            weight = nn.functional.one_hot(chosen.argmax(1), 3).float()
        if kind == "expected":
            expected = reward + batch.discount * (weight * (q + bonus)).sum(1)
        elif kind == "categorical":
            arguments = (weight, bonus, reward, batch.discount)
            expected = torch.from_numpy(
                algorithm_1(np.linspace(-3, 3, 11), z, *(x.double().numpy() for x in arguments))
            ).float()
        else:
            values = z[:, :, :5] if kind == "implicit_quantile" else z
            mixed = (weight[:, :, None] * (values + bonus[:, :, None])).sum(1)
            expected = reward[:, None] + batch.discount[:, None] * mixed
        target = learner._target(batch, learner.online.preprocess(batch.state))
    torch.testing.assert_close(target, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(learner._generator.get_state(), again.get_state()), "as many draws"


def test_the_losss_fractions_are_those_the_online_network_was_asked_for() -> None:
    learner, heard = tiny("implicit_quantile"), []
    before, loss, batch = copy.deepcopy(learner.online), learner._values.loss, random_batch(7)

    def spy(*arguments: Any) -> Any:
        heard.append(arguments)
        return loss(*arguments)

    learner._values.loss = spy  # type: ignore[method-assign]
    learner.update(batch)
    ((z, taus, action, target),) = heard
    assert taus.shape == (16, 5) and target.shape == (16, 5)
    assert torch.equal(z, before.forward_preprocessed(batch.state.flatten(1), None, taus))
    assert torch.equal(action, batch.action)


def test_numbers_of_another_shape_are_refused() -> None:
    one, numbers = torch.ones(5), torch.zeros(5, 3, 7)
    action = torch.zeros(5, dtype=torch.int64)
    for kind in KINDS[1:]:
        values = tiny(kind)._values
        right = {"categorical": 11, "quantile": 7, "implicit_quantile": 4}[kind]
        assert values.q(torch.zeros(5, 3, right)).shape == (5, 3)
        for wrong in (torch.zeros(5, 3, 1), torch.zeros(5, right), torch.zeros(5, 3, right + 1)):
            with pytest.raises(AssertionError):
                values.q(wrong)
        with pytest.raises(AssertionError):
            values.target(
                BootstrapInputs(one, one, torch.zeros(5, 3, right), torch.ones(5, 4), numbers[0])
            )
    for target in (torch.zeros(1, 6), torch.zeros(5), torch.zeros(1, 1)):
        with pytest.raises(AssertionError):
            Quantile(7, 1.0).loss(numbers, None, action, target)
    with pytest.raises(AssertionError):
        Munchausen(0.9, 0.03, -1.0).reward(torch.zeros(5, 3), action[:2])


# --------------------------------------------------------------------------------------- heads


def test_dueling_by_hand() -> None:
    network = made(dueling=True, mlp_units=(5,), values=ValuesConfig(kind="quantile", quantiles=4))
    state = torch.randn(6, 1, 2, generator=generator())
    z = network(state)
    assert z.shape == (6, 3, 4)
    features = network.torso(network.preprocess(state))
    value = network.head.value(features).view(6, 1, 4)
    advantage = network.head.advantage(features).view(6, 3, 4)
    torch.testing.assert_close(z, value + advantage - advantage.mean(1, keepdim=True))
    torch.testing.assert_close(z.mean(1), value[:, 0])


def test_fractions_go_through_their_cosines() -> None:
    values = ValuesConfig(kind="implicit_quantile", num_taus=5, num_policy_taus=4, num_cosines=6)
    network = made(values=values, mlp_units=(7, 5))
    state = torch.randn(3, 1, 2, generator=generator())
    taus = make_values(values, LearnerConfig()).online_taus(3, generator(5))
    assert taus is not None and taus.shape == (3, 5) and len(taus.unique()) == 15
    z = network.forward_preprocessed(network.preprocess(state), None, taus)
    assert z.shape == (3, 3, 5)
    head = network.head
    features = network.torso(network.preprocess(state))
    for b in range(3):
        for k in range(5):
            waves = torch.cos(math.pi * torch.arange(6) * taus[b, k])
            linear = head.embedding[0]
            embedded = torch.relu(linear.weight @ waves + linear.bias)
            expected = head.head((features[b] * embedded)[None])[0, :, 0]
            torch.testing.assert_close(z[b, :, k], expected)
    middles = torch.tensor([0.125, 0.375, 0.625, 0.875]).expand(3, 4)
    torch.testing.assert_close(
        network(state), network.forward_preprocessed(network.preprocess(state), None, middles)
    )


def test_noise_against_its_equation() -> None:
    """W x + b with noise of rank one on both, the same for the whole batch."""
    layer = NoisyLinear(4, 3, 0.5).to_empty(device="cpu")
    layer.reset_parameters(generator(3))
    with torch.no_grad():
        layer.weight_sigma.uniform_(generator=generator(4))
        layer.bias_sigma.uniform_(generator=generator(5))
    inputs = torch.randn(6, 4, generator=generator(6))
    layer.noise = generator(7)
    output = layer(inputs)
    again = generator(7)
    along, across = torch.randn(4, generator=again), torch.randn(3, generator=again)
    along, across = (e.sign() * e.abs().sqrt() for e in (along, across))
    weight = layer.weight + layer.weight_sigma * torch.outer(across, along)
    bias = layer.bias + layer.bias_sigma * across
    torch.testing.assert_close(output, inputs @ weight.T + bias)
    layer.noise = None
    torch.testing.assert_close(layer(inputs), inputs @ layer.weight.T + layer.bias)


def test_noise_begins_as_the_paper_says() -> None:
    layer = NoisyLinear(100, 50, 0.5).to_empty(device="cpu")
    layer.reset_parameters(generator())
    for mean in (layer.weight, layer.bias):
        assert 0.05 < mean.detach().abs().max() <= 0.1
    for deviation in (layer.weight_sigma, layer.bias_sigma):
        assert (deviation == 0.05).all()


def test_noise_explores_and_is_off_in_evaluation() -> None:
    network = made(noisy=True, mlp_units=(8,))
    learner = Learner(
        network, Expected("huber", 1.0), OptimizerConfig(), LearnerConfig(), generator(2)
    )
    state = torch.randn(5, 1, 2, generator=generator())
    assert not torch.equal(learner.acting_q_values(state), learner.acting_q_values(state))
    before = learner.state_dict()["generator"].clone()
    model = QModel(learner.online, Expected("huber", 1.0), 3, torch.device("cpu"))
    assert torch.equal(model.q_values(state), model.q_values(state))
    assert torch.equal(learner.state_dict()["generator"], before), "evaluation draws nothing"
    plain = tiny()
    quiet = QModel(plain.online, Expected("huber", 1.0), 3, torch.device("cpu"))
    assert torch.equal(plain.acting_q_values(state), quiet.q_values(state))


# --------------------------------------------------------------------------------------- torsos

PIXELS = torch.randint(256, (2, 4, 84, 84), dtype=torch.uint8, generator=generator())


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_data_efficient_torso() -> None:
    network = made((4, 84, 84), torso="data_efficient", hidden_units=256)
    assert network.torso(network.preprocess(PIXELS)).shape == (2, 576)
    assert parameters(network.torso) == 32 * 100 + 32 + 64 * 800 + 64
    first, _, second, *_ = network.torso
    plain = nn.functional.conv2d(PIXELS.float() / 255, first.weight, first.bias, 5).relu()
    plain = nn.functional.conv2d(plain, second.weight, second.bias, 5).relu().flatten(1)
    torch.testing.assert_close(
        network.torso(network.preprocess(PIXELS)), plain, rtol=1e-4, atol=1e-5
    )


def test_the_nips_torso() -> None:
    network = made((4, 84, 84), torso="nips", hidden_units=256)
    assert network.torso(network.preprocess(PIXELS)).shape == (2, 2592)
    assert parameters(network.torso) == 16 * 256 + 16 + 32 * 256 + 32
    sizes = [(m.kernel_size[0], m.stride[0]) for m in network.torso if isinstance(m, nn.Conv2d)]
    assert sizes == [(8, 4), (4, 2)]


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("pool, side", [(0, 11), (6, 6)])
def test_the_impala_torso(width: int, pool: int, side: int) -> None:
    network = made((4, 84, 84), torso="impala", width=width, pool=pool)
    assert network.torso(network.preprocess(PIXELS)).shape == (2, 32 * width * side * side)
    convolutions = [m for m in network.torso.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 15
    sizes = [(m.in_channels, m.out_channels) for m in convolutions]
    one, two = 16 * width, 32 * width
    rest = [(two, two)] * 4
    assert sizes == [(4, one), *[(one, one)] * 4, (one, two), *rest, (two, two), *rest]
    first = convolutions[0]
    plain = nn.functional.conv2d(PIXELS.float() / 255, first.weight, first.bias, padding=1)
    torch.testing.assert_close(first(network.preprocess(PIXELS)), plain, rtol=1e-4, atol=1e-5)


def test_spectral_norm() -> None:
    """After some learning forwards the largest singular value is 1; acting leaves no trace."""
    network = made((4, 84, 84), torso="impala", spectral_norm=True, hidden_units=8)
    layers = [m for m in network.modules() if isinstance(m, SpectralConvolution)]
    assert len(layers) == 12
    layer = layers[0]
    features = torch.randn(2, 16, 5, 5, generator=generator())
    before = layer.left.clone()
    with torch.no_grad():
        layer(features)
    assert torch.equal(layer.left, before)
    for _ in range(50):
        output = layer(features)
    largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
    plain = nn.functional.conv2d(features, layer.weight / largest, layer.bias, padding=1)
    torch.testing.assert_close(output, plain, rtol=1e-3, atol=1e-3)
    assert "torso.2.first.left" in network.state_dict(), "it is saved, and goes to the target"


def test_spectral_norm_begins_where_it_is_needed() -> None:
    """So that the target network, whose rounds stand still, is the online network at first."""
    network = made((4, 84, 84), torso="impala", width=2, spectral_norm=True, hidden_units=8)
    for layer in network.modules():
        if isinstance(layer, SpectralConvolution):
            matrix = layer.weight.detach().flatten(1)
            assert (matrix.t() @ layer.left).norm() / torch.linalg.matrix_norm(matrix, 2) > 0.97
    with torch.no_grad():
        still = network(PIXELS)
    for _ in range(20):
        learning = network(PIXELS).detach()
    torch.testing.assert_close(learning, still, rtol=0.3, atol=0.05)


@pytest.mark.parametrize("torso", ["nature", "data_efficient", "impala", "mlp"])
def test_center(torso: str) -> None:
    """The mean of what it was centered on is taken off, and goes where the weights go."""
    network, other = (
        made((4, 84, 84), torso=torso, center=True, hidden_units=8, mlp_units=(8,))
        for _ in range(2)
    )
    plain = made((4, 84, 84), torso=torso, hidden_units=8, mlp_units=(8,))
    assert torch.equal(network.preprocess(PIXELS), plain.preprocess(PIXELS)), "of nothing at first"
    network.center_on(PIXELS)
    seen, raw = network.preprocess(PIXELS), plain.preprocess(PIXELS)
    torch.testing.assert_close(seen.mean(0), torch.zeros_like(seen[0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(seen, raw - raw.mean(0))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.preprocess(PIXELS), seen)
    numbers = PIXELS / 255
    before = numbers.clone()
    torch.testing.assert_close(network.preprocess(numbers), seen)
    assert torch.equal(numbers, before), "what an environment showed stays as it was"
    assert torch.equal(network(PIXELS), network.forward_preprocessed(seen))


@pytest.mark.parametrize(
    "torso, hidden", [("nature", 4), ("nips", 3), ("data_efficient", 3), ("patches", 3)]
)
@pytest.mark.parametrize("dueling", [False, True])
def test_layer_norm(torso: str, hidden: int, dueling: bool) -> None:
    """What goes into each hidden ReLU has mean 0 and variance 1 in every state, so no weight's size
    matters, and nothing is learned that was not learned before."""
    normal, plain = (
        made((4, 84, 84), torso=torso, dueling=dueling, hidden_units=8, layer_norm=wanted)
        for wanted in (True, False)
    )
    assert normal.state_dict().keys() == plain.state_dict().keys()
    layers = [m for m in normal.modules() if isinstance(m, LayerNormReLU)]
    assert len(layers) == hidden + dueling
    inputs: list[torch.Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda _m, args, out: inputs.extend((args[0], out)))
    z = normal(PIXELS)
    for before, after in zip(inputs[::2], inputs[1::2], strict=True):
        flat = before.flatten(1)
        variance, mean = torch.var_mean(flat, 1, correction=0, keepdim=True)
        scaled = (flat - mean) / (variance + 1e-5).sqrt()
        torch.testing.assert_close(after.flatten(1), scaled.relu(), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        for module in normal.modules():
            if isinstance(module, nn.Conv2d):
                module.weight *= 7
    torch.testing.assert_close(normal(PIXELS), z, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("torso, layers", [("impala", 2), ("mlp", 2)])
def test_layer_norm_elsewhere(torso: str, layers: int) -> None:
    """impala: behind the blocks, and the hidden layer; mlp: each of its layers."""
    network = made((4, 84, 84), torso=torso, layer_norm=True, hidden_units=8, mlp_units=(9, 8))
    assert sum(isinstance(m, LayerNormReLU) for m in network.modules()) == layers
    assert network(PIXELS).isfinite().all()


def test_torsos_for_pictures_refuse_other_frames() -> None:
    for torso, least in MIN_SIDE.items():
        for shape in ((1, 4), (4, 84, least - 1), (4, 84, 84, 3)):
            with pytest.raises(ConfigError, match=f"torso {torso} needs pictures of {least}x"):
                made(shape, torso=torso)


@pytest.mark.parametrize("torso", MIN_SIDE)
def test_torsos_take_pictures_of_any_size(torso: str) -> None:
    """From the least on, square or not; what they say they make is what they make."""
    for height, width in ((MIN_SIDE[torso], MIN_SIDE[torso] + 3), (48, 48), (84, 50)):
        network = made((4, height, width), torso=torso, hidden_units=8)
        state = torch.zeros(2, 4, height, width, dtype=torch.uint8)
        features = network.torso(network.preprocess(state))
        assert features.shape[1] == network.head.advantage[0].in_features
        assert network(state).isfinite().all()
