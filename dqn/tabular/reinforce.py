"""REINFORCE with a small network: actions with above-average returns become more probable."""

from pathlib import Path

import numpy as np
import torch

from dqn.config import OptimizerConfig
from dqn.learning.interfaces import Policy
from dqn.learning.optimizers import make_optimizer
from dqn.networks.q_network import QNetwork
from dqn.replay.buffer import Replay
from dqn.tabular.learner import EpisodicLearner
from dqn.tabular.policies import EpsilonGreedy
from dqn.tabular.rows import Episode
from dqn.types import F64, Array, State


class PolicyNetwork:
    """A network whose outputs are the preferences (logits) of a softmax policy."""

    q_values = None  # preferences are no estimate of the return

    def __init__(self, network: QNetwork) -> None:
        self.network = network

    def preferences(self, stack: Array) -> F64:
        """``[N, A]``."""
        with torch.inference_mode():
            return self.logits(stack).double().numpy()

    def logits(self, stack: Array) -> torch.Tensor:
        """The preferences ``[N, A]`` with their gradient."""
        z: torch.Tensor = self.network(torch.from_numpy(stack))  # [N, A, 1]
        return z.squeeze(2)

    def make_policy(self, generator: np.random.Generator) -> Policy:
        """Epsilon-greedy on the preferences."""
        return EpsilonGreedy(self.preferences, generator)

    def draw(self, folder: Path) -> None:
        """Does nothing: a network has no table to draw."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        return dict(self.network.state_dict())

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.network.load_state_dict(state)


def returns_to_go(episode: Episode, gamma: float) -> F64:
    """The discounted sum of the rewards after each step, ``[L]``: Sutton and Barto 2018, eq. 3.8.

    After a time limit the return is unknown, and there is no value function to estimate it: the
    episode's mean reward is assumed to continue forever.
    """
    returns = np.empty(len(episode.reward))
    future = 0.0 if episode.terminal else episode.reward.mean() / (1 - gamma)
    for t in reversed(range(len(returns))):
        returns[t] = future = episode.reward[t] + gamma * future
    return returns


def normalized(returns: F64) -> F64:
    """Shifted and scaled to mean 0 and variance 1; (nearly) all 0 if all returns are equal."""
    centered = returns - returns.mean()
    scaled: F64 = centered / (centered.std() + 1e-6)
    return scaled


class ReinforceLearner(EpisodicLearner):
    """One optimizer step per episode on the mean of ``- log pi(a|s) * return to go``: Williams
    1992, equation 11. Normalizing the returns provides a baseline and a scale."""

    def __init__(
        self, policy: PolicyNetwork, replay: Replay, gamma: float, optimizer: OptimizerConfig
    ) -> None:
        self._optimizer = make_optimizer(optimizer, policy.network)
        super().__init__(policy, replay, ("loss", "gradient_norm"), optimizer.learning_rate)
        self._policy = policy
        self._gamma = gamma

    def learn_from(self, episode: Episode) -> None:
        advantage = torch.from_numpy(normalized(returns_to_go(episode, self._gamma))).float()
        log_probabilities = self._policy.logits(episode.stack).log_softmax(1)  # [L, A]
        action = torch.from_numpy(episode.action)[:, None]
        loss = -(advantage * log_probabilities.gather(1, action).squeeze(1)).mean()
        self._policy.network.zero_grad()
        loss.backward()
        gradients = self._optimizer.gradients()
        norm = torch.nn.utils.get_total_norm(gradients)
        self._optimizer.step(gradients, torch.tensor(self.learning_rate))
        self.count({"loss": loss.item(), "gradient_norm": norm.item()})

    def center_on(self, states: torch.Tensor) -> None:
        """Make the network subtract the mean of ``states [M, S, *frame]`` from its input."""
        self._policy.network.center_on(states)

    def state_dict(self) -> State:
        return super().state_dict() | {"optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._optimizer.load_state_dict(state["optimizer"])
