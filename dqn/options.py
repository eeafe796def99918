"""Command line and YAML -> Config, and back. jsonargparse does the parsing; this file gives it the
house's manners: one sentence for a mistake, whole numbers as people write them."""

import re
from argparse import ArgumentError
from pathlib import Path
from typing import Any, NoReturn

import jsonargparse
import yaml
from jsonargparse import ArgumentParser, set_loader, set_parsing_settings
from jsonargparse.typing import NonNegativeInt, PositiveInt

from dqn.config import Config, ConfigError, flatten, validate

set_parsing_settings(docstring_parse_attribute_docstrings=True)


class _Loader(yaml.SafeLoader):
    """YAML in which ``2e6`` is the whole number 2000000 and ``6.25e-5`` a number at all."""


_NUMBER = re.compile(r"[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+")
_Loader.add_implicit_resolver(
    "!number", re.compile(f"^(?:{_NUMBER.pattern})$"), list("-+0123456789")
)


def _number(text: str) -> int | float:
    value = float(text.replace("_", ""))
    return int(value) if value.is_integer() else value


_Loader.add_constructor("!number", lambda _, node: _number(str(node.value)))


def _load_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader with one more number


set_loader("yaml", _load_yaml, exceptions=(yaml.YAMLError,))


class Parser(ArgumentParser):
    """Raises ConfigError where argparse would print its usage and exit."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:  # noqa: ARG002
        """Turn argparse's complaint into one sentence."""
        raise ConfigError(_one_sentence(message))


def training_parser(prog: str, description: str) -> Parser:
    """The parser of the training command: every field of Config is an option."""
    parser = Parser(prog=prog, description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument(
        "--config",
        action=jsonargparse.ActionConfigFile,  # type: ignore[attr-defined]  # not in its __all__ help="A preset: configs/NAME.yaml."
    )
    parser.add_argument(
        "--fresh", action="store_true", help="Move an old run of that name aside and start anew."
    )
    parser.add_class_arguments(Config)
    return parser


def evaluate_parser() -> Parser:
    """The parser of ``evaluate``."""
    parser = _reader_parser("evaluate", "Play whole games with a trained network and score them.")
    parser.add_argument(
        "--episodes", type=PositiveInt, help="Games, one in each of as many environments."
    )
    parser.add_argument("--json", metavar="FILE", help="Write the scores there too.")
    return parser


def play_parser() -> Parser:
    """The parser of ``play``."""
    parser = _reader_parser("play", "Play one game with a trained network, to be watched.")
    parser.add_argument("--video", metavar="FILE", help="Write an mp4.")
    parser.add_argument("--gif", metavar="FILE", help="Write an animated GIF.")
    parser.add_argument("--png", metavar="FOLDER", help="Write a picture for each decision.")
    parser.add_argument("--window", action="store_true", help="Show it on this display.")
    return parser


def _reader_parser(command: str, description: str) -> Parser:
    parser = Parser(
        prog=f"main.py {command}", description=description, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", help="A run's folder, or a shipped agent's.")
    parser.add_argument(
        "--checkpoint", default="latest", metavar="latest|best|STEP", help="Which network."
    )
    parser.add_argument(
        "--seed", type=NonNegativeInt, default=0, help="Of the games; others than in training."
    )
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="Where it runs."
    )
    return parser


def normalise(arguments: list[str]) -> list[str]:
    """Dashes as underscores in option names, ``2e6`` as 2000000, and ``--config`` first, so that
    what is typed beside it always wins; ``--render`` alone means true."""
    presets: list[str] = []
    others: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if not argument.startswith("--"):
            others.append(_plain(argument))
            continue
        name, equals, value = argument.partition("=")
        value = _plain(value)
        name = "--" + name[2:].replace("-", "_")
        following = arguments[position] if position < len(arguments) else None
        if name == "--config" and not equals and following is not None:
            presets += [f"{name}={following}"]
            position += 1
        elif name == "--config":
            presets.append(name + equals + value)
        elif name == "--render" and not equals and following not in ("true", "false"):
            others.append("--render=true")
        else:
            others.append(name + equals + value)
    return presets + others


def _plain(value: str) -> str:
    return str(_number(value)) if _NUMBER.fullmatch(value) else value


def parse(parser: Parser, arguments: list[str]) -> Any:
    """The options of a command other than training, by name.

    Raises:
        ConfigError: one sentence that says what is wrong, and where.
    """
    return _parse(parser, normalise(arguments))


def parse_training(parser: Parser, arguments: list[str]) -> tuple[Config, str, bool]:
    """The config, the name of its preset (``dqn`` if none is given) and whether to start afresh.

    Raises:
        ConfigError: one sentence that says what is wrong, and where.
    """
    values = _parse(parser, normalise(arguments))
    config: Config = _instantiate(parser, values)
    validate(config)
    presets = values["config"] or []
    name = Path(str(presets[-1])).stem if presets else "dqn"
    return config, name, values["fresh"]


def load_config(path: Path) -> Config:
    """The Config that a run's config.yaml or a preset holds.

    Raises:
        ConfigError: it cannot be read, or holds what is no config.
    """
    parser = training_parser("config", "")
    config: Config = _instantiate(parser, _parse(parser, [f"--config={path}"]))
    validate(config)
    return config


def as_yaml(config: Config) -> str:
    """Every field, in the order of the classes, as YAML that ``load_config`` reads."""
    tree: dict[str, Any] = {}
    for name, value in flatten(config).items():
        section, _, field = name.rpartition(".")
        place = tree.setdefault(section, {}) if section else tree
        place[field] = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(tree, sort_keys=False)


def _parse(parser: Parser, arguments: list[str]) -> Any:
    try:
        return parser.parse_args(arguments)
    except ArgumentError as error:
        raise ConfigError(_one_sentence(str(error))) from None
    except yaml.YAMLError as error:
        raise ConfigError(_one_sentence(str(error))) from None


def _instantiate(parser: Parser, values: Any) -> Config:
    try:
        made = parser.instantiate(values)
    except TypeError:
        raise ConfigError(
            "a section (env, replay, network, ...) of the config is not a mapping of fields"
        ) from None
    fields = {name: made[name] for name in Config.__dataclass_fields__}
    return Config(**fields)


def _one_sentence(message: str) -> str:
    """jsonargparse's explanation without its line breaks and its names of Python's types."""
    message = re.sub(r'^Parser key "([^"]+)":', r"\1:", message.strip())
    message = re.sub(r"<class '(\w+)'>", lambda found: _TYPES.get(found[1], found[1]), message)
    message = re.sub(r"typing\.Literal(\[[^]]*\])", r"one of \1", message)
    return " ".join(message.split())


_TYPES = {"int": "whole number", "float": "number", "bool": "true or false", "str": "text"}
