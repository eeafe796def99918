"""Settings: every field, its range, which combinations make sense, and how they are typed."""

from dqn.config.schema import (
    MAY_CHANGE_ON_RESUME,
    Config,
    ConfigError,
    EnvConfig,
    EvaluationConfig,
    ExplorationConfig,
    LearnerConfig,
    NetworkConfig,
    OptimizerConfig,
    ReplayConfig,
    TabularConfig,
    ValuesConfig,
    differing_fields,
    flatten,
    printable,
)

__all__ = [
    "MAY_CHANGE_ON_RESUME", "Config", "ConfigError", "EnvConfig", "EvaluationConfig",
    "ExplorationConfig", "LearnerConfig", "NetworkConfig", "OptimizerConfig", "ReplayConfig",
    "TabularConfig",
    "ValuesConfig", "differing_fields", "flatten", "printable",
]  # fmt: skip
