"""From a config to the parts of a small method, which stand where DQN's stand in a run."""

import torch

from dqn import envs
from dqn.config import Config, ConfigError
from dqn.learning.actor import Policy
from dqn.learning.factory import make_q_network, make_replay
from dqn.learning.interfaces import Agent, Model
from dqn.replay.buffer import Replay
from dqn.seeds import numpy_generator, torch_generator
from dqn.tabular.action_table import ActionTableLearner, best_value, chosen_value
from dqn.tabular.learner import SmallLearner
from dqn.tabular.players import Softmax
from dqn.tabular.policy_gradient import PolicyGradientLearner
from dqn.tabular.reinforce import PolicyNetwork, ReinforceLearner
from dqn.tabular.states import make_states, one_state
from dqn.tabular.table import PolicyTable, ValueTable


def make_model(config: Config, spec: envs.Spec, device: torch.device) -> Model:  # noqa: ARG001
    """The model of a config for a game, before anything was learned; on the CPU, wherever else
    others are.

    Raises:
        ConfigError: no such table can be made of the game.
    """
    if config.method == "reinforce":
        if spec.stack != 1:
            raise ConfigError(
                f"method reinforce looks at one frame at a time, and {spec.game} is shown in "
                f"stacks of {spec.stack}; use --method dqn"
            )
        return PolicyNetwork(make_q_network(config, spec)[0])
    if config.method == "random":
        return ValueTable(one_state(spec))
    states = make_states(config.tabular, spec)
    if config.method == "q_learning" or config.method == "sarsa":
        return ValueTable(states)
    if spec.game != envs.MAZE:
        raise ConfigError(
            f"method policy_gradient takes every end for the goal, which those of {spec.game} are "
            "not; use --method reinforce"
        )
    return PolicyTable(states)


def make_agent(config: Config, device: torch.device) -> Agent[SmallLearner]:
    """Every part of a config, at the beginning of a run.

    Raises:
        ConfigError: no such table can be made of the game.
    """
    environment = envs.make(config, config.num_envs)
    model = make_model(config, environment.spec, device)
    draws = torch_generator(config.seed, "replay")
    replay = make_replay(config, environment.spec, draws)
    learner = make_learner(config, model, replay)
    generator = numpy_generator(config.seed, "actor")
    actor: Policy
    if isinstance(model, PolicyTable | PolicyNetwork):
        actor = Softmax(model.preferences, generator)
    else:
        actor = model.make_policy(generator)
    return Agent(environment, replay, model, learner, actor, learner.learn)


def make_learner(config: Config, model: Model, replay: Replay) -> SmallLearner:
    """The learner of a config's method, for its model."""
    rate, gamma = config.optimizer.learning_rate, config.replay.gamma
    if isinstance(model, PolicyNetwork):
        return ReinforceLearner(model, replay, gamma, config.optimizer)
    if isinstance(model, PolicyTable):
        return PolicyGradientLearner(model, replay, rate, config.tabular.policy_change)
    if isinstance(model, ValueTable) and config.method != "random":
        next_value = best_value if config.method == "q_learning" else chosen_value
        return ActionTableLearner(model, replay, next_value, gamma, rate)
    return SmallLearner(model, (), rate)
