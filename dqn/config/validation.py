"""Which configs are none: numbers out of range, and settings that contradict each other."""

import math

from dqn.config import Config, ConfigError, flatten
from dqn.config.method_check import check_method
from dqn.config.part_check import check_parts

INFINITY = math.inf
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "total_steps": (1, INFINITY),
    "num_envs": (1, 4096),
    "learning_starts": (0, INFINITY),
    "evaluate_period": (1, INFINITY),
    "checkpoint_minutes": (0, INFINITY),
    "keep_checkpoints": (1, INFINITY),
    "threads": (0, 1024),
    "report_period": (1, INFINITY),
    "env.frame_size": (12, 210),
    "env.max_episode_frames": (4, 2**31 - 1),
    "env.max_episode_steps": (1, 2**31 - 1),
    "env.reseed_steps": (1, INFINITY),
    "env.threads": (0, 1024),
    "env.niceness": (0, 19),
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
    "values.atoms": (2, 1_000),
    "values.v_min": (-1e9, 1e9),
    "values.v_max": (-1e9, 1e9),
    "values.quantiles": (1, 10_000),
    "values.num_taus": (1, 10_000),
    "values.num_policy_taus": (1, 10_000),
    "values.num_cosines": (1, 10_000),
    "values.kappa": (0, INFINITY),
    "learner.munchausen_alpha": (0, 1),
    "learner.munchausen_temperature": (0, INFINITY),
    "learner.munchausen_clip_min": (-1e9, 0),
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
    "exploration.epsilon_off_step": (1, INFINITY),
    "exploration.spread": (0, INFINITY),
    "tabular.limits": (0, INFINITY),
    "tabular.bins": (2, 256),
    "tabular.policy_change": (0, INFINITY),
    "evaluation.episodes": (1, 4096),
    "evaluation.epsilon": (0, 1),
    "evaluation.held_out_states": (1, 2**20),
}
"""The values a number may take, both ends included."""

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
"""Of those the ones that may not be the least of them, 0."""


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
            enough = value > low if name in _POSITIVE else value >= low
            if not (enough and value <= high and math.isfinite(value)):
                raise ConfigError(f"{name} must be {_range(name)}, not {value}")
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


def _range(name: str) -> str:
    low, high = _RANGES[name]
    if high != INFINITY:
        return f"{'more than ' * (name in _POSITIVE)}{low:,} to {high:,}"
    return f"more than {low:,}" if name in _POSITIVE else f"{low:,} or more"


def _refuse_contradictions(config: Config) -> None:
    """Pairs of settings of which one would silently have no effect, or none would work."""
    check_method(config)
    check_parts(config)
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
    low, high = config.values.v_min, config.values.v_max
    if low >= high:
        raise ConfigError(f"values.v_min {low:g} must be below v_max {high:g}")
    if config.replay.beta_start > config.replay.beta_end:
        raise ConfigError(
            f"replay.beta_start {config.replay.beta_start:g} must not be above beta_end "
            f"{config.replay.beta_end:g}"
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
