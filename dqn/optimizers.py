"""The optimisers: Adam as torch has it, RMSProp as Nature had it, and their state by name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from dqn.config import OptimizerConfig
from dqn.types import State


class NatureRMSprop(torch.optim.Optimizer):
    """Centered RMSProp with epsilon inside the root, as in DeepMind's Lua code of 2015 and
    Graves 2013 (arXiv 1308.0850, equations 38 to 41, without the momentum).

    ``step = lr * g / sqrt(E[g^2] - E[g]^2 + epsilon)``. torch's own RMSprop adds epsilon outside
    the root, which is another algorithm when epsilon is as large as Nature's.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, decay: float, epsilon: float
    ) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None, "no closures"
        for group in self.param_groups:
            decay = group["decay"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                    state["mean_square"] = torch.zeros_like(parameter)
                mean, mean_square = state["mean"], state["mean_square"]
                mean.lerp_(gradient, 1 - decay)
                mean_square.mul_(decay).addcmul_(gradient, gradient, value=1 - decay)
                # of a gradient that never changes the variance is 0, give or take rounding
                variance = mean_square.addcmul(mean, mean, value=-1).clamp_(min=0)
                root = variance.add_(group["epsilon"]).sqrt_()
                parameter.addcdiv_(gradient, root, value=-group["lr"])


ADAM_REMEMBERS = {"step", "exp_avg", "exp_avg_sq"}


def make_optimizer(config: OptimizerConfig, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser a config describes."""
    if config.name == "rmsprop":
        return NatureRMSprop(
            network.parameters(), config.learning_rate, config.decay, config.epsilon
        )
    return torch.optim.Adam(
        network.parameters(), config.learning_rate, eps=config.epsilon, fused=True
    )


def optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> State:
    """What the optimiser remembers of each parameter, by the parameter's name."""
    return {
        f"{name}.{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, network: nn.Module, state: State
) -> None:
    """The counterpart of ``optimizer_state``.

    Raises:
        ValueError: it is another optimiser's.
    """
    ours = {"mean", "mean_square"} if isinstance(optimizer, NatureRMSprop) else ADAM_REMEMBERS
    if not ours >= {name.rsplit(".", 1)[1] for name in state}:
        raise ValueError("the optimiser's state is another optimiser's")
    parameters = dict(network.named_parameters())
    optimizer.state.clear()
    for full_name, value in state.items():
        name, key = full_name.rsplit(".", 1)
        parameter = parameters[name]
        remembered: Any = value.to(parameter.device)
        if value.shape == parameter.shape:
            # as the parameter lies in memory (channels last), which decides the kernel and the bits
            remembered = torch.empty_like(parameter).copy_(value)
        optimizer.state[parameter][key] = remembered
