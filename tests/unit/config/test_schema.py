"""Every setting: its range, its names, its way through YAML; and the presets' numbers."""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.forgeries import FEW

from dqn.config import Config, ConfigError, ReplayConfig, differing_fields, flatten
from dqn.config.cli import options_of
from dqn.config.rules import USED_WITH
from dqn.config.shipped import PRESETS
from dqn.config.yaml_file import as_yaml, load_config
from dqn.envs import atari

OPTIONS = {option.name: option for option in options_of(Config)}


def with_fields(config: Config, values: dict[str, Any]) -> Config:
    """The config with other values of some fields, by their dotted names."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, field = name.rpartition(".")
        sections.setdefault(section, {})[field] = value
    top = sections.pop("", {})
    parts = {s: dataclasses.replace(getattr(config, s), **f) for s, f in sections.items()}
    return dataclasses.replace(config, **parts, **top)


def refusal(make: Callable[..., Any], *arguments: Any, **values: Any) -> str:
    """The sentence with which a config is refused as it is made."""
    with pytest.raises(ConfigError) as caught:
        make(*arguments, **values)
    message = str(caught.value)
    assert "\n" not in message and not message.endswith(".")
    return message


# ---------------------------------------------------------------------------------------- ranges


def bounds_of(hint: Any) -> dict[str, float] | None:
    """The bounds of the number in a type, by their names; None if it holds no number."""
    if get_origin(hint) is Annotated:
        kind, *metadata = get_args(hint)
        if kind not in (int, float):
            return bounds_of(kind)
        names = ("gt", "ge", "le")
        found = {name: getattr(item, name, None) for item in metadata for name in names}
        return {name: bound for name, bound in found.items() if bound is not None}
    if hint in (int, float):
        return {}
    return next((found for part in get_args(hint) if (found := bounds_of(part)) is not None), None)


BOUNDS = {name: b for name, option in OPTIONS.items() if (b := bounds_of(option.hint)) is not None}


def test_every_number_has_a_least_value():
    assert len(BOUNDS) > 55
    for name, bounds in BOUNDS.items():
        assert len({"gt", "ge"} & set(bounds)) == 1, name


def wrapped(name: str, value: Any) -> Any:
    """The value as the field takes it: some take a tuple of numbers."""
    return (value,) if isinstance(flatten(Config)[name], tuple) else value


def is_float(name: str) -> bool:
    return "float" in str(OPTIONS[name].hint)


def test_a_number_outside_its_range_is_refused_by_name(subtests):
    for name, bounds in BOUNDS.items():
        step = 1e-9 if is_float(name) and bounds.get("ge", 0) > -1e6 else 1
        wrong = [math.nan, math.inf, -math.inf, "x"]
        allowed = get_args(OPTIONS[name].hint)
        wrong += [value for value in (True, None) if type(value) not in allowed]
        wrong += [bounds["gt"]] if "gt" in bounds else [bounds["ge"] - step]
        wrong += [bounds["le"] + (1 if bounds["le"] > 1 else step)] if "le" in bounds else []
        with subtests.test(name):
            for value in wrong:
                message = refusal(with_fields, Config(), {name: wrapped(name, value)})
                assert message.startswith(f"{name} must be ")
                assert f"{bounds.get('ge', bounds.get('gt')):,}" in message


ROOMY = {
    "total_steps": 10**9, "learning_starts": 10**7, "replay.capacity": 10**8, "num_envs": 1,
    "network.torso": "impala", "optimizer.learning_rate_end": 1e-9,
    "optimizer.learning_rate_decay_steps": 9,
}  # fmt: skip
"""Leaves every field room to its limits."""

TABULAR = {
    "method": "policy_gradient", "device": "cpu", "num_envs": 1, "exploration.epsilon_start": 0.0,
    "exploration.epsilon_end": 0.0, "tabular.limits": (1.0,),
}  # fmt: skip

ALLOWED_ENDS = {
    "replay.capacity": (6, None),  # what one environment needs at the least
    "learning_starts": (2, None),
    "values.v_min": (None, 9),  # below v_max
    "values.v_max": (-9, None),
    "optimizer.learning_rate_decay_steps": (1, None),  # there is a learning_rate_end
}


def test_both_ends_of_a_range_are_allowed(subtests):
    for name, bounds in BOUNDS.items():
        kind = float if is_float(name) else int
        low = bounds["ge"] if "ge" in bounds else bounds["gt"] + (1e-9 if kind is float else 1)
        special = ALLOWED_ENDS.get(name, (None, None))
        ends = (low if special[0] is None else special[0], special[1] or bounds.get("le", 10**15))
        base = TABULAR if name.startswith("tabular.") else ROOMY
        needed = {other: values[0] for other, values, names in USED_WITH if name in names}
        needed |= {"replay.beta_start": 0.0} if name == "replay.beta_end" else {}
        needed |= {"num_envs": 2} if name == "exploration.spread" else {}
        needed |= {"num_envs": 256} if name == "actors" else {}
        needed |= {"actors": 1} if name.startswith("distributed.") else {}
        with subtests.test(name):
            for end in ends:
                with_fields(Config(), base | needed | {name: wrapped(name, kind(end))})


CHANGED: dict[type, Callable[[Any], Any]] = {
    bool: lambda value: not value,
    int: lambda value: value + 1,
    float: lambda value: value * 0.99,
    tuple: lambda value: (*value, 7),
    str: lambda value: {"huber": "mse"}[value],
}


def test_what_would_have_no_effect_is_refused(subtests):
    """And is allowed beside each value that makes it effective."""
    for name, other, values in [(n, other, v) for other, v, names in USED_WITH for n in names]:
        with subtests.test(name, other=other):
            default = flatten(Config)[name]
            changed = {name: CHANGED[type(default)](default)}
            enough = {key: allowed[0] for key, allowed, names in USED_WITH if name in names}
            for value in values:
                with_fields(Config(), enough | changed | {other: value})
            hint = OPTIONS[other].hint
            for value in {*get_args(hint), *[True, False] * (hint is bool)} - {*values}:
                message = refusal(with_fields, Config(), enough | changed | {other: value})
                assert f" has no effect unless {other} is " in message


def test_too_small_for_one_transition_is_refused():
    for num_envs, n_step, capacity, starts in [(1, 1, 6, 2), (8, 1, 48, 16), (3, 5, 30, 18)]:
        enough = {"replay.capacity": capacity, "learning_starts": starts}
        config = with_fields(Config(), enough | {"num_envs": num_envs, "replay.n_step": n_step})
        for name, least in enough.items():
            message = refusal(with_fields, config, {name: least - 1})
            assert message.startswith(f"{name} of {least - 1}")


NEVER_0 = [
    "values.kappa", "learner.munchausen_temperature", "checkpoint_minutes",
    "optimizer.learning_rate", "learner.target_tau", "learner.max_gradient_norm",
    "optimizer.epsilon",  # it would divide 0 by 0 for every weight that has no gradient yet
]  # fmt: skip


def test_0_is_refused_where_nothing_would_be_learned_or_defined():
    for name in NEVER_0:
        message = refusal(with_fields, Config(), {name: 0.0})
        assert message.startswith(f"{name} must be a number above 0") and message.endswith(" 0.0")


def test_a_name_that_is_no_setting_is_refused():
    assert refusal(ReplayConfig, capasity=3) == "replay.capasity is not a setting"


# ----------------------------------------------------------------------------------------- names


def test_flatten_names_every_field_once():
    flat = flatten(Config())
    assert list(flat) == list(OPTIONS)
    assert not any(dataclasses.is_dataclass(value) for value in flat.values())
    assert flat["replay.n_step"] == 1 and flat["seed"] == 1 and flat["game"] is None
    assert flatten(with_fields(Config(), {"replay.gamma": 0.5})) == flat | {"replay.gamma": 0.5}


def test_a_config_cannot_be_changed():
    for part, field in ((Config(), "seed"), (Config().replay, "n_step")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, 2)


def test_a_run_is_resumed_under_another_value_only_where_no_bit_depends_on_it():
    free = (
        "total_steps render wandb keep_checkpoints checkpoint_minutes checkpoints_dir env.threads "
        "env.niceness"
    )
    for name, value in flatten(Config).items():
        ours, theirs = Config(), Config()
        section, _, field = name.rpartition(".")
        changed = dataclasses.replace(getattr(ours, section)) if section else theirs
        object.__setattr__(changed, field, "other")  # whatever the rules say
        if section:
            object.__setattr__(theirs, section, changed)
        differences = [] if name in free.split() else [f"{name} is {value}, was other"]
        assert differing_fields(ours, theirs) == (differences if name != "device" else [])
    cpu, cuda = Config(device="cpu"), Config(device="cuda")
    assert differing_fields(Config(), cuda) == []  # auto
    assert differing_fields(cpu, cuda) == ["device is cpu, was cuda"]


# ------------------------------------------------------------------------------------------ YAML


FIELDS = st.fixed_dictionaries(
    {
        "optimizer.learning_rate": st.floats(1e-300, 3e38, exclude_min=True),
        "replay.gamma": st.floats(0, 1),
        "seed": st.integers(0, 2**63 - 1),
        "checkpoints_dir": st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1
        ),
        "keep_checkpoints": st.integers(1) | st.just("all"),
        "replay.clip_reward": st.booleans() | st.just("auto"),
        "learner.max_gradient_norm": st.none() | st.floats(1, 9),
        "network.mlp_units": st.lists(st.integers(1, 99)).map(tuple),
    }
)


@FEW
@given(fields=FIELDS)
def test_any_config_is_the_same_in_yaml(fields, tmp_path):
    """As we read it and as others do."""
    config = with_fields(Config(), fields)
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml(config), encoding="utf-8")
    loaded = load_config(path)
    assert loaded == config
    for name, value in flatten(config).items():
        assert type(flatten(loaded)[name]) is type(value), name
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert tree["optimizer"]["learning_rate"] == config.optimizer.learning_rate
    assert tree["checkpoints_dir"] == config.checkpoints_dir


def test_yaml_is_in_the_order_of_the_classes():
    tree = yaml.safe_load(as_yaml(Config()))
    assert list(tree) == [field.name for field in dataclasses.fields(Config)]
    assert list(tree["learner"]) == [field.name for field in dataclasses.fields(Config().learner)]


# --------------------------------------------------------------------------------------- presets


def test_every_preset_says_where_its_numbers_come_from():
    for path in PRESETS.values():
        for line in path.read_text(encoding="utf-8").splitlines():
            if ": " in line and not line.startswith("#"):
                assert " # " in line, f"{path}: {line}"


def test_dqn_yaml_is_the_defaults():
    assert load_config(PRESETS["dqn"]) == Config()


PAPERS: dict[str, dict[str, Any]] = {
    # The defaults, as agreed on
    "dqn": {
        "learner.batch_size": 32, "replay.capacity": 1_000_000, "learner.update_period": 4,
        "learner.target_period": 10_000, "learner.target_tau": 1.0, "learning_starts": 50_000,
        "exploration.epsilon_start": 1.0, "exploration.epsilon_end": 0.1,
        "exploration.epsilon_decay_steps": 1_000_000, "total_steps": 50_000_000,
        "evaluate_period": 250_000, "evaluation.episodes": 30, "evaluation.epsilon": 0.05,
        "env.protocol": "classic", "env.max_episode_frames": 108_000, "env.reseed_steps": 10_000,
        "evaluation.max_steps_without_reward": 5 * 60 * 60 / 4, "evaluation.held_out_states": 512,
        "checkpoint_minutes": 5, "keep_checkpoints": 2, "distributed.lag": 1,
        "distributed.round_length": 16,
    },
    # Mnih et al. 2015, Extended Data Table 1 in its order, then the text
    "nature": {
        "learner.batch_size": 32, "replay.capacity": 1_000_000,
        "learner.target_period": 10_000 * 4, "learner.update_period": 4,
        "exploration.epsilon_start": 1, "exploration.epsilon_end": 0.1,
        "exploration.epsilon_decay_steps": 1_000_000, "learning_starts": 50_000,
        "learner.target_tau": 1, "env.protocol": "classic",
    },
    # Bellemare et al. 2017, section 5
    "c51": {"exploration.epsilon_end": 0.01, "evaluation.epsilon": 0.001},
    # Dabney et al. 2017, section 5
    "qr_dqn": {"exploration.epsilon_end": 0.01, "evaluation.epsilon": 0.001},
    # Dabney et al. 2018, section 4
    "iqn": {
        "values.num_cosines": 64, "exploration.epsilon_end": 0.01, "evaluation.epsilon": 0.001,
    },
    # Vieillard et al. 2020, appendix B, and the authors' settings for Atari
    "munchausen_iqn": {
        "learner.target_period": 8000, "learning_starts": 20_000,
        "exploration.epsilon_end": 0.01, "exploration.epsilon_decay_steps": 250_000,
        "env.protocol": "machado", "evaluation.epsilon": 0.001,
    },
    # Schaul et al. 2016, appendix B.2.1: beta grows to 1 over a training of 200 million frames
    "prioritized": {
        "replay.beta_start": 0.4, "replay.beta_end": 1, "replay.beta_steps": 200_000_000 / 4,
    },
    # Hessel et al. 2018, table 1
    "rainbow": {
        "learning_starts": 80_000 / 4, "exploration.epsilon_end": 0, "network.noisy_sigma": 0.5,
        "learner.target_period": 32_000 / 4, "replay.beta_start": 0.4, "replay.beta_end": 1,
        "replay.beta_steps": 200_000_000 / 4, "evaluation.epsilon": 0,
    },
    # van Hasselt et al. 2019, appendix E, table 2
    "data_efficient_rainbow": {
        "total_steps": 400_000 / 4, "learning_starts": 1600, "learner.batch_size": 32,
        "learner.update_period": 1, "learner.target_period": 2000, "network.hidden_units": 256,
        "network.noisy_sigma": 0.1, "replay.capacity": 100_000, "replay.beta_start": 0.4,
        "replay.beta_end": 1, "replay.beta_steps": 100_000, "exploration.epsilon_end": 0,
        "evaluation.epsilon": 0,
    },
    # Clark et al. 2024, appendix on hyperparameters
    "btr": {
        "network.width": 2, "network.hidden_units": 512, "network.noisy_sigma": 0.5,
        "values.num_cosines": 64, "learner.batch_size": 256, "learner.update_period": 64,
        "learner.target_period": 500 * 64, "replay.capacity": 2**20, "learning_starts": 200_000,
        "exploration.epsilon_end": 0.01, "exploration.epsilon_decay_steps": 8_000_000 / 4,
        "exploration.epsilon_off_step": 100_000_000 / 4, "env.protocol": "machado",
    },
}  # fmt: skip
"""What each paper says of its own and ``test_factory.py`` does not compute with, in its units where
they differ from ours."""


def test_a_preset_has_its_papers_numbers(subtests):
    for preset, numbers in PAPERS.items():
        with subtests.test(preset):
            flat = flatten(load_config(PRESETS[preset]))
            assert {name: flat[name] for name in numbers} == numbers


def test_the_emulators_part_of_natures_table():
    """Its action repeat, and its no-op max."""
    assert (atari.FRAME_SKIP, atari.NOOP_MAX) == (4, 30)
