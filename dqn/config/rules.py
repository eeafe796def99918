"""Settings that are refused: they contradict each other, would have no effect, or do not exist."""

import difflib
from collections.abc import Collection, Iterator
from typing import Any

from dqn.config.fields import ConfigError, SettingError
from dqn.config.words import as_typed, shown

Flat = dict[str, Any]
"""Settings by their dotted names."""

_METHOD_SECTIONS = ("replay.", "network.", "values.", "optimizer.", "learner.", "tabular.")
_REWARDS = ("replay.gamma", "replay.clip_reward", "replay.shape_reward")
_TABLE = ("optimizer.learning_rate", "learner.update_period", "tabular.limits", "tabular.bins")

USED_BY_METHOD: dict[str, tuple[str, ...]] = {
    "dqn": ("replay.", "network.", "values.", "optimizer.", "learner."),
    "random": (),
    "q_learning": (*_TABLE, *_REWARDS),
    "sarsa": (*_TABLE, *_REWARDS),
    "policy_gradient": (*_TABLE, "tabular.policy_change"),
    "reinforce": (*_REWARDS, "network.", "optimizer.", "learner.update_period"),
}
"""Prefixes of the settings that a method uses in those sections; it uses all other sections."""

_CONVOLUTIONAL = ("auto", "nature", "nips", "data_efficient", "patches", "impala")
_BETA = ("replay.beta_start", "replay.beta_end", "replay.beta_steps")
_TAUS = ("values.num_taus", "values.num_policy_taus", "values.num_cosines")
_MUNCHAUSEN = tuple(f"learner.munchausen_{name}" for name in ("alpha", "temperature", "clip_min"))

USED_WITH: tuple[tuple[str, tuple[Any, ...], tuple[str, ...]], ...] = (
    ("replay.sampler", ("prioritized",), ("replay.alpha", *_BETA)),
    ("network.torso", _CONVOLUTIONAL, ("network.hidden_units",)),
    ("network.torso", ("auto", "mlp"), ("network.mlp_units",)),
    ("network.torso", ("impala",), ("network.width", "network.pool", "network.spectral_norm")),
    ("network.noisy", (True,), ("network.noisy_sigma",)),
    ("values.kind", ("categorical",), ("values.atoms", "values.v_min", "values.v_max")),
    ("values.kind", ("quantile",), ("values.quantiles",)),
    ("values.kind", ("implicit_quantile",), _TAUS),
    ("values.kind", ("expected", "quantile", "implicit_quantile"), ("values.kappa",)),
    ("learner.loss", ("huber",), ("values.kappa",)),
    ("values.kind", ("expected",), ("learner.loss",)),
    ("learner.target_policy", ("munchausen",), _MUNCHAUSEN),
    ("optimizer.name", ("rmsprop",), ("optimizer.decay",)),
)
"""A setting, and the values with which other settings have an effect."""

_STACK = 4
_INT64_MAX, _FLOAT32_MAX = 2**63 - 1, 3.4028234663852886e38


def check(config: Flat, default: Flat) -> None:
    """Refuse settings that contradict each other or have no effect.

    Raises:
        SettingError: one sentence: what, where, what would be right.
    """
    for wrong in (
        _too_large, _wrong_sizes, _wrong_method, _wrong_reinforce, _no_effect, _wrong_pairs,
    ):  # fmt: skip
        for sentence in wrong(config, default):
            raise SettingError(sentence)


def _too_large(config: Flat, _: Flat) -> Iterator[str]:
    for name, value in config.items():
        limit = _INT64_MAX if isinstance(value, int) else _FLOAT32_MAX
        if isinstance(value, int | float) and value > limit:
            yield f"{name} is too large; {limit:g} is the most"


def _wrong_sizes(config: Flat, _: Flat) -> Iterator[str]:
    envs, n_step, capacity = config["num_envs"], config["replay.n_step"], config["replay.capacity"]
    rows, needed = capacity // envs, n_step + _STACK + 1
    if rows < needed:
        yield (
            f"replay.capacity of {capacity:,} leaves {rows} rows for each of {envs} environments; "
            f"with an n_step of {n_step} each needs at least {needed}"
        )
    actors = config["actors"]
    if actors and envs % actors:
        yield (
            f"num_envs of {envs} is not a multiple of the {actors} actors that share them; try "
            f"--num-envs {max(1, round(envs / actors)) * actors}"
        )
    period = config["learner.target_period"]
    if config["method"] == "dqn" and config["learner.target_tau"] == 1 and period < envs:
        yield (
            f"learner.target_period of {period} is below num_envs of {envs}, the steps taken at "
            f"once; set it to {envs} or more, or learner.target_tau below 1"
        )
    first, starts = envs * (n_step + 1), config["learning_starts"]
    if starts < first:
        yield (
            f"learning_starts of {starts} is too early: with {envs} environments and an n_step of "
            f"{n_step} the first transition is complete at step {first}"
        )


def _wrong_method(config: Flat, default: Flat) -> Iterator[str]:
    method, rate = config["method"], config["optimizer.learning_rate"]
    used = (*USED_BY_METHOD[method], "replay.capacity", "replay.device")
    for name, value in config.items():
        unused = name.startswith(_METHOD_SECTIONS) and not name.startswith(used)
        if unused and value != default[name]:
            yield f"{name} has no effect with method {method}; do not set it"
    if method != "dqn" and config["device"] != "cpu":
        yield f"method {method} runs on the CPU; set device to cpu"
    if method != "dqn" and config["precision"] not in ("auto", "float32"):
        yield f"precision {config['precision']} has no effect with method {method}; do not set it"
    if method != "dqn" and config["actors"]:
        yield f"actors has no effect with method {method}; do not set it"
    on_policy = method in ("policy_gradient", "reinforce")
    if on_policy and config["num_envs"] != 1:
        yield f"method {method} learns from one episode at a time; set num_envs to 1"
    epsilons = (config["exploration.epsilon_start"], config["exploration.epsilon_end"])
    if on_policy and epsilons != (0, 0):
        yield (
            f"method {method} is on-policy and its policy explores by itself; set "
            "exploration.epsilon_start and exploration.epsilon_end to 0"
        )
    if method in ("q_learning", "sarsa") and rate > 1:
        yield (
            f"optimizer.learning_rate of {rate:g} makes a table diverge; method {method} needs 1 "
            "or less"
        )
    if method == "random" and (*epsilons, config["evaluation.epsilon"]) != (1, 1, 1):
        yield (
            "method random always plays at random; set exploration.epsilon_start, "
            "exploration.epsilon_end and evaluation.epsilon to 1"
        )


def _wrong_reinforce(config: Flat, _: Flat) -> Iterator[str]:
    if config["method"] != "reinforce":
        return
    if config["network.noisy"]:
        yield (
            "network.noisy is not for method reinforce, whose policy explores by itself; do not "
            "set it"
        )
    if config["network.dueling"]:
        yield (
            "network.dueling has no effect with method reinforce, whose softmax ignores a state's "
            "value; do not set it"
        )
    if config["replay.gamma"] == 1:
        yield (
            "replay.gamma of 1 does not work with method reinforce, which assumes that a truncated "
            "episode continues forever at its mean reward; set it below 1"
        )


def _no_effect(config: Flat, default: Flat) -> Iterator[str]:
    for other, values, names in USED_WITH:
        right, actual = " or ".join(map(shown, values)), shown(config[other])
        for name in names:
            if config[name] != default[name] and config[other] not in values:
                yield (
                    f"{name} has no effect unless {other} is {right}, and it is {actual}; change "
                    f"that, or do not set {name}"
                )
    for name in ("round_length", "lag", "threads"):
        name = f"distributed.{name}"
        if config[name] != default[name] and not config["actors"]:
            yield f"{name} has no effect without actors; set actors too, or do not set {name}"
    if config["tabular.bins"] != default["tabular.bins"] and not config["tabular.limits"]:
        yield ("tabular.bins has no effect without tabular.limits; set those too, or do not set it")


def _wrong_pairs(config: Flat, _: Flat) -> Iterator[str]:
    device, replay_device = config["device"], config["replay.device"]
    if (device, replay_device) == ("cpu", "cuda"):
        yield "replay.device is cuda, but device is cpu; use the same for both"
    if config["cuda_graphs"] is True and "cpu" in (device, replay_device):
        yield (
            "cuda_graphs is true, but device or replay.device is cpu; set both to cuda, or "
            "cuda_graphs to auto"
        )
    if config["replay.storage"] == "compressed" and replay_device == "cuda":
        yield (
            "replay.storage compressed works on the CPU only; set replay.device to cpu, or "
            "replay.storage to plain"
        )
    low, high = config["values.v_min"], config["values.v_max"]
    if low >= high:
        yield f"values.v_min of {low:g} must be below values.v_max of {high:g}"
    start, end = config["replay.beta_start"], config["replay.beta_end"]
    if start > end:
        yield f"replay.beta_start of {start:g} must not be above replay.beta_end of {end:g}"
    constant = config["optimizer.learning_rate_end"] is None
    if constant != (config["optimizer.learning_rate_decay_steps"] == 0):
        yield (
            "optimizer.learning_rate_end and optimizer.learning_rate_decay_steps go together; set "
            "both or neither"
        )
    if config["exploration.spread"] > 0 and config["num_envs"] == 1:
        yield (
            "exploration.spread needs several environments; set num_envs to 2 or more, or do not "
            "set it"
        )


ELSEWHERE = {
    "lr": "optimizer.learning_rate",
    "env": "game", "env_id": "game", "env_name": "game",
    "timesteps": "total_steps", "total_timesteps": "total_steps",
    "n_envs": "num_envs", "min_replay_history": "learning_starts",
    "buffer_size": "replay.capacity", "memory_size": "replay.capacity",
    "batch_size": "learner.batch_size",
    "train_freq": "learner.update_period", "train_frequency": "learner.update_period",
    "update_horizon": "replay.n_step",
    "target_update_interval": "learner.target_period",
    "target_network_frequency": "learner.target_period",
    "target_update_period": "learner.target_period",
    "start_e": "exploration.epsilon_start", "end_e": "exploration.epsilon_end",
    "exploration_initial_eps": "exploration.epsilon_start",
    "exploration_final_eps": "exploration.epsilon_end",
    "exploration_fraction": "exploration.epsilon_decay_steps",
    "epsilon_train": "exploration.epsilon_end", "epsilon_eval": "evaluation.epsilon",
    "eval_freq": "evaluate_period", "tau": "learner.target_tau",
}  # fmt: skip
"""What other programs (CleanRL, Stable-Baselines3, Dopamine) call our settings."""


def unknown(name: str, known: Collection[str], written: str, where: str = "") -> ConfigError:
    """The error for a name that is not a setting's; it suggests the one that was meant."""
    spell = str if written == name else as_typed
    what = "setting" if written == name else "option"
    if name in ELSEWHERE and ELSEWHERE[name] in known:
        return ConfigError(f"unknown {what} {written}{where}; here it is {spell(ELSEWHERE[name])}")
    by_key = {key: whole for whole in known for key in (whole.rpartition(".")[2], whole)}
    wanted = (name, name.rpartition(".")[2])
    near = [n for w in wanted for n in difflib.get_close_matches(w, by_key, n=1, cutoff=0.7)]
    advice = f"did you mean {spell(by_key[near[0]])}?" if near else "--help lists all"
    return ConfigError(f"unknown {what} {written}{where}; {advice}")
