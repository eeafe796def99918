"""Which settings only one kind of a part looks at: beside another kind they are refused, and not
passed over."""

from typing import Any

from dqn.config import Config, ConfigError, flatten

_Condition = tuple[str, tuple[Any, ...]]
"""A field and the values of it."""

_PRIORITIZED: _Condition = ("replay.sampler", ("prioritized",))
_IMPALA: _Condition = ("network.torso", ("impala",))
_CATEGORICAL: _Condition = ("values.kind", ("categorical",))
_IMPLICIT: _Condition = ("values.kind", ("implicit_quantile",))
_MUNCHAUSEN: _Condition = ("learner.target_policy", ("munchausen",))

READ_WITH: dict[str, tuple[_Condition, ...]] = {
    "replay.alpha": (_PRIORITIZED,),
    "replay.beta_start": (_PRIORITIZED,),
    "replay.beta_end": (_PRIORITIZED,),
    "replay.beta_steps": (_PRIORITIZED,),
    "network.hidden_units": (
        ("network.torso", ("auto", "nature", "nips", "data_efficient", "patches", "impala")),
    ),
    "network.mlp_units": (("network.torso", ("auto", "mlp")),),
    "network.width": (_IMPALA,),
    "network.pool": (_IMPALA,),
    "network.spectral_norm": (_IMPALA,),
    "network.noisy_sigma": (("network.noisy", (True,)),),
    "values.atoms": (_CATEGORICAL,),
    "values.v_min": (_CATEGORICAL,),
    "values.v_max": (_CATEGORICAL,),
    "values.quantiles": (("values.kind", ("quantile",)),),
    "values.num_taus": (_IMPLICIT,),
    "values.num_policy_taus": (_IMPLICIT,),
    "values.num_cosines": (_IMPLICIT,),
    "values.kappa": (
        ("values.kind", ("expected", "quantile", "implicit_quantile")),
        ("learner.loss", ("huber",)),
    ),
    "learner.loss": (("values.kind", ("expected",)),),
    "learner.munchausen_alpha": (_MUNCHAUSEN,),
    "learner.munchausen_temperature": (_MUNCHAUSEN,),
    "learner.munchausen_clip_min": (_MUNCHAUSEN,),
    "optimizer.decay": (("optimizer.name", ("rmsprop",)),),
}
"""What must all be so for a field to be read."""


def check_parts(config: Config) -> None:
    """Refuse settings that nothing would read.

    Raises:
        ConfigError: one sentence: what, where, what would be right.
    """
    flat, default = flatten(config), flatten(Config())
    for name, conditions in READ_WITH.items():
        for other, values in conditions:
            if flat[name] != default[name] and flat[other] not in values:
                right = " or ".join(str(value).lower() for value in values)
                raise ConfigError(
                    f"{name} is read where {other} is {right}, and it is "
                    f"{str(flat[other]).lower()}; change that, or leave {name}"
                )
    if config.tabular.bins != default["tabular.bins"] and not config.tabular.limits:
        raise ConfigError("tabular.bins needs tabular.limits to cut; set those too, or leave it")
