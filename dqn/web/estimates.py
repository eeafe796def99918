"""What a model makes of a stack of frames: the numbers behind the bars."""

from dataclasses import dataclass

import numpy as np
import torch

from dqn.learning.actor import QModel
from dqn.learning.interfaces import Model
from dqn.tabular.reinforce import PolicyNetwork
from dqn.tabular.table import PolicyTable, ValueTable
from dqn.types import F32, F64, Array


@dataclass(frozen=True)
class Estimate:
    """A number for each action."""

    kind: str
    """``value``, an estimate of the return, or ``preference``, the logit of a policy."""
    numbers: F64
    """``[A]``; minus infinity where the action is not allowed."""
    distribution: tuple[F32, F32] | None
    """The return's, if the model has one: K returns and their probabilities, each ``[A, K]``."""


def estimate(model: Model, stack: Array) -> Estimate:
    """The model's estimate for ``stack [1, S, *frame]``."""
    if isinstance(model, QModel):
        return _of_network(model, stack)
    assert isinstance(model, ValueTable | PolicyTable | PolicyNetwork), type(model)
    kind = "preference" if isinstance(model, PolicyTable | PolicyNetwork) else "value"
    return Estimate(kind, model.preferences(stack)[0], None)


def _of_network(model: QModel, stack: Array) -> Estimate:
    with torch.inference_mode():
        z = model.network(torch.from_numpy(stack).to(model.device))
        q, returns = model.values.q(z), model.values.returns(z)
    numbers = q[0].double().cpu().numpy()
    if returns is None:
        return Estimate("value", numbers, None)
    support, probability = (part[0].float().cpu().numpy().astype(np.float32) for part in returns)
    return Estimate("value", numbers, (support, probability))
