"""Settings from YAML to the classes that check them, and back."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import yaml

from dqn.config.fields import ConfigError, SettingError, shown
from dqn.config.schema import Config, flatten
from dqn.config.yaml_file import read_mapping

RENAMED = {
    "keep": "keep_checkpoints",
    "learner.policy": "learner.target_policy",
    "learner.munchausen_low": "learner.munchausen_clip_min",
    "values.samples": "values.num_taus",
    "values.policy_samples": "values.num_policy_taus",
    "values.cosines": "values.num_cosines",
}
REPLACED = {"learner.max_gradient_value": "learner.max_gradient_norm"}

T = TypeVar("T")


class Given(NamedTuple):
    """A value somebody set."""

    value: Any
    where: str = ""
    """`` (in FILE, line 3)``; empty on the command line."""


def load_config(path: Path) -> Config:
    """The Config in a YAML file: a preset, or a run's config.yaml.

    Raises:
        ConfigError: unreadable, or not a valid config.
    """
    return build(Config, read_settings(str(path)))


def as_yaml(config: Config) -> str:
    """Every setting, in the order of the classes, as YAML that ``load_config`` reads."""
    tree: dict[str, Any] = {}
    for name, value in flatten(config).items():
        section, _, field = name.rpartition(".")
        place = tree.setdefault(section, {}) if section else tree
        place[field] = list(value) if isinstance(value, tuple) else value
    return yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def read_settings(file: str) -> dict[str, Given]:
    """The settings in a YAML file."""
    tree, lines = read_mapping(file)
    known = flatten(Config)
    sections = {name.partition(".")[0] for name in known if "." in name}
    given: dict[str, Given] = {}

    def add(name: str, value: Any) -> None:
        where = _where(file, lines.get(name))
        if name not in known:
            raise ConfigError(unknown(name, known, name, where))
        given[name] = Given(value, where)

    for key, value in tree.items():
        if key not in sections:
            add(str(key), value)
        elif isinstance(value, dict):
            for field, inner in value.items():
                add(f"{key}.{field}", inner)
        elif value is not None:  # None: everything in the section is commented out
            example = next(name for name in known if name.startswith(f"{key}."))
            example = f"{key}: {{{example.partition('.')[2]}: {shown(known[example])}}}"
            where = _where(file, lines.get(key))
            raise ConfigError(f"{key} must be a mapping, such as {example}, not {value}{where}")
    return given


def _where(file: str, line: int | None) -> str:
    return f" (in {file}, line {line})" if line else f" (in {file})"


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


def unknown(name: str, known: Iterable[str], written: str, where: str = "") -> str:
    """What to say of a name that is no setting's, and which one was meant by it."""
    spell = str if written == name else as_typed
    if name in RENAMED:
        return f"{written} is now {spell(RENAMED[name])}{where}"
    if name in REPLACED:
        return f"{written} was removed{where}; use {spell(REPLACED[name])}"
    by_key = {key: whole for whole in known for key in (whole.rpartition(".")[2], whole)}
    wanted = (name, name.rpartition(".")[2])
    near = [n for w in wanted for n in difflib.get_close_matches(w, by_key, n=1, cutoff=0.7)]
    advice = f"did you mean {spell(by_key[near[0]])}?" if near else "--help lists all"
    return f"unknown {'setting' if written == name else 'option'} {written}{where}; {advice}"


def prefix_of(prefix: str, field: str) -> str:
    """Prefix of a section's settings; ``settings`` is the Config among a command's options."""
    return "" if field == "settings" else f"{prefix}{field}."


def as_typed(name: str) -> str:
    """A name as on the command line: ``--replay.n-step``."""
    return f"--{name.replace('_', '-')}"
