"""A parser of the command line with the house's manners: jsonargparse checks the types and prints
the help; a mistake is one sentence that says what, where, and what would be right."""

import difflib
import re
import types
from argparse import Action
from typing import Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_loader

from dqn.config import ConfigError
from dqn.config.yaml_files import NUMBER, load_yaml, number

set_loader("yaml", load_yaml, exceptions=(yaml.YAMLError,))


class Option(NamedTuple):
    """What one option takes, and what it means."""

    hint: Any
    """Type of the value; None for a flag that takes none."""
    default: Any
    meaning: str


class Formatter(DefaultHelpFormatter):
    """Prints each option's meaning as it was written, defaults included."""

    def _get_help_string(self, action: Action) -> str:
        return action.help or ""


class Parser(ArgumentParser):
    """Knows its options, and raises ConfigError where argparse would print its usage and exit."""

    def __init__(self, prog: str, usage: str, description: str) -> None:
        self.options: dict[str, Option] = {}
        self.given: dict[str, tuple[Any, str]] = {}
        """What was given for an option, and the file in which."""
        super().__init__(
            prog=prog, usage=f"{prog} {usage}", description=description, exit_on_error=False,
            allow_abbrev=False, formatter_class=Formatter,
        )  # fmt: skip

    def add(self, name: str, option: Option, metavar: str | None = None, group: Any = None) -> None:
        """Add an option; ``name`` as in YAML: ``replay.n_step``."""
        self.options[name] = option
        typed, place = f"--{_dashes(name)}", group or self
        meaning = option.meaning.replace("%", "%%")
        if option.hint is None:
            place.add_argument(typed, action="store_true", help=meaning)
            return
        if option.default is not None or {float, int} & set(get_args(option.hint)):
            meaning += f" (default {shown(option.default)})"
        place.add_argument(
            typed, type=option.hint, default=option.default, help=meaning,
            metavar=metavar or _metavar(option.hint),
        )  # fmt: skip

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: ARG002
        """Turn jsonargparse's complaint into one sentence."""
        message = " ".join(message.split())
        found = re.match(r'(?:Parser key "|argument --)?([\w.-]+)"?: ', message)
        name = found[1].replace("-", "_") if found else ""
        if name not in self.given:
            raise ConfigError(message)
        value, file = self.given[name]
        raise ConfigError(
            f"{name if file else '--' + _dashes(name)} must be {_wanted(self.options[name].hint)}, "
            f"not {_short(value)}{inside(file)}"
        )


def tokens(parser: Parser, arguments: list[str]) -> tuple[list[str], list[str]]:
    """The command line in its plainest form, every option as ``--name=value``, and apart from it
    the values of ``--config``. An option that is true or false may stand alone: true."""
    if {"-h", "--help"} & set(arguments):
        return ["--help"], []
    plain: list[str] = []
    presets: list[str] = []
    waiting = list(reversed(arguments))
    while waiting:
        argument = waiting.pop()
        if not argument.startswith("-"):
            plain.append(argument)
            continue
        typed, equals, value = argument.partition("=")
        name = typed.removeprefix("--").replace("-", "_")
        option = parser.options.get(name)
        if option is None or not typed.startswith("--"):
            raise ConfigError(f"unknown option {typed}{nearest(name, parser.options, dashed=True)}")
        if option.hint is None:
            if equals:
                raise ConfigError(f"{typed} takes no value, but {value} was given")
            plain.append(f"--{_dashes(name)}")
            continue
        if not equals:
            value = _following(waiting, "true" if option.hint is bool else "")
        if not value:
            raise ConfigError(f"{typed} needs a value: {_wanted(option.hint)}")
        if name == "config":
            presets.append(value)
            continue
        if NUMBER.fullmatch(value) and option.hint not in (str, str | None):
            value = str(number(value))
        plain.append(f"--{_dashes(name)}={value}")
    return plain, presets


def _following(waiting: list[str], alone: str) -> str:
    """The value that follows an option, or what it means ``alone``."""
    if not waiting or waiting[-1].startswith("--"):
        return alone
    return waiting.pop()


def inside(file: str) -> str:
    """Where it stands, unless on the command line."""
    return f" (in {file})" if file else ""


def _short(value: Any) -> str:
    text = "empty" if value is None else shown(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _dashes(name: str) -> str:
    return name.replace("_", "-")


def nearest(name: str, names: Any, dashed: bool = False) -> str:
    """Which of ``names`` may have been meant: by its whole name, or by its last part."""
    by_key = {key: whole for whole in names for key in (whole, whole.rpartition(".")[2])}
    wanted = [name, name.rpartition(".")[2]]
    near = [n for w in wanted for n in difflib.get_close_matches(w, by_key, n=1, cutoff=0.7)]
    if not near:
        return "; --help lists all"
    best = by_key[near[0]]
    return f"; did you mean {'--' + _dashes(best) if dashed else best}?"


def shown(value: Any) -> str:
    """A value as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return f"{value:_}" if isinstance(value, int) else str(value)


def _alternatives(hint: Any) -> list[str]:
    """What a value of this type may be, in words."""
    if hint == str | None:  # a text that may be left out; nobody types null
        return ["a text"]
    if get_origin(hint) in (Union, types.UnionType):
        return [word for part in get_args(hint) for word in _alternatives(part)]
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    if get_origin(hint) is tuple:
        if float in get_args(hint):
            return ["a list of numbers, such as [2.4, .2]"]
        return ["a list of whole numbers, such as [128, 128]"]
    words = {
        int: ["a whole number"],
        float: ["a number"],
        bool: ["true", "false"],
        str: ["a text"],
        type(None): ["null"],
    }
    return words[hint]


def _wanted(hint: Any) -> str:
    *others, last = _alternatives(hint)
    return f"{', '.join(others)} or {last}" if others else last


def _metavar(hint: Any) -> str:
    short = {"a whole number": "N", "a number": "X", "a text": "TEXT"}
    listed = "[X,...]" if float in get_args(hint) else "[N,...]"
    words = [short.get(word, word) for word in _alternatives(hint)]
    return "|".join(listed if word.startswith("a list") else word for word in words)
