"""Settings: every field, its range, which combinations are valid, and how they are typed."""

from dqn.config.fields import ConfigError
from dqn.config.schema import MAY_CHANGE_ON_RESUME, Config, differing_fields, flatten
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
from dqn.config.words import printable

__all__ = [
    "MAY_CHANGE_ON_RESUME", "Config", "ConfigError", "EnvConfig", "EvaluationConfig",
    "ExplorationConfig", "LearnerConfig", "NetworkConfig", "OptimizerConfig", "ReplayConfig",
    "TabularConfig", "ValuesConfig", "differing_fields", "flatten", "printable",
]  # fmt: skip
