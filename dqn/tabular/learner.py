"""What the small methods' learners have in common: counts, means, and what they need not do."""

import torch

from dqn.learning.interfaces import Model
from dqn.learning.nonfinite import NonFiniteGuard
from dqn.types import State


class SmallLearner:
    """A learner of one model, which learns nothing: the random player's. Others add to it."""

    def __init__(self, model: Model, measures: tuple[str, ...], learning_rate: float) -> None:
        """``measures`` are what ``count`` is told of each update."""
        self._model = model
        self.learning_rate = learning_rate
        self.updates = 0
        self.nonfinite = NonFiniteGuard(torch.device("cpu"))
        self.converged = False
        self._sums = dict.fromkeys(measures, 0.0)
        self._summed = 0

    def learn(self, updates: int) -> None:
        """Make so many updates; this one makes none."""

    def count(self, measures: dict[str, float]) -> None:
        """Take note of an update, and of what there is to tell of it."""
        self.updates += 1
        self._summed += 1
        for name, value in measures.items():
            self._sums[name] += value

    def pop_means(self) -> dict[str, float | None]:
        """Mean of each measure over the updates since the last call."""
        n = self._summed
        means = {name: value / n if n else None for name, value in self._sums.items()}
        self._sums, self._summed = dict.fromkeys(self._sums, 0.0), 0
        return {"loss": None} | means

    def finite(self) -> bool:
        """Whether the model holds numbers only."""
        return all(bool(value.isfinite().all()) for value in self._model.state_dict().values())

    def sync_target(self) -> None:
        """There is no target network."""

    def center_on(self, states: torch.Tensor) -> None:
        """Nothing is subtracted from what a table sees."""

    def state_dict(self) -> State:
        """The model, the count of updates, and the sums not yet reported."""
        return {
            "online": self._model.state_dict(),
            "updates": self.updates,
            "converged": self.converged,
            "sums": self._sums,
            "summed": self._summed,
        }

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        self._model.load_state_dict(state["online"])
        self.updates, self.converged = state["updates"], state["converged"]
        self._sums, self._summed = dict(state["sums"]), state["summed"]
