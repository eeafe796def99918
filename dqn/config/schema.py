"""The whole configuration of a run, and what makes two of them the same run."""

import dataclasses
from typing import Annotated, Any, Literal, Self

from annotated_types import Interval
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dqn.config import rules, sections
from dqn.config.fields import Device, Folder, Games, Precision, Seed, Threads, validated


@validated
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
    precision: Precision = "auto"
    """Arithmetic of the networks: float32; on a GPU float32 multiplied as TF32; bfloat16 in all
    layers but the last, with float32 weights (auto: the run's; a new one's is tf32 on a GPU that
    has it, else float32)."""
    total_steps: PositiveInt = 50_000_000
    """Length of the run; a larger value extends a finished run."""
    num_envs: Games = 8
    """Environments stepped in parallel."""
    actors: Annotated[int, Interval(ge=0, le=256)] = 0
    """Processes on a Ray cluster that play the environments while this one learns (0: this one
    plays them too)."""
    learning_starts: NonNegativeInt = 50_000
    """Steps before the first update; random play while epsilon_start is 1."""
    evaluate_period: PositiveInt = 250_000
    """Steps between evaluations; there is always one at the end."""
    render: bool = False
    """Record one more episode at each evaluation, as PNGs and a video."""
    wandb: Annotated[str, "PROJECT"] | None = None
    """Mirror what TensorBoard gets, films included, to a project of Weights & Biases
    (requirements-wandb.txt; null: nothing goes anywhere)."""
    checkpoints_dir: Folder = "checkpoints"
    """Folder of all runs."""
    checkpoint_minutes: PositiveFloat = 5.0
    """Wall time between checkpoints, in minutes."""
    keep_checkpoints: PositiveInt | Literal["all"] = 2
    """Number of newest checkpoints to keep (--keep for short)."""
    threads: Threads = 0
    """CPU threads of the learner (0: one per core); bitwise equal results need equal threads."""
    deterministic: bool = False
    """GPU: use only deterministic operations, at some cost (not with network.pool, which has none);
    on the CPU all of them are."""
    cuda_graphs: bool | Literal["auto"] = "auto"
    """Capture acting, storing and updating as CUDA graphs, which removes Python's overhead (auto:
    if networks and replay memory are on the GPU)."""
    report_period: PositiveInt = 5_000
    """Steps between points in TensorBoard and curves.png."""
    env: sections.EnvConfig = sections.EnvConfig()
    replay: sections.ReplayConfig = sections.ReplayConfig()
    network: sections.NetworkConfig = sections.NetworkConfig()
    values: sections.ValuesConfig = sections.ValuesConfig()
    optimizer: sections.OptimizerConfig = sections.OptimizerConfig()
    learner: sections.LearnerConfig = sections.LearnerConfig()
    exploration: sections.ExplorationConfig = sections.ExplorationConfig()
    distributed: sections.DistributedConfig = sections.DistributedConfig()
    tabular: sections.TabularConfig = sections.TabularConfig()
    evaluation: sections.EvaluationConfig = sections.EvaluationConfig()

    @model_validator(mode="after")
    def _follows_the_rules(self) -> Self:
        rules.check(flatten(self), flatten(Config))
        return self


MAY_CHANGE_ON_RESUME = {
    "total_steps", "render", "wandb", "keep_checkpoints", "checkpoint_minutes", "checkpoints_dir",
    "env.threads", "env.niceness",
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


def differing_fields(ours: Config, theirs: Config) -> list[str]:
    """Where the identities of two runs differ, as ``name is ours, was theirs``. The device ``auto``
    may be any; a checkpoint knows which it was."""
    mine, other = flatten(ours), flatten(theirs)
    same = MAY_CHANGE_ON_RESUME | ({"device"} if "auto" in (ours.device, theirs.device) else set())
    return [
        f"{name} is {mine[name]}, was {other[name]}"
        for name in mine
        if mine[name] != other[name] and name not in same
    ]
