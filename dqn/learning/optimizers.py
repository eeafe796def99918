"""Optimizers: Adam by torch's fused kernel, and RMSProp as DeepMind's Nature DQN had it.

Not ``torch.optim``: importing it loads torch's compiler, two seconds at every start, and each of
its steps spends half a millisecond on options that are not used here.
"""

from abc import ABC, abstractmethod

import torch
from torch import nn

from dqn.config import OptimizerConfig
from dqn.types import State

_NONNEGATIVE = {"step", "exp_avg_sq", "mean_square"}


class Optimizer(ABC):
    """The parameters of a network, and running averages (moments) of their gradients."""

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        self._named = parameters
        self._parameters: list[torch.Tensor] = list(parameters.values())
        self._state: State = {}

    @abstractmethod
    def step(self, rate: torch.Tensor) -> None:
        """Update every parameter by its gradient; ``rate []`` is the learning rate, on the
        parameters' device."""

    def state_dict(self) -> State:
        """Moments by parameter name."""
        return dict(self._state)

    def load_state_dict(self, state: State) -> None:
        """Restore a ``state_dict``.

        Raises:
            ValueError: it belongs to another kind of optimizer, or a second moment is negative.
        """
        if state.keys() != self._state.keys():
            raise ValueError(
                f"an optimizer's state has {sorted(self._state)}, not {sorted(state.keys())}"
            )
        for key, own in self._state.items():
            pairs = [(own, state[key])]
            if isinstance(own, dict):
                pairs = [(moment, state[key][name]) for name, moment in own.items()]
            for moment, value in pairs:
                if key in _NONNEGATIVE and (value < 0).any():
                    raise ValueError(f"an optimizer's {key} is negative")
                moment.copy_(value)

    def _add_moment(self, key: str) -> list[torch.Tensor]:
        """Zeros like each parameter, memory layout included, saved under ``key``."""
        moment = {name: torch.zeros_like(p.detach()) for name, p in self._named.items()}
        self._state[key] = moment
        return list(moment.values())

    def _gradients(self) -> list[torch.Tensor]:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        assert len(gradients) == len(self._parameters), "a parameter has no gradient"
        return gradients


class Adam(Optimizer):
    """Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1, with betas of .9 and .999."""

    def __init__(self, parameters: dict[str, nn.Parameter], epsilon: float) -> None:
        super().__init__(parameters)
        self._epsilon = epsilon
        self._steps = self._state["step"] = torch.zeros((), device=self._parameters[0].device)
        self._mean, self._square = self._add_moment("exp_avg"), self._add_moment("exp_avg_sq")

    def step(self, rate: torch.Tensor) -> None:
        with torch.no_grad():
            self._steps += 1
            steps = [self._steps] * len(self._parameters)
            torch._fused_adam_(
                self._parameters, self._gradients(), self._mean, self._square, [], steps,
                lr=rate, beta1=0.9, beta2=0.999, eps=self._epsilon,
                weight_decay=0.0, amsgrad=False, maximize=False,
            )  # fmt: skip


class NatureRMSprop(Optimizer):
    """Centered RMSProp with epsilon inside the root, as in DeepMind's Lua code of 2015 and
    Graves 2013 (arXiv 1308.0850, equations 38 to 41, without momentum).

    ``step = lr * g / sqrt(E[g^2] - E[g]^2 + epsilon)``. ``torch.optim.RMSprop`` adds epsilon
    outside the root, which is another algorithm when epsilon is as large as Nature's.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float, epsilon: float) -> None:
        super().__init__(parameters)
        self._decay, self._epsilon = decay, epsilon
        self._mean, self._square = self._add_moment("mean"), self._add_moment("mean_square")

    def step(self, rate: torch.Tensor) -> None:
        with torch.no_grad():
            gradients, mean, square = self._gradients(), self._mean, self._square
            torch._foreach_lerp_(mean, gradients, 1 - self._decay)
            torch._foreach_mul_(square, self._decay)
            torch._foreach_addcmul_(square, gradients, gradients, 1 - self._decay)
            variance = torch._foreach_addcmul(square, mean, mean, -1)  # noqa: SLF001
            # rounding makes the variance of a constant gradient slightly negative
            torch._foreach_clamp_min_(variance, 0)
            torch._foreach_add_(variance, self._epsilon)
            torch._foreach_sqrt_(variance)
            steps = torch._foreach_mul(gradients, rate)  # noqa: SLF001
            torch._foreach_addcdiv_(self._parameters, steps, variance, -1)


def make_optimizer(config: OptimizerConfig, network: nn.Module) -> Optimizer:
    """The optimizer described by a config, for the parameters of ``network``."""
    parameters = dict(network.named_parameters())
    if config.name == "rmsprop":
        return NatureRMSprop(parameters, config.decay, config.epsilon)
    return Adam(parameters, config.epsilon)
