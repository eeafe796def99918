"""The family written plainly from its papers, in double precision: what a network computes, and one
update. It shares no line with dqn/; ``test_published_numbers.py`` holds dqn/ to others' numbers."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = Callable[[Tensor], Tensor]


class Recipe(NamedTuple):
    """What a learner is made of."""

    torso: Callable[["PlainNetwork", Tensor], Tensor]
    actions: int = 3
    outputs: int = 1
    hidden: bool = True
    layer_norm: bool = False
    dueling: bool = False
    noisy: bool = False
    kind: str = "expected"
    v_min: float = -10.0
    v_max: float = 10.0
    taus: int = 0
    policy_taus: int = 0
    kappa: float = 1.0
    loss: str = "huber"
    policy: str = "greedy"
    munchausen: tuple[float, float, float] = (0.9, 0.03, -1.0)
    optimizer: str = "adam"
    rate: float = 6.25e-5
    epsilon: float = 1.5e-4
    max_norm: float = math.inf


class PlainNetwork:
    """Takes a network's parameters in their order, each once: a weight, then its bias."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.parameters = [p.detach().double().requires_grad_() for p in network.parameters()]
        named = network.named_parameters()
        self._noisy_shapes = [p.shape[::-1] for name, p in named if name.endswith("weight_sigma")]
        center = network.state_dict().get("center")
        self._center = 0 if center is None else center.double()
        self._recipe = recipe

    def __call__(self, state: Tensor, noise: torch.Generator | None, taus: Any = None) -> Tensor:
        """``z [B, A, K]``; with ``taus [B, K]`` that of IQN (Dabney et al. 2018, equation 4)."""
        recipe, self._left = self._recipe, iter(self.parameters)
        if noise:  # one draw: of each layer in turn that of its inputs, then that of its outputs
            sizes = [size for shape in self._noisy_shapes for size in shape]
            drawn = torch.randn(sum(sizes), generator=noise).double()
            self._noise = iter((drawn.sign() * drawn.abs().sqrt()).split(sizes))
        scale = 255 if state.dtype == torch.uint8 else 1
        features = recipe.torso(self, state.double() / scale - self._center)
        if taus is None:
            z = self._head(noise)(features)
        else:
            (weight, bias), head, per_tau = self.layer(), self._head(noise), []
            for tau in taus.double().T:  # [B]
                waves = [torch.cos(math.pi * i * tau) for i in range(weight.shape[1])]
                embedded = (torch.stack(waves, 1) @ weight.T + bias).relu()
                per_tau.append(head(features * embedded)[:, :, 0])
            z = torch.stack(per_tau, 2)
        assert next(self._left, None) is None, "a parameter is left"
        return z

    def relu(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:]).relu() if self._recipe.layer_norm else x.relu()

    def layer(self) -> tuple[Tensor, Tensor]:
        return next(self._left), next(self._left)

    def _linear(self) -> Layer:
        weight, bias = self.layer()
        return lambda x: x @ weight.T + bias

    def _noisy(self, noise: torch.Generator | None) -> Layer:
        """Fortunato et al. 2018, equations 9 to 11."""
        (weight, bias), (weight_sigma, bias_sigma) = self.layer(), self.layer()
        if noise:
            inward, outward = next(self._noise), next(self._noise)
            weight = weight + weight_sigma * torch.outer(outward, inward)
            bias = bias + bias_sigma * outward
        return lambda x: x @ weight.T + bias

    def _head(self, noise: torch.Generator | None) -> Layer:
        """Wang et al. 2016, equation 9, for each of the K outputs."""
        recipe = self._recipe

        def stream() -> Layer:
            make = (lambda: self._noisy(noise)) if recipe.noisy else self._linear
            if not recipe.hidden:
                return make()
            first, second = make(), make()
            return lambda x: second(self.relu(first(x)))

        advantage = stream()
        value = stream() if recipe.dueling else None

        def head(x: Tensor) -> Tensor:
            a = advantage(x).view(len(x), recipe.actions, recipe.outputs)
            return a if value is None else value(x)[:, None] + a - a.mean(1, keepdim=True)

        return head


def convolutions(*strides: int) -> Callable[[PlainNetwork, Tensor], Tensor]:
    def torso(network: PlainNetwork, x: Tensor) -> Tensor:
        for stride in strides:
            x = network.relu(F.conv2d(x, *network.layer(), stride))
        return x.flatten(1)

    return torso


def impala(pool: int, spectral_norm: bool = False) -> Callable[[PlainNetwork, Tensor], Tensor]:
    """Espeholt et al. 2018, figure 3; pooling and spectral norm as Clark et al. 2024."""

    def torso(network: PlainNetwork, x: Tensor) -> Tensor:
        def convolve(x: Tensor, divided: bool) -> Tensor:
            weight, bias = network.layer()
            if divided:
                weight = weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
            return F.conv2d(x, weight, bias, padding=1)

        for _ in range(3):
            x = F.max_pool2d(convolve(x, False), kernel_size=3, stride=2, padding=1)
            for _ in range(2):
                x = x + convolve(convolve(x.relu(), spectral_norm).relu(), spectral_norm)
        x = network.relu(x)
        return (F.adaptive_max_pool2d(x, pool) if pool else x).flatten(1)

    return torso


def mlp(layers: int) -> Callable[[PlainNetwork, Tensor], Tensor]:
    def torso(network: PlainNetwork, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for _ in range(layers):
            weight, bias = network.layer()
            x = network.relu(x @ weight.T + bias)
        return x

    return torso


class PlainLearner:
    """Copies a learner's networks, and updates the copy of its online network."""

    def __init__(self, online: nn.Module, target: nn.Module, recipe: Recipe) -> None:
        self.online, self.target = PlainNetwork(online, recipe), PlainNetwork(target, recipe)
        self._recipe = recipe
        optimizer = {"adam": Adam, "rmsprop": NatureRMSprop}[recipe.optimizer]
        self.optimizer = optimizer(self.online.parameters, recipe.rate, recipe.epsilon)

    def update(
        self, batch: Any, rng: torch.Generator, steps: int = 1
    ) -> tuple[Tensor, list[list[float]]]:
        """New priorities; of each step, on its part of the batch, the weighted loss, the mean
        priority and the gradient's norm."""
        recipe, size, draws = self._recipe, len(batch.action), [None, None]
        if recipe.kind == "implicit_quantile":
            draws = [torch.rand(size, recipe.taus, generator=rng) for _ in range(2)]
        priorities, metrics = [], []
        for begin in range(0, size, size // steps):
            part = slice(begin, begin + size // steps)
            target_taus, taus = (drawn if drawn is None else drawn[part] for drawn in draws)
            priority, measured = self._step(
                type(batch)(*(tensor[part] for tensor in batch)), rng, target_taus, taus
            )
            priorities.append(priority)
            metrics.append(measured)
        return torch.cat(priorities), metrics

    def _step(
        self, batch: Any, rng: torch.Generator, target_taus: Tensor | None, taus: Tensor | None
    ) -> tuple[Tensor, list[float]]:
        recipe, size = self._recipe, len(batch.action)
        with torch.no_grad():
            target = self._target(batch, rng, target_taus)
        noise = rng if recipe.noisy else None
        z = self.online(batch.state, noise, taus)[torch.arange(size), batch.action]  # [B, K]
        loss, priority = self._loss(z, taus, target)
        mean_loss = (batch.weight.double() * loss).mean()
        gradients = torch.autograd.grad(mean_loss, self.online.parameters)
        norm = torch.sqrt(sum((g**2).sum() for g in gradients))
        for parameter, gradient in zip(self.online.parameters, gradients, strict=True):
            parameter.grad = gradient * min(1.0, recipe.max_norm / float(norm))
        self.optimizer.step()
        return priority.detach(), [float(x.detach()) for x in (mean_loss, priority.mean(), norm)]

    def q(self, state: Tensor, rng: torch.Generator | None) -> Tensor:
        """The online network's q-values ``[B, A]``, with noise if it is noisy and has ``rng``."""
        recipe, middles = self._recipe, None
        if recipe.kind == "implicit_quantile":
            middles = self._middles(len(state))
        return self._q(self.online(state, rng, middles))

    def sync(self, tau: float) -> None:
        with torch.no_grad():
            for target, online in zip(self.target.parameters, self.online.parameters, strict=True):
                target.copy_((1 - tau) * target + tau * online)

    def _middles(self, size: int) -> Tensor:
        count = self._recipe.policy_taus
        return ((torch.arange(count) + 0.5) / count).expand(size, -1)

    def _q(self, z: Tensor) -> Tensor:
        recipe = self._recipe
        if recipe.kind == "categorical":
            return z.softmax(2) @ torch.linspace(recipe.v_min, recipe.v_max, z.shape[2]).double()
        return z[:, :, -recipe.policy_taus :].mean(2)  # -0: all

    def _target(self, batch: Any, rng: torch.Generator, taus: Tensor | None) -> Tensor:
        recipe, size = self._recipe, len(batch.action)
        noise, middles = rng if recipe.noisy else None, None
        if taus is not None:
            middles = self._middles(size)
            taus = torch.cat([taus, middles], 1)
        z = self.target(batch.next_state, noise, taus)  # [B, A, K]
        q, reward, bonus = self._q(z), batch.reward.double(), torch.zeros(size, recipe.actions)
        if recipe.policy == "munchausen":  # Vieillard et al. 2020, equation 1
            alpha, temperature, low = recipe.munchausen
            now = self._q(self.target(batch.state, noise, middles)) / temperature
            log_now = now - now.logsumexp(1, keepdim=True)
            chosen = temperature * log_now[torch.arange(size), batch.action]
            reward = reward + alpha * chosen.clamp(low, 0)
            policy = (q / temperature).softmax(1)
            bonus = -temperature * policy.log()
        else:
            if recipe.policy == "double":  # van Hasselt et al. 2016, equation 4
                q = self._q(self.online(batch.next_state, noise, middles))
            policy = F.one_hot(q.argmax(1), recipe.actions).double()
        if recipe.kind == "categorical":
            parts = (x.double().numpy() for x in (policy, bonus, reward, batch.discount))
            atoms = np.linspace(recipe.v_min, recipe.v_max, recipe.outputs)
            return torch.from_numpy(algorithm_1(atoms, z, *parts))
        if recipe.kind == "implicit_quantile":
            z = z[:, :, : recipe.taus]
        mixed = (policy[:, :, None] * (z + bonus[:, :, None])).sum(1)
        return reward[:, None] + batch.discount.double()[:, None] * mixed  # [B, K]

    def _loss(self, z: Tensor, taus: Tensor | None, target: Tensor) -> tuple[Tensor, Tensor]:
        recipe = self._recipe
        if recipe.kind == "categorical":  # cross entropy; Kullback-Leibler divergence
            log_p = z.log_softmax(1)
            entropy = -torch.where(target > 0, target * target.log(), 0).sum(1)
            loss = -(target * log_p).sum(1)
            return loss, loss - entropy
        if recipe.kind == "expected":
            error = (target - z)[:, 0]
            loss = error**2 / 2 if recipe.loss == "mse" else self._huber(error)
            return loss, error.abs()
        if taus is None:
            taus = ((torch.arange(recipe.outputs) + 0.5) / recipe.outputs).expand(z.shape)
        # Dabney et al. 2018 (IQN), equation 3: b batch, i quantile, j sample of the target
        error = torch.stack([target - quantile[:, None] for quantile in z.T], 1)
        weight = (taus.double()[:, :, None] - (error < 0).double()).abs()
        loss = torch.einsum("bij,bij->b", weight, self._huber(error))
        return loss / recipe.kappa / target.shape[1], error.abs().mean((1, 2))

    def _huber(self, error: Tensor) -> Tensor:
        kappa, size = self._recipe.kappa, error.abs()
        return torch.where(size <= kappa, error**2 / 2, kappa * (size - kappa / 2))


class Adam:
    """Kingma and Ba 2015, algorithm 1. Beside torch's, whose first step takes seconds."""

    def __init__(self, parameters: list[Tensor], rate: float, epsilon: float) -> None:
        self.rate, self._epsilon, self._steps = rate, epsilon, 0
        self._state = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]

    @torch.no_grad()
    def step(self) -> None:
        self._steps += 1
        for parameter, first, second in self._state:
            g = parameter.grad
            first.copy_(0.9 * first + 0.1 * g)
            second.copy_(0.999 * second + 0.001 * g**2)
            root = torch.sqrt(second / (1 - 0.999**self._steps)) + self._epsilon
            parameter -= self.rate * first / (1 - 0.9**self._steps) / root


class NatureRMSprop:
    """As DeepMind's Lua code: centered, epsilon inside the root."""

    def __init__(
        self, parameters: list[Tensor], rate: float, epsilon: float, decay: float = 0.95
    ) -> None:
        self.rate, self._epsilon, self._decay = rate, epsilon, decay
        self._state = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]

    @torch.no_grad()
    def step(self) -> None:
        for parameter, mean, square in self._state:
            g, decay = parameter.grad, self._decay
            mean.copy_(decay * mean + (1 - decay) * g)
            square.copy_(decay * square + (1 - decay) * g**2)
            parameter -= self.rate * g / torch.sqrt(square - mean**2 + self._epsilon)


def algorithm_1(atoms: Any, z: Tensor, policy: Any, bonus: Any, reward: Any, discount: Any) -> Any:
    """C51's projection of a soft policy's mixture, row by row: ``[B, K]``."""
    probability = z.double().softmax(2).numpy()
    batch, actions, count = probability.shape
    expected = np.zeros((batch, count))
    for b, a, j in np.ndindex(batch, actions, count):
        moved = reward[b] + discount[b] * (atoms[j] + bonus[b, a])
        place = (np.clip(moved, atoms[0], atoms[-1]) - atoms[0]) / (atoms[1] - atoms[0])
        share, low = policy[b, a] * probability[b, a, j], math.floor(place)
        expected[b, low] += share * (1 - (place - low))
        expected[b, math.ceil(place)] += share * (place - low)
    return expected
