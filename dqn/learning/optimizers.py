"""The optimisers: Adam by torch's fused kernel, RMSProp as Nature had it; their state by name.

Not ``torch.optim``'s classes: those import torch's compiler, two seconds at each start, and take
half a millisecond an update for what they might have been asked beside the step.
"""

from typing import Protocol

import torch
from torch import nn

from dqn.config import OptimizerConfig
from dqn.types import State


class Optimizer(Protocol):
    """What a learner asks of its optimiser."""

    def step(self, rate: torch.Tensor) -> None:
        """One update of every parameter by its gradient, which each must have; ``rate []`` is the
        step size, on the parameters' device."""
        ...

    def state_dict(self) -> State:
        """What is remembered, by the parameter's name."""
        ...

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``.

        Raises:
            ValueError: it is another optimiser's.
        """
        ...


def make_optimizer(config: OptimizerConfig, network: nn.Module) -> Optimizer:
    """The optimiser a config describes."""
    parameters = dict(network.named_parameters())
    if config.name == "rmsprop":
        return NatureRMSprop(parameters, config.decay, config.epsilon)
    return Adam(parameters, config.epsilon)


class Adam:
    """Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1, with its betas of .9 and .999."""

    def __init__(self, parameters: dict[str, nn.Parameter], epsilon: float) -> None:
        self._epsilon = epsilon
        self._parameters: list[torch.Tensor] = list(parameters.values())
        self._steps = torch.zeros((), device=self._parameters[0].device)
        self._mean, self._square = Moments(parameters), Moments(parameters)

    @torch.no_grad()
    def step(self, rate: torch.Tensor) -> None:
        """One update of every parameter by its gradient; each must have one."""
        self._steps += 1
        torch._fused_adam_(
            self._parameters,
            _gradients(self._parameters),
            self._mean.values,
            self._square.values,
            [],
            [self._steps] * len(self._parameters),
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=self._epsilon,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> State:
        """The count of steps, and both moments by the parameter's name."""
        return {
            "step": self._steps,
            "exp_avg": self._mean.state_dict(),
            "exp_avg_sq": self._square.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``.

        Raises:
            ValueError: it is another optimiser's.
        """
        _check_keys(state, self.state_dict())
        self._steps.copy_(state["step"])
        self._mean.load_state_dict(state["exp_avg"])
        self._square.load_state_dict(state["exp_avg_sq"])


class NatureRMSprop:
    """Centered RMSProp with epsilon inside the root, as in DeepMind's Lua code of 2015 and
    Graves 2013 (arXiv 1308.0850, equations 38 to 41, without the momentum).

    ``step = lr * g / sqrt(E[g^2] - E[g]^2 + epsilon)``. torch's own RMSprop adds epsilon outside
    the root, which is another algorithm when epsilon is as large as Nature's.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float, epsilon: float) -> None:
        self._decay, self._epsilon = decay, epsilon
        self._parameters: list[torch.Tensor] = list(parameters.values())
        self._mean, self._square = Moments(parameters), Moments(parameters)

    @torch.no_grad()
    def step(self, rate: torch.Tensor) -> None:
        """One update of every parameter by its gradient; each must have one."""
        for parameter, gradient, mean, square in zip(
            self._parameters,
            _gradients(self._parameters),
            self._mean.values,
            self._square.values,
            strict=True,
        ):
            mean.lerp_(gradient, 1 - self._decay)
            square.mul_(self._decay).addcmul_(gradient, gradient, value=1 - self._decay)
            # of a gradient that never changes the variance is 0, give or take rounding
            variance = square.addcmul(mean, mean, value=-1).clamp_(min=0)
            root = variance.add_(self._epsilon).sqrt_()
            parameter.addcdiv_(gradient * rate, root, value=-1)

    def state_dict(self) -> State:
        """Both moments by the parameter's name."""
        return {"mean": self._mean.state_dict(), "mean_square": self._square.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``.

        Raises:
            ValueError: it is another optimiser's.
        """
        _check_keys(state, self.state_dict())
        self._mean.load_state_dict(state["mean"])
        self._square.load_state_dict(state["mean_square"])


class Moments:
    """A running mean for each parameter, 0 at first, laid out in memory as the parameter is."""

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        self._names = list(parameters)
        self.values = [torch.zeros_like(parameter.detach()) for parameter in parameters.values()]
        """In the parameters' order."""

    def state_dict(self) -> State:
        """By the parameter's name."""
        return dict(zip(self._names, self.values, strict=True))

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        for name, value in zip(self._names, self.values, strict=True):
            value.copy_(state[name])


def _gradients(parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    assert len(gradients) == len(parameters), "a parameter took no part in the loss"
    return gradients


def _check_keys(theirs: State, ours: State) -> None:
    if theirs.keys() != ours.keys():
        raise ValueError("the optimiser's state is another optimiser's")
