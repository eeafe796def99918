"""Builds the agent of a tabular or policy-gradient method, as learning/factory.py does for DQN."""

import torch

from dqn import envs
from dqn.config import Config, ConfigError
from dqn.learning.factory import Agent, make_q_network, make_replay
from dqn.learning.interfaces import Model, Policy
from dqn.replay.buffer import Replay
from dqn.seeds import numpy_generator, torch_generator
from dqn.tabular.action_table import ActionTableLearner, best_value, chosen_value
from dqn.tabular.learner import BaseLearner
from dqn.tabular.policies import Softmax
from dqn.tabular.policy_gradient import PolicyGradientLearner
from dqn.tabular.reinforce import PolicyNetwork, ReinforceLearner
from dqn.tabular.states import make_states, random_policy_states
from dqn.tabular.table import PolicyTable, ValueTable


def make_model(config: Config, spec: envs.Spec, device: torch.device) -> Model:  # noqa: ARG001
    """The untrained model of a config for a game. It lives on the CPU, whatever the device.

    Raises:
        ConfigError: the method cannot be applied to this game.
    """
    if config.method == "reinforce":
        if spec.stack != 1:
            raise ConfigError(
                f"method reinforce takes single frames, but {spec.game} has stacks of "
                f"{spec.stack}; use --method dqn"
            )
        return PolicyNetwork(make_q_network(config, spec)[0])
    if config.method == "random":
        return ValueTable(random_policy_states(spec))
    states = make_states(config.tabular, spec)
    if config.method == "q_learning" or config.method == "sarsa":
        return ValueTable(states)
    if spec.game != envs.MAZE:
        raise ConfigError(
            "method policy_gradient treats every end of an episode as reaching the goal, which is "
            f"wrong for {spec.game}; use --method reinforce"
        )
    return PolicyTable(states)


def make_agent(config: Config, device: torch.device) -> Agent[BaseLearner]:
    """The agent of a config at the beginning of a run.

    Raises:
        ConfigError: the method cannot be applied to this game.
    """
    environment = envs.make(config, config.num_envs)
    model = make_model(config, environment.spec, device)
    replay = make_replay(config, environment.spec, torch_generator(config.seed, "replay"))
    learner = _make_learner(config, model, replay)
    generator = numpy_generator(config.seed, "actor")
    actor: Policy
    if isinstance(model, PolicyTable | PolicyNetwork):
        actor = Softmax(model.preferences, generator)
    else:
        actor = model.make_policy(generator)
    return Agent(environment, replay, model, learner, actor, learner.learn)


def _make_learner(config: Config, model: Model, replay: Replay) -> BaseLearner:
    rate, gamma = config.optimizer.learning_rate, config.replay.gamma
    if isinstance(model, PolicyNetwork):
        return ReinforceLearner(model, replay, gamma, config.optimizer)
    if isinstance(model, PolicyTable):
        return PolicyGradientLearner(model, replay, rate, config.tabular.policy_change)
    if isinstance(model, ValueTable) and config.method != "random":
        next_value = best_value if config.method == "q_learning" else chosen_value
        return ActionTableLearner(model, replay, next_value, gamma, rate)
    return BaseLearner(model, (), rate)
