"""Which configs are none: numbers out of range, and settings that contradict each other."""

import math

from dqn.config import Config, ConfigError, NetworkConfig, flatten

INFINITY = math.inf
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "total_steps": (1, INFINITY),
    "num_envs": (1, 4096),
    "learning_starts": (0, INFINITY),
    "evaluate_period": (1, INFINITY),
    "checkpoint_minutes": (0, INFINITY),
    "keep": (1, INFINITY),
    "threads": (0, 1024),
    "report_period": (1, INFINITY),
    "env.frame_size": (12, 210),
    "env.max_episode_frames": (4, 2**31 - 1),
    "env.max_episode_steps": (1, 2**31 - 1),
    "env.reseed_steps": (1, INFINITY),
    "env.threads": (0, 1024),
    "replay.capacity": (1, INFINITY),
    "replay.n_step": (1, 1000),
    "replay.gamma": (0, 1),
    "replay.alpha": (0, 1),
    "replay.beta_start": (0, 1),
    "replay.beta_end": (0, 1),
    "replay.beta_steps": (0, INFINITY),
    "network.hidden_units": (1, 2**20),
    "network.mlp_units": (1, 2**20),
    "network.width": (1, 64),
    "network.pool": (0, 11),
    "network.noisy_sigma": (0, INFINITY),
    "values.atoms": (2, 10_000),
    "values.v_min": (-1e9, 1e9),
    "values.v_max": (-1e9, 1e9),
    "values.quantiles": (1, 10_000),
    "values.samples": (1, 10_000),
    "values.policy_samples": (1, 10_000),
    "values.cosines": (1, 10_000),
    "values.kappa": (0, INFINITY),
    "learner.munchausen_alpha": (0, 1),
    "learner.munchausen_temperature": (0, INFINITY),
    "learner.munchausen_low": (-1e9, 0),
    "optimizer.learning_rate": (0, INFINITY),
    "optimizer.learning_rate_end": (0, INFINITY),
    "optimizer.learning_rate_decay_steps": (0, INFINITY),
    "optimizer.epsilon": (0, INFINITY),
    "optimizer.decay": (0, 1),
    "learner.batch_size": (1, 2**20),
    "learner.update_period": (1, INFINITY),
    "learner.target_period": (1, INFINITY),
    "learner.target_tau": (0, 1),
    "learner.max_gradient_norm": (0, INFINITY),
    "learner.max_gradient_value": (0, INFINITY),
    "exploration.epsilon_start": (0, 1),
    "exploration.epsilon_end": (0, 1),
    "exploration.epsilon_decay_steps": (0, INFINITY),
    "exploration.spread": (0, INFINITY),
    "tabular.limits": (0, INFINITY),
    "tabular.bins": (2, 256),
    "tabular.policy_change": (0, INFINITY),
    "evaluation.episodes": (1, 4096),
    "evaluation.epsilon": (0, 1),
    "evaluation.held_out_states": (1, 2**20),
}
"""The values a number may take, both ends included; one that may not be 0 is checked below."""

_POSITIVE = (
    "values.kappa",
    "learner.munchausen_temperature",
    "checkpoint_minutes",
    "optimizer.learning_rate",
    "optimizer.epsilon",
    "learner.target_tau",
    "learner.max_gradient_norm",
    "learner.max_gradient_value",
    "tabular.limits",
)

_OF_REWARDS = ("replay.gamma", "replay.clip_reward", "replay.shape_reward")
_OF_DRAWS = tuple(
    f"replay.{field}"
    for field in ("storage", "n_step", "sampler", "alpha", "beta_start", "beta_end", "beta_steps")
)
_OF_ADAM = ("optimizer.name", "optimizer.epsilon", "optimizer.decay")
_OF_RATES = tuple(
    f"optimizer.{field}"
    for field in ("learning_rate", "learning_rate_end", "learning_rate_decay_steps")
)
_OF_TARGETS = ("learner.loss", "learner.policy", "learner.munchausen_", "learner.target_")
_OF_GRADIENTS = ("learner.max_gradient_norm", "learner.max_gradient_value")
_OF_DEEP_VALUES = ("values.", "learner.batch_size", *_OF_DRAWS, *_OF_TARGETS)
_OF_NETWORKS = ("network.", *_OF_ADAM, *_OF_GRADIENTS)
_OF_TABLES = ("tabular.limits", "tabular.bins")
_CHANGE = "tabular.policy_change"

_UNREAD: dict[str, tuple[str, ...]] = {
    "dqn": (*_OF_TABLES, _CHANGE),
    "random": (
        *(*_OF_DEEP_VALUES, *_OF_NETWORKS, *_OF_TABLES, *_OF_REWARDS, *_OF_RATES, _CHANGE),
        "learner.update_period",
    ),
    "q_learning": (*_OF_DEEP_VALUES, *_OF_NETWORKS, _CHANGE),
    "sarsa": (*_OF_DEEP_VALUES, *_OF_NETWORKS, _CHANGE),
    "policy_gradient": (*_OF_DEEP_VALUES, *_OF_NETWORKS, *_OF_REWARDS),
    "reinforce": (
        *(*_OF_DEEP_VALUES, *_OF_GRADIENTS, *_OF_TABLES, _CHANGE),
        "network.noisy",
    ),
}
"""What a method does not look at: the beginnings of fields' names."""


def validate(config: Config) -> None:
    """Refuse values out of range and contradictory pairs.

    Raises:
        ConfigError: one sentence: what, where, what would be right.
    """
    flat = flatten(config)
    for name, (low, high) in _RANGES.items():
        values = flat[name] if isinstance(flat[name], tuple) else (flat[name],)
        for value in values:
            if isinstance(value, str) or value is None:
                continue
            if not low <= value <= high or not math.isfinite(value):
                limit = "or more" if high == INFINITY else f"to {high:,}"
                raise ConfigError(f"{name} must be {low:,} {limit}, not {value}")
            if value == 0 and name in _POSITIVE:
                raise ConfigError(f"{name} must be more than 0")
    rows, stack = config.replay.capacity // config.num_envs, 4
    if rows < config.replay.n_step + stack + 1:
        raise ConfigError(
            f"replay.capacity of {config.replay.capacity:,} leaves {rows} rows for each of "
            f"{config.num_envs} environments; with n_step {config.replay.n_step} each needs at "
            f"least {config.replay.n_step + stack + 1}"
        )
    if config.learning_starts < config.num_envs * (config.replay.n_step + 1):
        raise ConfigError(
            f"learning_starts of {config.learning_starts} comes before the first transition is "
            f"whole; {config.num_envs} environments need "
            f"{config.num_envs * (config.replay.n_step + 1)}"
        )
    _refuse_contradictions(config)


def _refuse_contradictions(config: Config) -> None:
    """Pairs of settings of which one would silently have no effect, or none would work."""
    _refuse_unread(config)
    network, values = config.network, config.values
    if config.replay.device == "cuda" and config.device == "cpu":
        raise ConfigError("replay.device is cuda while device is cpu; give both the same")
    if config.cuda_graphs is True and "cpu" in (config.device, config.replay.device):
        raise ConfigError(
            "cuda_graphs is true, and needs device and replay.device to be cuda; leave them, or "
            "set cuda_graphs to auto"
        )
    if config.replay.storage == "compressed" and config.replay.device == "cuda":
        raise ConfigError(
            "replay.storage compressed works on the CPU only; set replay.device to cpu, or "
            "replay.storage to plain"
        )
    if values.v_min >= values.v_max:
        raise ConfigError(f"values.v_min {values.v_min:g} must be below v_max {values.v_max:g}")
    for name in ("width", "pool", "spectral_norm"):
        if network.torso != "impala" and getattr(network, name) != getattr(NetworkConfig, name):
            raise ConfigError(
                f"network.{name} is the impala torso's; set network.torso to impala, or leave it"
            )
    if values.kind != "expected" and config.learner.loss != "huber":
        raise ConfigError(
            f"learner.loss {config.learner.loss} is for expected action values; {values.kind} ones "
            "have a loss of their own"
        )
    optimizer = config.optimizer
    if (optimizer.learning_rate_end is None) != (optimizer.learning_rate_decay_steps == 0):
        raise ConfigError(
            "optimizer.learning_rate_end and optimizer.learning_rate_decay_steps go together; set "
            "both, or neither"
        )
    if config.exploration.spread and config.num_envs == 1:
        raise ConfigError(
            "exploration.spread tells environments apart; set num_envs to 2 or more, or leave it"
        )
    limits = ("max_gradient_norm", "max_gradient_value")
    if None not in [getattr(config.learner, name) for name in limits]:
        raise ConfigError(
            "learner.max_gradient_norm and learner.max_gradient_value are two ways to limit the "
            "gradient; set one of them to null"
        )


def _refuse_unread(config: Config) -> None:
    """Settings of another method than the config's, and what the small methods cannot do."""
    unread, method = _UNREAD[config.method], config.method
    default = flatten(Config())
    for name, value in flatten(config).items():
        if name.startswith(unread) and value != default[name]:
            raise ConfigError(f"{name} is nothing that method {method} looks at; leave it")
    if method == "dqn":
        return
    if config.device != "cpu" or config.replay.device == "cuda":
        raise ConfigError(f"method {method} works on the CPU; set device to cpu")
    if method in ("policy_gradient", "reinforce") and config.num_envs != 1:
        raise ConfigError(
            f"method {method} learns from one episode at a time, played by one policy; set "
            "num_envs to 1"
        )
    if method == "reinforce" and config.replay.gamma == 1:
        raise ConfigError(
            "method reinforce takes what lies beyond a time limit for the mean reward for ever, "
            "which has no end with a replay.gamma of 1; set it below"
        )
    chances = config.exploration.epsilon_start, config.exploration.epsilon_end
    if method == "random" and (*chances, config.evaluation.epsilon) != (1, 1, 1):
        raise ConfigError(
            "method random always plays at random; set exploration.epsilon_start and epsilon_end "
            "and evaluation.epsilon to 1"
        )
