"""The whole configuration of a run, how it is built, and what makes two of them the same run."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar, cast

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dqn.config import rules
from dqn.config.fields import (
    ConfigError,
    Device,
    Folder,
    Games,
    Seed,
    SettingError,
    Threads,
    as_typed,
    validated,
)
from dqn.config.sections import (
    EnvConfig,
    EvaluationConfig,
    ExplorationConfig,
    LearnerConfig,
    NetworkConfig,
    OptimizerConfig,
    ReplayConfig,
    TabularConfig,
    ValuesConfig,
)

T = TypeVar("T")


@validated(frozen=True)
class Config:
    """Run"""

    game: Annotated[str, "GAME"] | None = None
    """Atari game (Breakout, space_invaders, ALE/Pong-v5) or another Gymnasium id (CartPole-v1)."""
    method: Literal["dqn", "random", "q_learning", "sarsa", "policy_gradient", "reinforce"] = "dqn"
    """Deep Q-network; random play; a table of action values (q_learning, sarsa) or of action
    preferences (policy_gradient); a policy network (reinforce)."""
    seed: Seed = 1
    """Seed of every random generator."""
    device: Device = "auto"
    """Device of the networks (auto: the GPU if PyTorch can use one)."""
    total_steps: PositiveInt = 50_000_000
    """Length of the run; a larger value extends a finished run."""
    num_envs: Games = 8
    """Environments stepped in parallel."""
    learning_starts: NonNegativeInt = 50_000
    """Steps of random play before the first update."""
    evaluate_period: PositiveInt = 250_000
    """Steps between evaluations; there is always one at the end."""
    render: bool = False
    """Record one more episode at each evaluation, as PNGs and a video."""
    checkpoints_dir: Folder = "checkpoints"
    """Folder of all runs."""
    checkpoint_minutes: PositiveFloat = 5.0
    """Wall time between checkpoints, in minutes."""
    keep_checkpoints: PositiveInt | Literal["all"] = 2
    """Number of newest checkpoints to keep (--keep for short)."""
    threads: Threads = 0
    """CPU threads of the learner (0: one per core); bitwise equal results need equal threads."""
    deterministic: bool = False
    """GPU: use only deterministic operations, at some cost; on the CPU all of them are."""
    cuda_graphs: bool | Literal["auto"] = "auto"
    """Capture acting, storing and updating as CUDA graphs, which removes Python's overhead (auto:
    if networks and replay memory are on the GPU)."""
    report_period: PositiveInt = 5_000
    """Steps between points in TensorBoard and curves.png."""
    env: EnvConfig = EnvConfig()
    replay: ReplayConfig = ReplayConfig()
    network: NetworkConfig = NetworkConfig()
    values: ValuesConfig = ValuesConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    learner: LearnerConfig = LearnerConfig()
    exploration: ExplorationConfig = ExplorationConfig()
    tabular: TabularConfig = TabularConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _follows_the_rules(self) -> Self:
        rules.check(flatten(self), _defaults())
        return self


MAY_CHANGE_ON_RESUME = {
    "total_steps", "render", "keep_checkpoints", "checkpoint_minutes", "checkpoints_dir",
    "env.niceness",
}  # fmt: skip
"""Settings that do not change a bit of the training: a run may be resumed with other values."""


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting by its dotted name (``replay.capacity``); of a class, the defaults."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = value
    return flat


@functools.cache
def _defaults() -> dict[str, Any]:
    return flatten(Config)


def differing_fields(ours: Config, theirs: Config) -> list[str]:
    """Where the identities of two runs differ, as ``name is ours, was theirs``."""
    mine, other = flatten(ours), flatten(theirs)
    return [
        f"{name} is {mine[name]}, was {other[name]}"
        for name in mine
        if mine[name] != other[name] and name not in MAY_CHANGE_ON_RESUME
    ]


class Given(NamedTuple):
    """A value somebody set."""

    value: Any
    where: str = ""
    """`` (in FILE, line 3)``; empty on the command line."""


def build(kind: Callable[..., T], given: dict[str, Given], prefix: str = "") -> T:
    """An object of the class and its sections, with the given values."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, kind)):
        name = prefix + field.name
        if dataclasses.is_dataclass(field.default):
            inner = prefix_of(prefix, field.name)
            values[field.name] = build(type(field.default), given, inner)
        elif name in given:
            value = given[name].value
            values[field.name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**values)
    except SettingError as error:
        source = given.get(error.name)
        if source is None:
            raise
        name = error.name if source.where else as_typed(error.name)
        raise ConfigError(f"{name} {error.problem}{source.where}") from None


def prefix_of(prefix: str, field: str) -> str:
    """Prefix of a section's settings; ``settings`` is the Config among a command's options."""
    return "" if field == "settings" else f"{prefix}{field}."
