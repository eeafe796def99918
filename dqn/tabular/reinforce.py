"""REINFORCE with a small network: what was followed by more than usual is done more often."""

from pathlib import Path

import numpy as np
import torch

from dqn.config import OptimizerConfig
from dqn.learning.actor import Policy
from dqn.learning.optimizers import make_optimizer
from dqn.networks.q_network import QNetwork
from dqn.replay.buffer import Replay
from dqn.tabular.learner import SmallLearner
from dqn.tabular.players import EpsilonGreedy
from dqn.tabular.rows import Episode, Episodes
from dqn.types import F64, Array, State


class PolicyNetwork:
    """A network whose numbers are preferences, of which a softmax makes chances."""

    q_values = None
    """A preference says nothing of the return."""

    def __init__(self, network: QNetwork) -> None:
        self.network = network

    def preferences(self, stack: Array) -> F64:
        """``[N, A]``."""
        with torch.inference_mode():
            return self.logits(stack).double().numpy()

    def logits(self, stack: Array) -> torch.Tensor:
        """The same with its gradient."""
        z: torch.Tensor = self.network(torch.from_numpy(stack))  # [N, A, 1]
        return z.squeeze(2)

    def make_policy(self, generator: np.random.Generator) -> Policy:
        """The likeliest action, or any with probability epsilon."""
        return EpsilonGreedy(self.preferences, generator)

    def draw(self, folder: Path) -> None:
        """Thousands of weights are no picture."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights."""
        return dict(self.network.state_dict())

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """The counterpart of ``state_dict``."""
        self.network.load_state_dict(state)


def returns_to_go(episode: Episode, gamma: float) -> F64:
    """The discounted sum of the rewards from each step on, ``[L]``: Sutton and Barto 2018,
    equation 3.8.

    Behind a time limit there is more to come, and no value function to say how much: it is taken
    for the episode's mean reward, for ever.
    """
    returns = np.empty(len(episode.reward))
    ahead = 0.0 if episode.terminal else episode.reward.mean() / (1 - gamma)
    for t in reversed(range(len(returns))):
        returns[t] = ahead = episode.reward[t] + gamma * ahead
    return returns


def normalised(returns: F64) -> F64:
    """With mean 0 and variance 1; all 0 where all are alike, to rounding."""
    apart = returns - returns.mean()
    scaled: F64 = apart / (apart.std() + 1e-6)
    return scaled


class ReinforceLearner(SmallLearner):
    """Williams 1992, equation 11: ``- log pi(a|s) * return to go``, averaged over an episode, and
    a step of the optimiser for each. The returns are normalised, which is a baseline and a scale.
    """

    def __init__(
        self, policy: PolicyNetwork, replay: Replay, gamma: float, optimizer: OptimizerConfig
    ) -> None:
        self._optimizer = make_optimizer(optimizer, policy.network)
        super().__init__(policy, ("loss", "gradient_norm"), optimizer.learning_rate)
        self._policy = policy
        self._episodes = Episodes(replay)
        self._gamma = gamma

    def learn(self, updates: int) -> None:
        """Learn from the episodes that ended since the last call, unless no update is due."""
        if not updates:
            return
        for episode in self._episodes.ended():
            advantage = torch.from_numpy(normalised(returns_to_go(episode, self._gamma))).float()
            log_chances = self._policy.logits(episode.stack).log_softmax(1)  # [L, A]
            taken = log_chances.gather(1, torch.from_numpy(episode.action)[:, None]).squeeze(1)
            loss = -(advantage * taken).mean()
            self._policy.network.zero_grad()
            loss.backward()
            gradients = [p.grad for p in self._policy.network.parameters() if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(gradients)
            self._optimizer.step(torch.tensor(self.learning_rate))
            self.count({"loss": loss.item(), "gradient_norm": norm.item()})

    def center_on(self, states: torch.Tensor) -> None:
        """The network subtracts the mean of ``states [M, S, *frame]`` from what it sees."""
        self._policy.network.center_on(states)

    def state_dict(self) -> State:
        """As ever, the optimiser, and how far it has read."""
        return super().state_dict() | {
            "optimizer": self._optimizer.state_dict(),
            "episodes": self._episodes.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        super().load_state_dict(state)
        self._optimizer.load_state_dict(state["optimizer"])
        self._episodes.load_state_dict(state["episodes"])
