"""What a run requires of a method's parts, DQN's or a tabular method's.

The training loop, sessions, metrics, checkpoints and evaluation use nothing else of them.
``factory`` makes DQN's parts, ``tabular.agent`` those of the other methods.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from dqn import envs
from dqn.config import Config
from dqn.learning.nonfinite import NonFiniteGuard
from dqn.types import F64, I64, Array, State

QValues = Callable[[torch.Tensor], torch.Tensor]
"""``state [B, S, *frame]`` -> ``[B, A]``."""


class Policy(Protocol):
    """Chooses actions."""

    def ready(self) -> bool:
        """Wait until it can act; False if the run was asked to stop meanwhile."""

    def act(self, stack: Array, epsilon: float | F64) -> I64:
        """Actions ``[N]`` for ``stack [N, S, *frame]``; each is random with probability
        ``epsilon``, a number or ``[N]``."""

    def begin(self, stack: Array, epsilon: float | F64) -> Callable[[], I64]:
        """``act`` in two parts: what is returned waits for the actions."""

    def state_dict(self) -> State:
        """What later actions depend on besides the model."""

    def load_state_dict(self, state: State) -> None: ...


MakePolicy = Callable[[np.random.Generator], Policy]
"""Makes a policy that follows the current model and draws from the generator."""


class Model(Protocol):
    """What is learned, saved and evaluated: a network or a table."""

    @property
    def q_values(self) -> QValues | None:
        """Its action values; None if it has preferences instead."""

    def make_policy(self, generator: np.random.Generator) -> Policy:
        """The policy to evaluate."""

    def draw(self, folder: Path) -> None:
        """Write a picture of the model into a run's folder, if it can be drawn.

        Raises:
            OSError: it cannot be written.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The tensors of ``model.safetensors``."""

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None: ...


MakeModel = Callable[[Config, envs.Spec, torch.device], Model]


class LearnerProtocol(Protocol):
    """A learner; its updates are made by ``Agent.learn`` (``factory``)."""

    learning_rate: float
    nonfinite: NonFiniteGuard

    @property
    def updates(self) -> int:
        """Updates made so far."""

    @property
    def converged(self) -> bool:
        """Whether further learning would change nothing, which ends the run."""

    def sync_target(self) -> None:
        """Update the target network, if there is one."""

    def center_on(self, states: torch.Tensor) -> None:
        """Subtract the mean of ``states [M, S, *frame]`` from every input (``network.center``)."""

    def pop_means(self) -> dict[str, float | None]:
        """Mean of each metric, ``loss`` among them, over the updates since the last call."""

    def finite(self) -> bool:
        """Whether all losses, gradients and weights have been finite."""

    def state_dict(self) -> State:
        """Everything learned, with the model under ``online``."""

    def load_state_dict(self, state: State) -> None: ...
