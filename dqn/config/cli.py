"""The command line: options to settings. It takes precedence over ``--config``, and both over the
defaults."""

import argparse
import dataclasses
import functools
import re
from collections.abc import Iterator
from types import NoneType
from typing import Any, NamedTuple, NoReturn, TypeVar, get_args, get_origin

import yaml

from dqn.config.fields import ConfigError, Given, build, prefix_of
from dqn.config.rules import unknown
from dqn.config.shipped import PRESETS, find_preset
from dqn.config.words import (
    POSITIONAL,
    as_started,
    as_typed,
    in_words,
    metavar,
    shown,
    text_metavar,
)
from dqn.config.yaml_file import parse_yaml, read_settings

SHORT = {"--keep": "--keep-checkpoints"}
"""Other spellings on the command line."""

Options = TypeVar("Options")


class Option(NamedTuple):
    """One option of a command."""

    name: str
    """As in YAML: ``replay.n_step``."""
    hint: Any
    default: Any
    meaning: str
    section: str


def options_of(kind: Any) -> Iterator[Option]:
    """The options of a command, read off its class: a field each."""
    section = "options" if hasattr(kind, "usage") else kind.__doc__
    without = getattr(kind, "without", ())  # settings that the command makes itself
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.default):
            options = options_of(type(field.default))
            yield from (option for option in options if option.name not in without)
        elif field.name not in (*POSITIONAL, "typed"):
            name, about = prefix_of(kind) + field.name, kind.__pydantic_fields__[field.name]
            yield Option(name, field.type, field.default, about.description, section)


def parse(kind: type[Options], arguments: list[str]) -> Options:
    """The options of a command, a class of ``commands``; ``--help`` prints them and exits.

    Raises:
        ConfigError: one sentence: what is wrong, where, and what would be right.
    """
    options = {option.name: option for option in options_of(kind)}
    parser = _make_parser(kind, options)
    if {"-h", "--help"} & set(arguments):  # whatever else is wrong
        parser.parse_args(["--help"])
    namespace, words = parser.parse_known_args(list(_normalized(arguments)))
    typed = vars(namespace)
    for word in words:
        if word.startswith("-"):
            option = word.partition("=")[0]
            raise unknown(option.lstrip("-").replace("-", "_"), options, option)
    files = typed.pop("config", [])
    given: dict[str, Given] = {}
    is_suite = "typed" in kind.__annotations__  # each of its runs has a config of its own
    if not is_suite:
        for file in files:
            given |= read_settings(find_preset(_value(options["config"], file)))
    for name, text in typed.items():
        given[name] = Given(value := _value(options[name], text))
        if options[name].hint is bool and not isinstance(value, bool):  # perhaps the next word
            raise ConfigError(f"{as_typed(name)} must be {in_words(bool)}, not {text}")
    if is_suite:
        given = {name: value for name, value in given.items() if name in kind.__annotations__}
        given["typed"] = Given(tuple(typed.items()))
    return build(kind, given | {"config": Given(tuple(files))} | _positional(kind, words))


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print the usage and exit."""

    options: dict[str, Option]

    def error(self, message: str) -> NoReturn:
        option, _, problem = message.removeprefix("argument ").partition(": ")
        if problem == "expected one argument":
            raise _needs_value(self.options[option.lstrip("-").replace("-", "_")])
        if problem.startswith("ignored explicit argument"):
            raise ConfigError(f"{option} takes no value, but one was given")
        raise ConfigError(message)


def _make_parser(kind: Any, options: dict[str, Option]) -> _Parser:
    parser = _Parser(
        usage=as_started(kind.usage),
        description=as_started(" ".join([kind.__doc__, *_positional_help(kind)])),
        epilog=f"Presets: {', '.join(PRESETS)}." if "config" in options else None,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=6),
    )
    parser.options = options
    groups: dict[str, Any] = {"options": parser}
    for option in options.values():
        if option.section not in groups:
            groups[option.section] = parser.add_argument_group(option.section)
        extra: dict[str, Any] = {"metavar": metavar(option.hint)}
        if option.hint is bool and option.section == "options":
            extra = {"action": "store_const", "const": "true"}
        elif option.hint is bool:  # may also be followed by true or false
            extra |= {"nargs": "?", "const": "true"}
        elif option.name == "config":
            extra |= {"action": "append"}
        unset = not option.default and text_metavar(option.hint)
        default = "." if unset else f" (default {shown(option.default)})."
        groups[option.section].add_argument(
            as_typed(option.name),
            dest=option.name,
            help=f"{option.meaning.removesuffix('.')}{default}".replace("%", "%%"),
            **extra,
        )
    return parser


def _positional_help(kind: Any) -> Iterator[str]:
    """A sentence about each value that is typed without a name."""
    for name in POSITIONAL:
        if about := kind.__pydantic_fields__.get(name):
            meaning = about.description
            placeholder = text_metavar(kind.__annotations__[name])
            yield f"{placeholder}: {meaning[0].lower()}{meaning[1:]}"


def _normalized(arguments: list[str]) -> Iterator[str]:
    """Names with dashes, and ``--x=-1e-3`` of ``--x -1e-3``, which argparse takes for an option."""
    waiting = list(reversed(arguments))
    while waiting:
        argument = waiting.pop()
        if argument.startswith("--"):
            option, equals, text = argument.partition("=")
            if not equals and waiting and re.match(r"-\.?\d", waiting[-1]):
                equals, text = "=", waiting.pop()
            option = option.replace("_", "-")
            argument = f"{SHORT.get(option, option)}{equals}{text}"
        yield argument


def _positional(kind: Any, words: list[str]) -> dict[str, Given]:
    """The values typed without a name: of a command's ``run``, or of all of them if it takes
    several, and of its ``file``."""
    hints = {name: kind.__annotations__.get(name) for name in POSITIONAL}
    hints = {name: hint for name, hint in hints.items() if hint is not None}
    if not hints and words:
        raise ConfigError(f"unexpected {words[0]!r}; a game is given as --game Breakout")
    missing = [text_metavar(hint) for name, hint in hints.items() if not hasattr(kind, name)]
    if len(words) < len(missing):
        example = as_started(f"python {kind.example}")
        raise ConfigError(f"no {missing[len(words)]} given; try {example}")
    if any(get_origin(hint) is tuple for hint in hints.values()):
        return {"run": Given(tuple(words))}
    if len(words) > len(hints):
        expected = " and one ".join(str(text_metavar(hint)) for hint in hints.values())
        raise ConfigError(f"expected one {expected}, not {' '.join(words)}")
    return {name: Given(word) for name, word in zip(hints, words, strict=False)}


def _value(option: Option, text: str) -> Any:
    """A text from the command line: as it is if the option is a text that is not null, otherwise
    as YAML."""
    if not text:
        raise _needs_value(option)
    if text_metavar(option.hint):
        return None if text == "null" and NoneType in get_args(option.hint) else text
    try:
        return parse_yaml(text)[0]
    except yaml.YAMLError:
        return text


def _needs_value(option: Option) -> ConfigError:
    sentence = f"{as_typed(option.name)} needs a value: {in_words(option.hint)}"
    return ConfigError(sentence.removesuffix(": a text"))
