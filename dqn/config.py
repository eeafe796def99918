"""Every setting, typed and validated. The one place where a default is written.

A field's docstring is its line in ``--help``. Lengths of time are in steps (one decision in one
environment, 4 emulator frames on Atari) unless the name says otherwise.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal


class ConfigError(ValueError):
    """What was typed or configured is wrong; the message is one sentence for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """A text of unknown origin as one line, without what a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@dataclass(frozen=True)
class EnvConfig:
    """Environment: the game as the agent meets it"""

    protocol: Literal["classic", "machado"] = "classic"
    """classic: a lost life is terminal, no sticky actions; machado: sticky actions (.25), no life
    information. Both begin with up to 30 no-ops."""
    full_action_set: bool = False
    """All 18 joystick actions instead of those the game uses."""
    max_episode_frames: int = 108_000
    """Time limit of an Atari episode, in emulator frames (30 minutes of play); a truncation."""
    reseed_steps: int = 10_000
    """An environment is seeded anew at its first episode end after this many of its own steps,
    which bounds how many recorded actions a continued run must play again."""
    threads: int = 0
    """Emulator threads (0: one for each core)."""


@dataclass(frozen=True)
class ReplayConfig:
    """Replay memory"""

    capacity: int = 1_000_000
    """Rows kept, over all environments; one frame a row (7,064 bytes on Atari)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the rows live (auto: with the learner)."""
    storage: Literal["plain", "compressed"] = "plain"
    """compressed: each frame packed by itself, a twentieth of the memory for some of the speed; on
    the CPU only."""
    n_step: int = 1
    """Rewards summed before bootstrapping."""
    gamma: float = 0.99
    """Discount per step."""
    clip_reward: bool | Literal["auto"] = "auto"
    """Clip rewards to [-1, 1] as they are stored (auto: on Atari only)."""
    sampler: Literal["uniform", "prioritized"] = "uniform"
    """prioritized: transitions with large errors are drawn more often."""
    alpha: float = 0.5
    """A prioritized row's chance is its priority to this power."""
    beta_start: float = 0.4
    """Its weight in the loss undoes the bias of the draw to this power (1: wholly)."""
    beta_end: float = 1.0
    """The power's final value."""
    beta_steps: int = 50_000_000
    """Steps of the straight line between the two, from the first step on."""


@dataclass(frozen=True)
class NetworkConfig:
    """Network"""

    torso: Literal["auto", "nature", "mlp"] = "auto"
    """auto: nature for 84x84 frames, else mlp."""
    hidden_units: int = 512
    """Width of the layer between the nature torso and the action values."""
    mlp_units: tuple[int, ...] = (128, 128)
    """Widths of the mlp torso's layers."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer"""

    name: Literal["adam", "rmsprop"] = "adam"
    """rmsprop is Nature's: centered, epsilon inside the root."""
    learning_rate: float = 6.25e-5
    """Step size."""
    epsilon: float = 1.5e-4
    """Added to Adam's root, or under RMSProp's (there in units of the mean loss, squared)."""
    decay: float = 0.95
    """Running-mean factor of RMSProp's two moments."""


@dataclass(frozen=True)
class LearnerConfig:
    """Learner"""

    batch_size: int = 32
    """Transitions per update."""
    update_period: int = 4
    """Steps per update."""
    loss: Literal["huber", "mse"] = "huber"
    """Of the temporal-difference error; huber clips the gradient at 1, as Nature does."""
    target_period: int = 10_000
    """Steps between moves of the target network."""
    target_tau: float = 1.0
    """How far the target moves towards the online network each time (1: a hard copy)."""
    max_gradient_norm: float | None = None
    """Scale the gradient down to this norm (null: never)."""
    max_gradient_value: float | None = None
    """Clip each element of the gradient to this size (null: never)."""


@dataclass(frozen=True)
class ExplorationConfig:
    """Exploration"""

    epsilon_start: float = 1.0
    """Probability of a random action until learning starts."""
    epsilon_end: float = 0.1
    """Its final value."""
    epsilon_decay_steps: int = 1_000_000
    """Steps of the straight line between the two."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation"""

    episodes: int = 30
    """Whole games in each evaluation, one in each of as many environments."""
    epsilon: float = 0.05
    """Probability of a random action while evaluating."""
    held_out_states: int = 512
    """States of a random player on which the mean of the greatest q-value is followed."""


@dataclass(frozen=True)
class Config:
    """Run"""

    game: str | None = None
    """Atari game (Breakout, space_invaders, ALE/Pong-v5) or another Gymnasium id (CartPole-v1)."""
    seed: int = 1
    """Root of every random draw."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the networks live (auto: the GPU if torch can use one)."""
    total_steps: int = 50_000_000
    """Length of the run; a finished run is extended by a larger one."""
    num_envs: int = 8
    """Environments stepped together."""
    learning_starts: int = 50_000
    """Steps of random play before the first update."""
    evaluate_period: int = 250_000
    """Steps between evaluations; there is one at the end too."""
    render: bool = False
    """Play one more episode at each evaluation, as pictures and a video."""
    checkpoints_dir: str = "checkpoints"
    """Where the runs' folders are."""
    checkpoint_minutes: float = 5.0
    """Minutes of wall time between checkpoints."""
    keep: int | Literal["all"] = 2
    """Checkpoints kept."""
    threads: int = 0
    """CPU threads of the learner (0: one for each core); equal bits need equal threads."""
    deterministic: bool = False
    """On a GPU: only operations that give equal bits each time, at some cost; the CPU's all do."""
    report_period: int = 5_000
    """Steps between points in TensorBoard and curves.png."""
    env: EnvConfig = EnvConfig()
    """Environment: the game as the agent meets it"""
    replay: ReplayConfig = ReplayConfig()
    """Replay memory"""
    network: NetworkConfig = NetworkConfig()
    """Network"""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer"""
    learner: LearnerConfig = LearnerConfig()
    """Learner"""
    exploration: ExplorationConfig = ExplorationConfig()
    """Exploration"""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation"""


NOT_IDENTITY = frozenset({"total_steps", "render", "keep", "checkpoint_minutes", "checkpoints_dir"})
"""Fields that may differ when a run is continued: none of them changes a bit of the training."""

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
    "env.max_episode_frames": (4, 2**31 - 1),
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
    "optimizer.learning_rate": (0, INFINITY),
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
    "evaluation.episodes": (1, 4096),
    "evaluation.epsilon": (0, 1),
    "evaluation.held_out_states": (1, 2**20),
}
"""The values a number may take, both ends included; one that may not be 0 is checked below."""

_POSITIVE = (
    "checkpoint_minutes",
    "optimizer.learning_rate",
    "optimizer.epsilon",
    "learner.target_tau",
    "learner.max_gradient_norm",
    "learner.max_gradient_value",
)


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every field by its dotted name, as typed on the command line: ``replay.capacity``, ..."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = value
    return flat


def differing_fields(ours: Config, theirs: Config) -> list[str]:
    """The fields of a run's identity in which two configs differ, as ``name: ours, not theirs``."""
    mine, other = flatten(ours), flatten(theirs)
    return [
        f"{name}: {mine[name]}, not {other[name]}"
        for name in mine
        if mine[name] != other[name] and name not in NOT_IDENTITY
    ]


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
    if config.replay.device == "cuda" and config.device == "cpu":
        raise ConfigError("replay.device is cuda while device is cpu; give both the same")
    if config.replay.storage == "compressed" and config.replay.device == "cuda":
        raise ConfigError(
            "replay.storage compressed works on the CPU only; set replay.device to cpu, or "
            "replay.storage to plain"
        )
    limits = ("max_gradient_norm", "max_gradient_value")
    if None not in [getattr(config.learner, name) for name in limits]:
        raise ConfigError(
            "learner.max_gradient_norm and learner.max_gradient_value are two ways to limit the "
            "gradient; set one of them to null"
        )
