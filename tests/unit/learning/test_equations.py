"""Every equation against hand-computed tables or a literal restatement in double precision."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dqn.config import (
    ConfigError,
    LearnerConfig,
    NetworkConfig,
    OptimizerConfig,
    ValuesConfig,
)
from dqn.learning.learner import METRICS, Learner
from dqn.learning.optimizers import (
    NatureRMSprop,
    Optimizer,
    make_optimizer,
)
from dqn.learning.values import BootstrapInputs, Expected
from dqn.networks.cpu_layout import (
    BlockConvolution,
    ChannelsFirst,
    PatchConvolution,
    Patches,
    PixelPermutation,
    SpaceToDepth,
)
from dqn.networks.layers import Linear
from dqn.networks.q_network import QNetwork, make_network
from dqn.types import Batch

CPU = torch.device("cpu")


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(
    config: NetworkConfig,
    shape: tuple[int, ...],
    actions: int,
    outputs: int,
    generator: torch.Generator,
) -> QNetwork:
    return make_network(config, ValuesConfig(), shape, actions, outputs, generator)


# --------------------------------------------------------------------------------- action values


def test_q_is_the_number_itself() -> None:
    z = torch.tensor([[[1.0], [2.0], [-3.0]]])
    assert Expected("huber", 1.0).q(z).tolist() == [[1, 2, -3]]


def test_target_by_hand() -> None:
    """reward + discount * (what the policy makes of the next state)."""
    after = BootstrapInputs(
        reward=torch.tensor([1.0, -1.0, 0.5]),
        discount=torch.tensor([0.9, 0.0, 0.81]),
        z=torch.tensor([[[1.0], [3.0]], [[100.0], [7.0]], [[2.0], [4.0]]]),
        policy=torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]),
        bonus=torch.tensor([[9.0, 0.0], [5.0, 5.0], [1.0, 3.0]]),
    )
    expected = [1 + 0.9 * 3, -1, 0.5 + 0.81 * 5]
    np.testing.assert_allclose(Expected("huber", 1.0).target(after), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "loss, error, expected, slope",
    [
        ("huber", 0.0, 0.0, 0.0),
        ("huber", 0.5, 0.125, 0.5),
        ("huber", -0.5, 0.125, -0.5),
        ("huber", 1.0, 0.5, 1.0),
        ("huber", 3.0, 2.5, 1.0),
        ("huber", -3.0, 2.5, -1.0),
        ("mse", 0.5, 0.125, 0.5),
        ("mse", 1.0, 0.5, 1.0),
        ("mse", -3.0, 4.5, -3.0),
    ],
)
def test_loss_by_hand(loss: str, error: float, expected: float, slope: float) -> None:
    """Of the chosen action alone; the gradient with respect to its q is the slope."""
    z = torch.tensor([[[7.0], [2.0 + error], [-9.0]]], requires_grad=True)
    value, priority = Expected(loss, 1.0).loss(z, None, torch.tensor([1]), torch.tensor([2.0]))
    value.sum().backward()
    assert value.tolist() == pytest.approx([expected])
    assert priority.tolist() == pytest.approx([abs(error)]) and not priority.requires_grad
    assert z.grad is not None
    assert z.grad.flatten().tolist() == pytest.approx([0, slope, 0])


@pytest.mark.parametrize("error, expected, slope", [(1.5, 1.125, 1.5), (-5.0, 8.0, -2.0)])
def test_huber_may_bend_elsewhere(error: float, expected: float, slope: float) -> None:
    """At 2: half the square below, 2 (|d| - 1) beyond."""
    z = torch.tensor([[[2.0 + error]]], requires_grad=True)
    value, _ = Expected("huber", 2.0).loss(z, None, torch.tensor([0]), torch.tensor([2.0]))
    value.sum().backward()
    assert z.grad is not None
    assert (value.item(), z.grad.item()) == pytest.approx((expected, slope))


def test_wrong_shapes_are_refused() -> None:
    values, z = Expected("huber", 1.0), torch.zeros(5, 3, 1)
    for wrong in (torch.zeros(5, 1), torch.zeros(1), torch.zeros(4)):
        with pytest.raises(AssertionError):
            values.loss(z, None, torch.zeros(5, dtype=torch.int64), wrong)
        with pytest.raises(AssertionError):
            values.target(
                BootstrapInputs(wrong, torch.zeros(5), z, torch.zeros(5, 3), torch.zeros(5, 3))
            )
    for wrong in (torch.zeros(5, 3), torch.zeros(5, 3, 2)):
        with pytest.raises(AssertionError):
            values.q(wrong)
    with pytest.raises(AssertionError):
        Expected("hubert", 1.0)


# ------------------------------------------------------------------------------------ optimisers


def gradients(steps: int, *shape: int) -> torch.Tensor:
    """Of very different sizes, some of them 0."""
    size = 10.0 ** torch.randint(-4, 2, (steps, *shape), generator=generator(3))
    return torch.randn(steps, *shape, generator=generator()) * size


def test_nature_rmsprop_against_its_formula() -> None:
    """In double precision, over 30 steps, two parameters, one of them a matrix."""
    parameters = [
        nn.Parameter(torch.randn(4, 3, generator=generator())),
        nn.Parameter(torch.ones(2)),
    ]
    optimizer = rmsprop(*parameters, decay=0.95, epsilon=1e-5)
    expected = [p.detach().double().numpy().copy() for p in parameters]
    mean = [np.zeros_like(p) for p in expected]
    square = [np.zeros_like(p) for p in expected]
    for step in range(30):
        for i, parameter in enumerate(parameters):
            parameter.grad = gradients(30, *parameter.shape)[step]
            g = parameter.grad.double().numpy()
            mean[i] = 0.95 * mean[i] + 0.05 * g
            square[i] = 0.95 * square[i] + 0.05 * g * g
            expected[i] -= 2.5e-4 * g / np.sqrt(square[i] - mean[i] ** 2 + 1e-5)
        optimizer.step(torch.tensor(2.5e-4))
    for ours, theirs in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(ours.detach(), theirs, rtol=2e-5, atol=1e-7)


def rmsprop(*parameters: nn.Parameter, decay: float, epsilon: float) -> NatureRMSprop:
    named = {str(i): parameter for i, parameter in enumerate(parameters)}
    return NatureRMSprop(named, decay, epsilon)


def test_nature_rmsprop_first_step_by_hand() -> None:
    """g = 2: mean .1, mean square .2, step = .1 * 2 / sqrt(.2 - .01 + .06) = .4."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = rmsprop(parameter, decay=0.95, epsilon=0.06)
    parameter.grad = torch.tensor([2.0])
    optimizer.step(torch.tensor(0.1))
    assert parameter.item() == pytest.approx(-0.4)


def test_nature_rmsprop_is_not_torchs() -> None:
    """Which has its epsilon outside the root: of small gradients it makes steps 10 times ours."""
    ours, theirs = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(5))
    nature = rmsprop(ours, decay=0.95, epsilon=0.01)
    torchs = torch.optim.RMSprop([theirs], lr=0.01, alpha=0.95, eps=0.01, centered=True)
    for gradient in torch.rand(5, 5, generator=generator()):
        ours.grad, theirs.grad = 1e-4 * gradient, 1e-4 * gradient
        nature.step(torch.tensor(0.01))
        torchs.step()
    np.testing.assert_allclose((theirs / ours).detach(), 10, rtol=0.02)


def test_nature_rmsprop_survives_a_gradient_that_never_changes() -> None:
    """Its variance is 0, and less than that in single precision: no root of a negative number."""
    parameter = nn.Parameter(torch.zeros(500))
    optimizer = rmsprop(parameter, decay=0.95, epsilon=9.765625e-6)
    constant = 100 * torch.rand(500, generator=generator())
    for _ in range(600):
        parameter.grad = constant.clone()
        optimizer.step(torch.tensor(2.5e-4))
    assert parameter.isfinite().all()


def test_every_parameter_has_a_gradient() -> None:
    parameter = nn.Parameter(torch.ones(2))
    with pytest.raises(AssertionError, match="has no gradient"):
        rmsprop(parameter, decay=0.9, epsilon=1.0).step(torch.tensor(1.0))


def test_adam_is_torchs() -> None:
    """To the bit: the same kernel, without its class."""
    ours, theirs = (nn.Parameter(torch.ones(7)) for _ in range(2))
    adam = make_optimizer(OptimizerConfig("adam", epsilon=1e-3), nn.ParameterDict({"w": ours}))
    torchs = torch.optim.Adam([theirs], torch.tensor(0.01), eps=1e-3, fused=True)
    for gradient in gradients(20, 7):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        adam.step(torch.tensor(0.01))
        torchs.step()
    assert torch.equal(ours, theirs)


def test_adam_is_the_configs() -> None:
    """Against its formula: Kingma & Ba 2015, algorithm 1."""
    parameter = nn.Parameter(torch.zeros(6))
    network = nn.ParameterDict({"weight": parameter})
    optimizer = make_optimizer(OptimizerConfig("adam", epsilon=0.1), network)
    first, second, expected = np.zeros(6), np.zeros(6), np.zeros(6)
    for step, gradient in enumerate(gradients(20, 6), start=1):
        parameter.grad = gradient.clone()
        optimizer.step(torch.tensor(0.01))
        g = gradient.double().numpy()
        first = 0.9 * first + 0.1 * g
        second = 0.999 * second + 0.001 * g * g
        expected -= 0.01 * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 0.1)
    np.testing.assert_allclose(parameter.detach(), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_an_optimisers_state_goes_by_the_parameters_names(name: Any) -> None:
    """Loaded into another optimiser, it goes on to the bit; in channels-last layout too."""
    config = OptimizerConfig(name)

    def make(seed: int) -> tuple[QNetwork, Optimizer]:
        network = made(NetworkConfig(hidden_units=4), (4, 84, 84), 3, 1, generator(seed))
        return network.place(CPU), make_optimizer(config, network)

    def step(network: QNetwork, optimizer: Optimizer, seed: int) -> None:
        state = torch.rand(2, 4, 84, 84, generator=generator(seed))
        network.zero_grad()
        network(state).square().sum().backward()
        optimizer.step(torch.tensor(0.01))

    (ours, first), (theirs, second) = make(1), make(2)
    for seed in range(3):
        step(ours, first, seed)
        step(theirs, second, seed + 50)  # what it remembers is forgotten
    state = first.state_dict()
    moments = {"adam": {"exp_avg", "exp_avg_sq"}, "rmsprop": {"mean", "mean_square"}}[name]
    assert set(state) == moments | ({"step"} if name == "adam" else set())
    names = [name for name, _ in ours.named_parameters()]
    assert all(list(state[key]) == names for key in moments)
    plain: Any = {
        key: {n: v.contiguous().clone() for n, v in value.items()} if key in moments else value
        for key, value in state.items()
    }
    theirs.load_state_dict(ours.state_dict())
    second.load_state_dict(plain)
    for seed in range(3, 6):
        step(ours, first, seed)
        step(theirs, second, seed)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other), name


# --------------------------------------------------------------------------------------- learner


FAST = OptimizerConfig(learning_rate=0.01)


def tiny_learner(optimizer: OptimizerConfig = FAST, **learner: Any) -> Learner:
    """Two observations, four hidden units, three actions."""
    network = made(NetworkConfig(mlp_units=(4,)), (1, 2), 3, 1, generator())
    config = LearnerConfig(**learner)
    return Learner(network, Expected(config.loss, 1.0), optimizer, config, generator())


def random_batch(seed: int, size: int = 8, scale: float = 1.0) -> Batch:
    g = generator(seed)
    return Batch(
        state=torch.randn(size, 1, 2, generator=g),
        action=torch.randint(3, (size,), generator=g),
        reward=scale * torch.randn(size, generator=g),
        discount=0.9 * (torch.rand(size, generator=g) < 0.8),
        next_state=torch.randn(size, 1, 2, generator=g),
        weight=0.2 + torch.rand(size, generator=g),
        index=torch.arange(size),
    )


class Literal:
    """The learner's update in numpy and double precision: a two-layer network, Adam."""

    def __init__(self, learner: Learner, loss: str, tau: float) -> None:
        self.online = [p.detach().double().numpy().copy() for p in learner.online.parameters()]
        self.target = [p.copy() for p in self.online]
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.online]
        self.loss, self.tau, self.updates = loss, tau, 0

    @staticmethod
    def forward(weights: list[Any], state: Any) -> tuple[Any, Any]:
        w1, b1, w2, b2 = weights
        hidden = np.maximum(state @ w1.T + b1, 0)
        return hidden, hidden @ w2.T + b2

    def update(self, batch: Batch) -> tuple[Any, float, float]:
        state, action, reward, discount, next_state, weight, _ = (
            part.double().numpy() if part.is_floating_point() else part.numpy() for part in batch
        )
        size = len(action)
        state, next_state = state.reshape(size, 2), next_state.reshape(size, 2)
        _, next_q = self.forward(self.target, next_state)
        wanted = reward + discount * next_q.max(1)
        hidden, q = self.forward(self.online, state)
        error = q[np.arange(size), action] - wanted
        small = (np.abs(error) <= 1) | (self.loss == "mse")
        losses = np.where(small, error**2 / 2, np.abs(error) - 0.5)
        slope = np.where(small, error, np.sign(error)) * weight / size
        on_q = np.zeros_like(q)
        on_q[np.arange(size), action] = slope
        on_hidden = (on_q @ self.online[2]) * (hidden > 0)
        gradient = [on_hidden.T @ state, on_hidden.sum(0), on_q.T @ hidden, on_q.sum(0)]
        norm = float(np.sqrt(sum((g**2).sum() for g in gradient)))
        self.updates += 1
        for i, g in enumerate(gradient):
            first, second = self.moments[i]
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            self.moments[i] = first, second
            root = np.sqrt(second / (1 - 0.999**self.updates)) + 1.5e-4
            self.online[i] -= 0.01 * first / (1 - 0.9**self.updates) / root
        return np.abs(error), float((weight * losses).mean()), norm

    def sync(self) -> None:
        for i, weights in enumerate(self.online):
            self.target[i] = self.target[i] + self.tau * (weights - self.target[i])


@pytest.mark.parametrize("tau", [1.0, 0.3])
@pytest.mark.parametrize("loss", ["huber", "mse"])
def test_the_whole_update_against_a_literal_one(loss: str, tau: float) -> None:
    """40 updates with weights, ends and errors on both sides of 1, the target moved every 7."""
    learner = tiny_learner(loss=loss, target_tau=tau)
    literal = Literal(learner, loss, tau)
    sums = np.zeros(len(METRICS))
    both_sides = set()
    for step in range(40):
        batch = random_batch(step, scale=2.0)
        priority = learner.update(batch)
        error, mean_loss, norm = literal.update(batch)
        np.testing.assert_allclose(priority, error, rtol=1e-4, atol=1e-4)
        both_sides |= set((error > 1).tolist())
        sums += [mean_loss, error.mean(), norm]
        if step % 7 == 6:
            learner.sync_target()
            literal.sync()
    assert both_sides == {True, False}
    for name, ours, theirs in (
        ("online", learner.online, literal.online),
        ("target", learner.target, literal.target),
    ):
        for parameter, expected in zip(ours.parameters(), theirs, strict=True):
            np.testing.assert_allclose(
                parameter.detach(), expected, rtol=1e-3, atol=1e-4, err_msg=name
            )
    np.testing.assert_allclose(learner.sums, sums, rtol=1e-4)
    assert learner.summed == learner.updates == 40


def test_only_the_chosen_actions_weights_move_the_head() -> None:
    learner = tiny_learner()
    before = learner.online.head.advantage[2].weight.detach().clone()
    batch = random_batch(1)
    learner.update(batch._replace(action=torch.full_like(batch.action, 2)))
    moved = (learner.online.head.advantage[2].weight != before).any(1)
    assert moved.tolist() == [False, False, True]


def test_a_weight_of_zero_teaches_nothing() -> None:
    learner = tiny_learner()
    before = [p.detach().clone() for p in learner.online.parameters()]
    batch = random_batch(1)
    learner.update(batch._replace(weight=torch.zeros_like(batch.weight)))
    assert all(torch.equal(a, b) for a, b in zip(before, learner.online.parameters(), strict=True))


def test_the_next_state_of_an_end_does_not_matter() -> None:
    ours, theirs = tiny_learner(), tiny_learner()
    batch = random_batch(1)._replace(discount=torch.zeros(8))
    ours.update(batch)
    theirs.update(batch._replace(next_state=1e3 * batch.next_state))
    for a, b in zip(ours.online.parameters(), theirs.online.parameters(), strict=True):
        assert torch.equal(a, b)


def applied_gradient(**limits: Any) -> tuple[torch.Tensor, float]:
    """What reached the optimiser, and the norm that was measured, of one steep update."""
    learner = tiny_learner(loss="mse", **limits)
    learner.update(random_batch(1, scale=100.0))
    parts = [p.grad.flatten() for p in learner.online.parameters() if p.grad is not None]
    return torch.cat(parts), float(learner.sums[METRICS.index("gradient_norm")])


def test_gradient_clipping_by_global_norm() -> None:
    plain, norm = applied_gradient()
    assert norm == pytest.approx(float(plain.norm())) and norm > 10
    by_norm, norm_before = applied_gradient(max_gradient_norm=2.0)
    assert norm_before == norm, "what is reported is the norm before clipping"
    np.testing.assert_allclose(by_norm, plain * 2 / norm, rtol=1e-4)
    assert torch.equal(applied_gradient(max_gradient_norm=2 * norm)[0], plain)


def test_the_target_begins_equal_and_moves_only_when_told() -> None:
    for tau in (1.0, 0.25):
        learner = tiny_learner(target_tau=tau)
        began = [p.detach().clone() for p in learner.online.parameters()]
        for target, online in zip(learner.target.parameters(), began, strict=True):
            assert torch.equal(target, online) and not target.requires_grad
        for step in range(5):
            learner.update(random_batch(step))
        for target, first in zip(learner.target.parameters(), began, strict=True):
            assert torch.equal(target, first)
        learner.sync_target()
        for target, online, first in zip(
            learner.target.parameters(), learner.online.parameters(), began, strict=True
        ):
            torch.testing.assert_close(target, (1 - tau) * first + tau * online.detach())
            assert tau != 1 or torch.equal(target, online)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_learners_state_goes_on_to_the_bit(name: Any) -> None:
    optimizer = OptimizerConfig(name, 0.01)
    ours, theirs = tiny_learner(optimizer), tiny_learner(optimizer)
    for step in range(3):
        ours.update(random_batch(step))
        theirs.update(random_batch(step + 50))
    ours.sync_target()
    state = ours.state_dict()
    theirs.load_state_dict(copy.deepcopy(state))
    for step in range(3, 6):
        assert torch.equal(ours.update(random_batch(step)), theirs.update(random_batch(step)))
    assert torch.equal(ours.sums, theirs.sums)
    assert ours.updates == theirs.updates == 6 and ours.summed == theirs.summed


@pytest.mark.gpu
def test_a_batch_may_come_from_the_cpu_to_a_learner_on_the_gpu() -> None:
    network = made(NetworkConfig(mlp_units=(4,)), (1, 2), 3, 1, generator())
    gpu = torch.device("cuda")
    learner = Learner(
        network, Expected("huber", 1.0), OptimizerConfig(), LearnerConfig(), torch.Generator(gpu)
    )
    on_cpu = tiny_learner(OptimizerConfig())
    for step in range(5):
        ours, theirs = learner.update(random_batch(step)), on_cpu.update(random_batch(step))
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------------- networks


def nature(actions: int = 6, seed: int = 1, **fields: Any) -> QNetwork:
    return made(NetworkConfig(**fields), (4, 84, 84), actions, 1, generator(seed))


def test_shapes_and_parameters_of_the_nature_torso() -> None:
    network = nature(actions=6)
    shapes = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
        for module in network.torso
        if not isinstance(module, nn.ReLU)
    ]
    z = network(torch.zeros(2, 4, 84, 84, dtype=torch.uint8))
    assert z.shape == (2, 6, 1)
    assert shapes == [(32, 20, 20), (64, 9, 9), (64, 7, 7), (3136,)]
    assert len(hooks) == 4
    convolutions = [m for m in network.torso if isinstance(m, nn.Conv2d)]
    assert [(m.kernel_size[0], m.stride[0]) for m in convolutions] == [(8, 4), (4, 2), (3, 1)]
    assert sum(p.numel() for p in network.torso.parameters()) == 77_984
    assert sum(p.numel() for p in network.parameters()) == 1_684_128 + 512 * 6 + 6


def test_shapes_of_the_mlp_and_of_other_settings() -> None:
    mlp = made(NetworkConfig(mlp_units=(7, 5)), (1, 3, 2), 4, 2, generator())
    assert [tuple(p.shape) for p in mlp.parameters()] == [(7, 6), (7,), (5, 7), (5,), (8, 5), (8,)]
    assert mlp(torch.zeros(9, 1, 3, 2)).shape == (9, 4, 2)
    linear = made(NetworkConfig(mlp_units=()), (1, 3), 2, 1, generator())
    assert [tuple(p.shape) for p in linear.parameters()] == [(2, 3), (2,)]
    assert nature(hidden_units=10).head.advantage[2].in_features == 10
    assert isinstance(nature(torso="mlp", mlp_units=(3, 2)).torso[0], nn.Linear)
    with pytest.raises(ConfigError, match=r"network\.torso nature needs pictures"):
        made(NetworkConfig(torso="nature"), (1, 4), 2, 1, generator())


@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 5)])
def test_pixels_are_divided_by_255_exactly_once(shape: tuple[int, ...]) -> None:
    network = made(NetworkConfig(), shape, 3, 1, generator()).place(CPU)
    pixels = torch.randint(256, (5, *shape), dtype=torch.uint8, generator=generator())
    untouched = pixels.clone()
    torch.testing.assert_close(network(pixels), network(pixels.float() / 255), rtol=0, atol=1e-6)
    assert torch.equal(pixels, untouched)
    assert not torch.allclose(network(pixels), network(pixels.float()), rtol=0.1)


def test_other_numbers_are_taken_as_they_are() -> None:
    network = made(NetworkConfig(), (1, 5), 3, 1, generator())
    state = torch.randn(4, 1, 5, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(network(state), network(state.float()))
    assert network(torch.randint(9, (4, 1, 5), generator=generator())).dtype == torch.float32


def test_initial_weights_fill_kaimings_bounds_and_biases_are_zero() -> None:
    """Uniform within sqrt(6 / inputs) before a ReLU, sqrt(3 / inputs) in the last layer."""
    network = nature(actions=18)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    inputs = [4 * 64, 32 * 16, 64 * 9, 3136, 512]
    for layer, fan_in in zip(layers, inputs, strict=True):
        bound = math.sqrt((3 if layer is network.head.advantage[2] else 6) / fan_in)
        largest = float(layer.weight.detach().abs().max())
        assert 0.995 * bound < largest <= bound
        assert float(layer.weight.detach().var()) == pytest.approx(bound**2 / 3, rel=0.05)
        assert abs(float(layer.weight.detach().mean())) < 0.05 * bound
        assert layer.bias is not None and (layer.bias == 0).all()


@pytest.mark.parametrize("shape", [(4, 84, 84), (1, 5)])
def test_initial_weights_come_from_the_generator_alone(shape: tuple[int, ...]) -> None:
    before = torch.get_rng_state()
    same, again, other = (
        made(NetworkConfig(), shape, 3, 1, generator(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for name, weights in same.items():
        assert torch.equal(weights, again[name])
        assert torch.equal(weights, other[name]) == name.endswith("bias")


def test_channels_last_gives_what_contiguous_gives() -> None:
    """Values within 1e-6 of their size, gradients within 1e-5 of theirs."""
    plain, placed = nature(), nature().place(CPU)
    weight = placed.torso[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    state = torch.randint(256, (16, 4, 84, 84), dtype=torch.uint8, generator=generator())
    ours, theirs = placed(state)[0], plain(state)[0]
    assert (ours - theirs).abs().max() <= 1e-6 * max(1, theirs.abs().max())
    ours.square().sum().backward()
    theirs.square().sum().backward()
    for (name, a), b in zip(placed.named_parameters(), plain.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert (a.grad - b.grad).abs().max() <= 1e-5 * b.grad.abs().max(), name


class PlainConvolution(nn.Conv2d):
    """The first convolution as the paper has it."""

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return super().forward(state.float() / 255)


def plain_nature(network: QNetwork) -> QNetwork:
    """The same network of torch's own layers alone."""
    plain = copy.deepcopy(network)
    assert isinstance(plain.torso[0], BlockConvolution)
    assert isinstance(plain.head.advantage[0], Linear)
    plain._preprocess, plain.torso[0] = nn.Identity(), PlainConvolution(4, 32, 8, 4)
    plain.head.advantage[0] = nn.Linear(3136, 512)
    plain.load_state_dict(network.state_dict())
    return plain


def pixels_batch(seed: int) -> Batch:
    """32 transitions between pictures with shapes in them, as a game's have."""
    random = generator(seed)
    coarse = torch.randint(256, (64, 4, 12, 12), generator=random)
    state, next_state = coarse.repeat_interleave(7, 2).repeat_interleave(7, 3).byte().chunk(2)
    action = torch.randint(6, (32,), generator=random)
    reward = torch.randint(-1, 2, (32,), generator=random).float()
    return Batch(state, action, reward, torch.full((32,), 0.99), next_state, torch.ones(32), action)


def weights(learner: Learner) -> torch.Tensor:
    """All of the online network's, in one vector."""
    return torch.cat([p.detach().flatten() for p in learner.online.parameters()])


@pytest.mark.parametrize("updates", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_the_fast_layers_are_the_plain_ones(updates: int) -> None:
    """1e-6 relative after one update from the same state. After 100 they are no further apart than
    plain layers are from themselves on the same batches in another order: rounding grows that fast,
    for Adam's first steps turn the sign of a tiny gradient into a whole step."""
    fast = nature()
    ours, theirs, shuffled = (
        Learner(network, Expected("huber", 1.0), OptimizerConfig(), LearnerConfig(), generator())
        for network in (fast, plain_nature(fast), plain_nature(fast))
    )
    before = weights(ours)
    for seed in range(updates):
        batch = pixels_batch(seed % 10)
        order = torch.randperm(32, generator=generator(seed))
        ours.update(batch)
        theirs.update(batch)
        shuffled.update(Batch(*(part[order] for part in batch)))
        if seed == 0:
            apart = (weights(ours) - weights(theirs)).norm()
            assert apart <= 1e-6 * weights(theirs).norm()
            assert apart <= 1e-3 * (weights(ours) - before).norm()
    with torch.no_grad():
        state = pixels_batch(5).state
        q = theirs.acting_q_values(state)
        apart = (ours.acting_q_values(state) - q).norm() / q.norm()
        rounding = (shuffled.acting_q_values(state) - q).norm() / q.norm()
    assert apart <= max(1e-3, 3 * rounding), (apart, rounding)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("stride, kernel, side", [(4, 8, 84), (5, 5, 80), (2, 6, 12)])
def test_a_convolution_in_blocks_is_that_convolution(
    dtype: torch.dtype, stride: int, kernel: int, side: int
) -> None:
    layer = BlockConvolution(3, 7, kernel, stride)
    nn.init.normal_(layer.weight, generator=generator(1))
    nn.init.normal_(layer.bias, generator=generator(2))
    state = torch.randint(256, (5, 3, side, side), generator=generator(3)).to(dtype)
    numbers = state.double() / (255 if dtype == torch.uint8 else 1)
    weight = layer.weight.detach().double()
    expected = F.conv2d(numbers, weight, layer.bias.detach().double(), stride)
    blocks = SpaceToDepth((3, side, side), stride)(state)
    assert blocks.shape == (5, 3 * stride**2, side // stride, side // stride)
    difference = (layer(blocks).double() - expected).abs().max()
    assert difference <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("side, inner, outer", [(84, 5, 5), (48, 4, 3), (50, 4, 3), (13, 2, 2)])
def test_two_layers_of_patches_are_two_convolutions(
    dtype: torch.dtype, side: int, inner: int, outer: int
) -> None:
    """Their gradients too; a border that no whole patch reaches is left out."""
    layers = nn.Sequential(
        PatchConvolution(3, 7, inner, of_frames=True),
        nn.Tanh(),
        PatchConvolution(7, 5, outer, of_frames=False),
        ChannelsFirst(5),
    )
    weights = list(layers.parameters())
    for i, weight in enumerate(weights):
        nn.init.normal_(weight, std=0.1, generator=generator(i))
    state = torch.randint(256, (4, 3, side, side), generator=generator(9), dtype=torch.uint8)
    numbers = state / 255
    if dtype == torch.float32:
        state = numbers
    inside = F.conv2d(numbers, weights[0], weights[1], stride=inner).tanh()
    expected = F.conv2d(inside, weights[2], weights[3], stride=outer).flatten(1)
    output = layers(Patches((3, side, side), inner, outer)(state))
    theirs = torch.autograd.grad(expected.square().sum(), weights)
    ours = torch.autograd.grad(output.square().sum(), weights)
    for a, b in zip((output, *ours), (expected, *theirs), strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_pixels_moved_as_words_keep_their_bits() -> None:
    """Also those that are no number when four of them are read as one."""
    state = torch.tensor([1, 0, 160, 127, 255, 255, 255, 255], dtype=torch.uint8)
    state = torch.cat([state, torch.arange(8, dtype=torch.uint8)]).view(1, 1, 4, 4)
    assert state.flatten().view(torch.float32)[:2].isnan().all()
    order = torch.tensor([[4, 5, 6, 7], [0, 1, 2, 3], [12, 13, 14, 15]])
    moved = PixelPermutation((1, 4, 4), order)(state)
    assert torch.equal(moved, state.flatten()[order.flatten()][None] / 255)
    turned = order.flip(1)  # which no word keeps
    moved = PixelPermutation((1, 4, 4), turned)(state)
    assert torch.equal(moved, state.flatten()[turned.flatten()][None] / 255)
    turned = order[:, [0, 2, 1, 3]]
    moved = PixelPermutation((1, 4, 4), turned)(state)
    assert torch.equal(moved, state.flatten()[turned.flatten()][None] / 255)
