"""Which package makes the parts of a method: ``learning`` for DQN, ``tabular`` for the others."""

import torch

from dqn import envs
from dqn.config import Config
from dqn.learning import factory
from dqn.learning.interfaces import Agent, LearnerProtocol, Model
from dqn.tabular import agent as tabular


def make_agent(config: Config, device: torch.device) -> Agent[LearnerProtocol]:
    """Environment, replay memory, model, learner and actor of a config, at the start of a run."""
    if config.method == "dqn":
        return factory.make_agent(config, device)
    return tabular.make_agent(config, device)


def make_model(config: Config, spec: envs.Spec, device: torch.device) -> Model:
    """The untrained model of a config for an environment."""
    if config.method == "dqn":
        return factory.make_model(config, spec, device)
    return tabular.make_model(config, spec, device)
