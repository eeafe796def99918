"""The base classes of the learners in this package."""

from abc import abstractmethod

import torch

from dqn.learning.interfaces import Model
from dqn.learning.nonfinite import NonFiniteGuard
from dqn.replay.buffer import Replay
from dqn.tabular.rows import Episode, EpisodeReader
from dqn.types import State


class BaseLearner:
    """Counts updates and averages metrics. By itself it learns nothing, as method random needs."""

    def __init__(self, model: Model, metrics: tuple[str, ...], learning_rate: float) -> None:
        """``metrics`` are the names passed to ``count`` at each update."""
        self._model = model
        self.learning_rate = learning_rate
        self.updates = 0
        self.nonfinite = NonFiniteGuard(torch.device("cpu"))
        self.converged = False
        self._sums = dict.fromkeys(metrics, 0.0)
        self._summed = 0

    def learn(self, updates: int) -> None:
        """Learn from the replay memory if ``updates`` is not 0."""

    def count(self, metrics: dict[str, float]) -> None:
        """Count one update and add up its metrics."""
        self.updates += 1
        self._summed += 1
        for name, value in metrics.items():
            self._sums[name] += value

    def pop_means(self) -> dict[str, float | None]:
        n = self._summed
        means = {name: value / n if n else None for name, value in self._sums.items()}
        self._sums, self._summed = dict.fromkeys(self._sums, 0.0), 0
        return {"loss": None} | means

    def finite(self) -> bool:
        return all(bool(value.isfinite().all()) for value in self._model.state_dict().values())

    def sync_target(self) -> None:
        """Does nothing: there is no target network."""

    def center_on(self, states: torch.Tensor) -> None:
        """Does nothing: a table's observations are not centered."""

    def state_dict(self) -> State:
        return {
            "online": self._model.state_dict(),
            "updates": self.updates,
            "converged": self.converged,
            "sums": self._sums,
            "summed": self._summed,
        }

    def load_state_dict(self, state: State) -> None:
        self._model.load_state_dict(state["online"])
        self.updates, self.converged = state["updates"], state["converged"]
        self._sums, self._summed = dict(state["sums"]), state["summed"]


class EpisodicLearner(BaseLearner):
    """Learns from whole episodes, each once, after it has ended."""

    def __init__(
        self, model: Model, replay: Replay, metrics: tuple[str, ...], learning_rate: float
    ) -> None:
        super().__init__(model, metrics, learning_rate)
        self._episodes = EpisodeReader(replay)

    def learn(self, updates: int) -> None:
        """Learn from the episodes that ended since the last call, unless no update is due."""
        if updates:
            for episode in self._episodes.finished():
                self.learn_from(episode)

    @abstractmethod
    def learn_from(self, episode: Episode) -> None:
        """Make one update."""

    def state_dict(self) -> State:
        return super().state_dict() | {"episodes": self._episodes.state_dict()}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._episodes.load_state_dict(state["episodes"])
