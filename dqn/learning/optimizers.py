"""Optimizers: Adam, and RMSProp as DeepMind's Nature DQN had it."""

import logging

import torch
from torch import nn

from dqn.config import OptimizerConfig
from dqn.learning.flat_adam import BETAS, FlatAdam, compile_kernel
from dqn.learning.optimizer import Optimizer

log = logging.getLogger("dqn")


class Adam(Optimizer):
    """Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1, by torch's fused kernel."""

    def __init__(self, parameters: dict[str, nn.Parameter], epsilon: float) -> None:
        super().__init__(parameters)
        self._epsilon = epsilon
        self._steps = self._state["step"] = torch.zeros((), device=self._parameters[0].device)
        self._mean, self._square = self._add_moment("exp_avg"), self._add_moment("exp_avg_sq")

    def step(self, gradients: list[torch.Tensor], rate: torch.Tensor) -> None:
        with torch.no_grad():
            self._steps += 1
            steps = [self._steps] * len(self._parameters)
            torch._fused_adam_(
                self._parameters, gradients, self._mean, self._square, [], steps,
                lr=rate, beta1=BETAS[0], beta2=BETAS[1], eps=self._epsilon,
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

    def step(self, gradients: list[torch.Tensor], rate: torch.Tensor) -> None:
        with torch.no_grad():
            mean, square = self._mean, self._square
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
    if _on_gpu(network):
        try:
            kernel = compile_kernel()
        except (AttributeError, ImportError, OSError, RuntimeError) as error:
            log.warning("Adam's kernel cannot be compiled (%s); torch's Adam is slower.", error)
        else:
            return FlatAdam(parameters, config.epsilon, kernel)
    return Adam(parameters, config.epsilon)


def _on_gpu(network: nn.Module) -> bool:
    return next(network.parameters()).is_cuda
