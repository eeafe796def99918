"""Command line and YAML to settings, and back. The command line takes precedence over ``--config``,
and both over the defaults."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_origin

import yaml

from dqn.config.fields import (
    ConfigError,
    SettingError,
    hints,
    in_words,
    shown,
    text_metavar,
)
from dqn.config.help import Option, as_typed, help_text, options_of, prefix_of
from dqn.config.schema import Config, flatten
from dqn.config.yaml_file import parse_yaml, read_mapping

SHORT = {"keep": "keep_checkpoints"}
"""Other spellings on the command line."""

RENAMED = {
    "keep": "keep_checkpoints",
    "learner.policy": "learner.target_policy",
    "learner.munchausen_low": "learner.munchausen_clip_min",
    "values.samples": "values.num_taus",
    "values.policy_samples": "values.num_policy_taus",
    "values.cosines": "values.num_cosines",
}
REPLACED = {"learner.max_gradient_value": "learner.max_gradient_norm"}

Options = TypeVar("Options")


class Given(NamedTuple):
    """A value somebody set."""

    value: Any
    where: str = ""
    """`` (in FILE, line 3)``; empty on the command line."""


def parse(kind: type[Options], arguments: list[str]) -> Options:
    """The options of a command, a class of ``commands``; ``--help`` prints them and exits.

    Raises:
        ConfigError: one sentence: what is wrong, where, and what would be right.
    """
    options = options_of(kind)
    if {"-h", "--help"} & set(arguments):
        print(help_text(kind))
        raise SystemExit(0)
    words, typed = _split(arguments, options)
    given: dict[str, Given] = {}
    files = [text for name, text in typed if name == "config"]
    for file in files:
        given |= _read(file)
    given |= {name: Given(_value(options[name].hint, text)) for name, text in typed}
    given["config"] = Given(tuple(files))
    given["run"] = Given(_runs(kind, words))
    return _make(kind, given)


def load_config(path: Path) -> Config:
    """The Config in a YAML file: a preset, or a run's config.yaml.

    Raises:
        ConfigError: unreadable, or not a valid config.
    """
    return _make(Config, _read(str(path)))


def as_yaml(config: Config) -> str:
    """Every setting, in the order of the classes, as YAML that ``load_config`` reads."""
    tree: dict[str, Any] = {}
    for name, value in flatten(config).items():
        section, _, field = name.rpartition(".")
        place = tree.setdefault(section, {}) if section else tree
        place[field] = list(value) if isinstance(value, tuple) else value
    return yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def _split(
    arguments: list[str], options: dict[str, Option]
) -> tuple[list[str], list[tuple[str, str]]]:
    """The words that are no option's, and each option with its value, as typed."""
    words: list[str] = []
    typed: list[tuple[str, str]] = []
    waiting = list(reversed(arguments))
    while waiting:
        argument = waiting.pop()
        if not argument.startswith("-"):
            words.append(argument)
            continue
        option, equals, text = argument.partition("=")
        name = option.removeprefix("--").replace("-", "_")
        name = SHORT.get(name, name)
        if name not in options or not option.startswith("--"):
            raise ConfigError(_unknown(name, options, option))
        hint = options[name].hint
        if not equals:
            text = _following(waiting, alone="true" if hint is bool else "")
        if not text:
            raise ConfigError(f"{option} needs a value: {in_words(hint)}")
        typed.append((name, text))
    return words, typed


def _following(waiting: list[str], alone: str) -> str:
    """The value after an option; one that is true or false may stand ``alone``."""
    if not waiting or waiting[-1].startswith("--"):
        return alone
    return waiting.pop() if not alone or waiting[-1].lower() in ("true", "false") else alone


def _runs(kind: Any, words: list[str]) -> str | tuple[str, ...]:
    """The value of a command's ``run``: one folder, or all of them if it takes several."""
    hint = hints(kind).get("run")
    if hint is None and words:
        raise ConfigError(f"unexpected {words[0]!r}; a game is given as --game Breakout")
    if hint is not None and not words:
        command = kind.usage.partition(" RUN")[0]
        raise ConfigError(f"no RUN given; try {command} checkpoints/Breakout/dqn-seed1")
    if hint is None or get_origin(hint) is tuple:
        return tuple(words)
    if len(words) > 1:
        raise ConfigError(f"expected one RUN, not {' '.join(words)}")
    return words[0]


def _value(hint: Any, text: str) -> Any:
    """A text from the command line: as it is if the option is a text, otherwise as YAML."""
    if text_metavar(hint):
        return text
    try:
        return parse_yaml(text)[0]
    except yaml.YAMLError:
        return text


def _read(file: str) -> dict[str, Given]:
    """The settings in a YAML file."""
    tree, lines = read_mapping(file)
    known = flatten(Config)
    sections = {name.partition(".")[0] for name in known if "." in name}
    given: dict[str, Given] = {}

    def add(name: str, value: Any) -> None:
        where = _where(file, lines.get(name))
        if name not in known:
            raise ConfigError(_unknown(name, known, name, where))
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


def _make(kind: Callable[..., Options], given: dict[str, Given], prefix: str = "") -> Options:
    """An object of the class and its sections, with the given values."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, kind)):
        name = prefix + field.name
        if dataclasses.is_dataclass(field.default):
            inner = prefix_of(prefix, field.name)
            values[field.name] = _make(type(field.default), given, inner)
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


def _unknown(name: str, known: Iterable[str], written: str, where: str = "") -> str:
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
