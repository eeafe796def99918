"""Suite files: games, seeds and configs of the runs that belong together, as people write them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from dqn.config.fields import ConfigError
from dqn.config.rules import unknown
from dqn.config.schema import Config, flatten
from dqn.config.shipped import SUITES, find_suite
from dqn.config.words import shown
from dqn.config.yaml_file import at_line, read_mapping


class SuiteFile(NamedTuple):
    """The content of a suite file."""

    games: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    configs: tuple[str, ...] = ()
    """Presets or files; each is a variant that all games are trained with."""
    settings: Mapping[str, Any] = MappingProxyType({})
    """Settings of all runs by their dotted names."""


def read_suite_file(typed: str) -> SuiteFile:
    """Read a shipped suite or a file.

    Raises:
        ConfigError: unreadable, or a key or value that cannot be; with file and line.
    """
    file = find_suite(typed)
    if file == typed and not file.endswith((".yaml", ".yml")):
        raise ConfigError(f"unknown suite {typed!r}; there are {', '.join(SUITES)}, or name a file")
    tree, lines = read_mapping(file)
    for key in tree:
        if key not in SuiteFile._fields:
            raise unknown(str(key), SuiteFile._fields, str(key), at_line(file, lines.get(str(key))))
    values: dict[str, Any] = {}
    for key, value in tree.items():
        place = at_line(file, lines.get(key))
        if key == "settings":
            values[key] = _settings(value, place)
        elif key == "seeds":
            values[key] = _seeds(value, place)
        elif _is_list_of(value, str):
            values[key] = tuple(value)
        else:
            example = "[Pong, Breakout]" if key == "games" else "[laptop, rainbow]"
            raise ConfigError(f"{key} must be a list, such as {example}, not {shown(value)}{place}")
    return SuiteFile(**values)


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is kind for item in value)


def _seeds(value: Any, place: str) -> tuple[int, ...]:
    if type(value) is int and 1 <= value <= 1000:
        return tuple(range(1, value + 1))
    if _is_list_of(value, int):  # their range is checked in each run
        return tuple(value)
    raise ConfigError(
        f"seeds must be a whole number from 1 to 1,000, or a list such as [1, 2, 3], not "
        f"{shown(value)}{place}"
    )


def _settings(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(
            f"settings must be a mapping, such as {{total_steps: 1e6}}, not {shown(value)}{place}"
        )
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= {f"{key}.{name}": setting for name, setting in inner.items()}
        else:
            flat[str(key)] = inner
    known = flatten(Config)
    for name in flat:
        if name not in known:
            raise unknown(name, known, name, place)
        if name in ("game", "seed"):
            raise ConfigError(f"settings.{name} is set by {name}s{place}")
    return flat
