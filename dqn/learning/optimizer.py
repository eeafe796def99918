"""Base class of the optimizers: parameters, and running averages of their gradients.

Not ``torch.optim``: making one of its optimizers loads torch's compiler, seconds at every start,
and each step spends time on options that are not used here.
"""

from abc import ABC, abstractmethod

import torch
from torch import nn

from dqn.types import State

_NONNEGATIVE = {"step", "exp_avg_sq", "mean_square"}


class Optimizer(ABC):
    """The parameters of a network, and running averages (moments) of their gradients."""

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        self._named = parameters
        self._parameters: list[torch.Tensor] = list(parameters.values())
        self._state: State = {}

    def gradients(self) -> list[torch.Tensor]:
        """The gradients of a backward pass, which may be changed before ``step``."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        assert len(gradients) == len(self._parameters), "a parameter has no gradient"
        return gradients

    @abstractmethod
    def step(self, gradients: list[torch.Tensor], rate: torch.Tensor) -> None:
        """Update every parameter by what ``gradients`` returned; ``rate []`` is the learning rate,
        on the parameters' device."""

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
