"""What a run asks of its method, whichever it is.

DQN's own parts are made in agent.py, those of the methods it grew out of in ``tabular/``. Loop,
session, metrics, checkpoints and evaluation know no more of either than what stands here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

from dqn import envs
from dqn.config import Config
from dqn.learning.actor import Policy
from dqn.learning.nonfinite import NonFiniteGuard
from dqn.replay.buffer import Replay
from dqn.types import State

QValues = Callable[[torch.Tensor], torch.Tensor]
"""``[B, S, *frame]`` -> ``[B, A]``."""


class Model(Protocol):
    """What a run learns, saves and plays by: a network, or a table."""

    @property
    def q_values(self) -> QValues | None:
        """Its action values; None if it holds preferences instead."""
        ...

    def make_policy(self, generator: np.random.Generator) -> Policy:
        """Somebody who plays as well as it knows."""
        ...

    def draw(self, folder: Path) -> None:
        """Leave a picture of it in a run's folder, if it is one that can be looked at.

        Raises:
            OSError: it cannot be written.
        """
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What ``model.safetensors`` holds."""
        ...

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """The counterpart of ``state_dict``; shapes and types must be those that it gives."""
        ...


MakeModel = Callable[[Config, envs.Spec, torch.device], Model]


class LearnerProtocol(Protocol):
    """What a run asks of a learner beside learning, which is ``Agent.learn``."""

    learning_rate: float
    nonfinite: NonFiniteGuard

    @property
    def updates(self) -> int:
        """How many there have been."""
        ...

    @property
    def converged(self) -> bool:
        """Whether more learning would change nothing: then the run ends."""
        ...

    def sync_target(self) -> None:
        """Move the target network, if there is one."""
        ...

    def center_on(self, states: torch.Tensor) -> None:
        """Subtract the mean of ``states [M, S, *frame]``; asked with ``network.center`` alone."""
        ...

    def pop_means(self) -> dict[str, float | None]:
        """Mean of each measure over the updates since the last call; ``loss`` is one of them."""
        ...

    def finite(self) -> bool:
        """Whether all was a number so far."""
        ...

    def state_dict(self) -> State:
        """What it remembers, the model under ``online``."""
        ...

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        ...


Learner_co = TypeVar("Learner_co", bound=LearnerProtocol, covariant=True)


@dataclass(frozen=True)
class Agent(Generic[Learner_co]):
    """What acts, remembers and learns."""

    environment: envs.Environment
    replay: Replay
    model: Model
    learner: Learner_co
    actor: Policy
    learn: Callable[[int], None]
    """Make so many updates."""
