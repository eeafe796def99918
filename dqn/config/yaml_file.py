"""Settings in YAML as people write it: ``2e6`` is a whole number and a key stands once; a mistake
is one sentence with the file and the line."""

import dataclasses
import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dqn.config.fields import ConfigError, Given, build
from dqn.config.rules import unknown
from dqn.config.schema import Config, flatten
from dqn.config.shipped import PRESETS
from dqn.config.words import shown

NUMBER = re.compile(r"[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+")


class _Loader(yaml.SafeLoader):
    """``2e6`` is the whole number 2000000, and ``6.25e-5`` a number. No key twice, and no aliases:
    a few lines of aliases of aliases expand to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        seen: set[str] = set()
        for key in keys:
            if key.value in seen:
                problem = f"{key.value} is set twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# Before YAML's own numbers, which are a float with an exponent, and no number from -.5 on.
_NUMBERS = re.compile(rf"^(?:{NUMBER.pattern}|[-+]\.\d[\d_]*)$")
_Loader.yaml_implicit_resolvers = {
    **_Loader.yaml_implicit_resolvers,
    **{
        first: [("!number", _NUMBERS), *_Loader.yaml_implicit_resolvers.get(first, [])]
        for first in "-+0123456789"
    },
}
_Loader.add_constructor("!number", lambda _, node: number(str(node.value)))


def number(text: str) -> int | float:
    """``2e6`` is whole, ``6.25e-5`` is not."""
    value = float(text.replace("_", ""))
    return int(value) if value.is_integer() else value


def parse_yaml(text: str) -> tuple[Any, dict[str, int]]:
    """The value of a YAML text, and the line of each key, those of inner mappings dotted.

    Raises:
        yaml.YAMLError: invalid YAML.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), dict(_lines(node))
    except ValueError as error:  # a date with a 13th month
        raise yaml.MarkedYAMLError(problem=" ".join(str(error).split())) from None
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="it is nested too deeply") from None
    except (AttributeError, LookupError, TypeError):  # !!timestamp x, !!bool x
        raise yaml.MarkedYAMLError(problem="a value does not fit its tag") from None


def _lines(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield f"{prefix}{key.value}", key.start_mark.line + 1
            if not prefix:
                yield from _lines(value, f"{key.value}.")


def load_config(path: Path) -> Config:
    """The Config in a YAML file: a preset, or a run's config.yaml.

    Raises:
        ConfigError: unreadable, or not a valid config.
    """
    return build(Config, read_settings(str(path)))


def load_run_config(folder: Path) -> Config:
    """The Config of a run's folder; a run from before there was ``precision`` has float32.

    Raises:
        ConfigError: unreadable, or not a valid config.
    """
    config = load_config(folder / "config.yaml")
    if config.precision != "auto":
        return config
    return dataclasses.replace(config, precision="float32")


def as_yaml(config: Config) -> str:
    """Every setting, in the order of the classes, as YAML that ``load_config`` reads."""
    # Not CSafeDumper: a path may hold bytes that are not UTF-8, which it cannot write as escapes.
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)


def read_settings(file: str) -> dict[str, Given]:
    """The settings in a YAML file."""
    tree, lines = read_mapping(file)
    known = flatten(Config)
    sections = {name.partition(".")[0] for name in known if "." in name}
    values: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in sections:
            values[str(key)] = value
        elif isinstance(value, dict):
            values |= {f"{key}.{field}": inner for field, inner in value.items()}
        elif value is not None:  # None: everything in the section is commented out
            example = next(name for name in known if name.startswith(f"{key}."))
            example = f"{key}: {{{example.partition('.')[2]}: {shown(known[example])}}}"
            where = at_line(file, lines.get(key))
            raise ConfigError(f"{key} must be a mapping, such as {example}, not {value}{where}")
    given = {name: Given(value, at_line(file, lines.get(name))) for name, value in values.items()}
    for name, (_, where) in given.items():
        if name not in known:
            raise unknown(name, known, name, where)
    return given


def at_line(file: str, line: int | None) -> str:
    """A place in a file, to end a sentence with."""
    return f" (in {file}, line {line})" if line else f" (in {file})"


def read_mapping(file: str) -> tuple[dict[Any, Any], dict[str, int]]:
    """The mapping in a YAML file, and the line of each key, as ``parse_yaml`` has them.

    Raises:
        ConfigError: unreadable, invalid YAML or no mapping; with file and line.
    """
    try:
        tree, lines = parse_yaml(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no file {file}; {_preset_like(file)}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValueError:  # or a name that no file can have
        raise ConfigError(f"{file} is not UTF-8 text, so not YAML") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise ConfigError(f"{file}{line} is not valid YAML: {reason}") from None
    if tree is None:
        raise ConfigError(f"{file} is empty; it should hold settings, such as seed: 1")
    if not isinstance(tree, dict):
        kind = "list" if isinstance(tree, list) else "single value"
        raise ConfigError(f"{file} holds a {kind}, not a mapping of settings, such as seed: 1")
    return tree, lines


def _preset_like(file: str) -> str:
    near = difflib.get_close_matches(Path(file).stem, PRESETS, n=1)
    return f"did you mean --config {near[0]}?" if near else f"the presets are {', '.join(PRESETS)}"
