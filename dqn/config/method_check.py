"""Which settings each method looks at: another method's are refused, and not passed over."""

from dqn.config import Config, ConfigError, flatten

_SECTIONS = ("replay.", "network.", "values.", "optimizer.", "learner.", "tabular.")
"""Of what is learned, and how; the rest of a config is any method's."""

_REWARDS = ("replay.gamma", "replay.clip_reward", "replay.shape_reward")
_TABLE = ("optimizer.learning_rate", "learner.update_period", "tabular.limits", "tabular.bins")

_READ: dict[str, tuple[str, ...]] = {
    "dqn": ("replay.", "network.", "values.", "optimizer.", "learner."),
    "random": (),
    "q_learning": (*_TABLE, *_REWARDS),
    "sarsa": (*_TABLE, *_REWARDS),
    "policy_gradient": (*_TABLE, "tabular.policy_change"),
    "reinforce": (*_REWARDS, "network.", "optimizer.", "learner.update_period"),
}
"""What a method reads in those sections: the beginnings of fields' names."""


def check_method(config: Config) -> None:
    """Refuse settings of another method than the config's, and what a small method cannot do.

    Raises:
        ConfigError: one sentence: what, where, what would be right.
    """
    method, default = config.method, flatten(Config())
    read = (*_READ[method], "replay.capacity", "replay.device")
    for name, value in flatten(config).items():
        if name.startswith(_SECTIONS) and not name.startswith(read) and value != default[name]:
            raise ConfigError(f"{name} is nothing that method {method} looks at; leave it")
    if method == "dqn":
        return
    if config.device != "cpu":
        raise ConfigError(f"method {method} works on the CPU; set device to cpu")
    if method in ("policy_gradient", "reinforce") and config.num_envs != 1:
        raise ConfigError(
            f"method {method} learns from one episode at a time, played by one policy; set "
            "num_envs to 1"
        )
    explores = config.exploration.epsilon_start, config.exploration.epsilon_end
    if method in ("policy_gradient", "reinforce") and explores != (0, 0):
        raise ConfigError(
            f"method {method} learns of the policy that plays, which explores by itself; set "
            "exploration.epsilon_start and epsilon_end to 0"
        )
    if method in ("q_learning", "sarsa") and config.optimizer.learning_rate > 1:
        raise ConfigError(
            f"optimizer.learning_rate of {config.optimizer.learning_rate:g} moves a table beyond "
            f"what was seen, and away for ever; method {method} needs 1 or less"
        )
    if method == "random":
        _check_random(config)
    if method == "reinforce":
        _check_reinforce(config)


def _check_random(config: Config) -> None:
    chances = config.exploration.epsilon_start, config.exploration.epsilon_end
    if (*chances, config.evaluation.epsilon) != (1, 1, 1):
        raise ConfigError(
            "method random always plays at random; set exploration.epsilon_start and epsilon_end "
            "and evaluation.epsilon to 1"
        )


def _check_reinforce(config: Config) -> None:
    if config.network.noisy:
        raise ConfigError(
            "network.noisy explores, and so does method reinforce by itself; leave it"
        )
    if config.replay.gamma == 1:
        raise ConfigError(
            "method reinforce takes what lies beyond a time limit for the mean reward for ever, "
            "which has no end with a replay.gamma of 1; set it below"
        )
