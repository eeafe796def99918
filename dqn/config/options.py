"""Command line and YAML -> Config, and back. The command line wins over ``--config``, and both over
the defaults, which stand in config.py alone."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

import docstring_parser
import yaml
from jsonargparse import Namespace

from dqn.config import Config, ConfigError, flatten
from dqn.config.parser import Option, Parser, inside, nearest, shown, tokens
from dqn.config.validation import validate
from dqn.config.yaml_files import PRESETS, load_yaml_file


@functools.cache  # to make it takes a tenth of a second
def training_parser() -> Parser:
    """The parser of the training command: every field of Config is an option."""
    parser = Parser(
        "main.py",
        "[train] --game GAME [--OPTION VALUE ...]",
        "Train a deep Q-network on a game. The same command again continues the run where its "
        "last checkpoint left it. Other commands, each with a --help of its own: "
        "main.py evaluate RUN; main.py play RUN; main.py compare RUN RUN; main.py bench. What "
        "--config names wins over the defaults below, and the command line over both; in its YAML "
        "the options have underscores and their sections are mappings. Whole numbers may be "
        "written 2_000_000 or 2e6. One step is one decision in one environment, 4 emulator frames "
        "on Atari.",
    )
    _add_presets(parser, "it names the run")
    meaning = "Move an old run of that name aside and start anew."
    parser.add("fresh", Option(None, False, meaning))
    meaning = "Print every option as YAML that --config reads, and exit."
    parser.add("print_config", Option(None, False, meaning))
    _add_fields(parser, Config)
    return parser


def bench_parser() -> Parser:
    """The parser of ``bench``: every field of Config is an option, and the game Breakout."""
    parser = Parser(
        "main.py bench",
        "[--OPTION VALUE ...]",
        "Measure what this machine can do, part by part, and how near the training loop comes.",
    )
    _add_presets(parser, "what it sets is measured")
    parser.add("seconds", Option(float, 10.0, "How long each part is measured."), "S")
    meaning = "Measure Stable-Baselines3's DQN beside ours (requirements-bench.txt)."
    parser.add("peers", Option(None, False, meaning))
    parser.add("json", Option(str, None, "Write the figures there too."), "FILE")
    _add_fields(parser, Config)
    return parser


def evaluate_parser() -> Parser:
    """The parser of ``evaluate``."""
    parser = _reader_parser(
        "evaluate",
        "Play whole games with a trained network, under the protocol it was trained with, and "
        "score them.",
    )
    meaning = "Games, one in each of as many environments (default: as many as in training)."
    parser.add("episodes", Option(int, None, meaning), "N")
    parser.add("json", Option(str, None, "Write the scores there too."), "FILE")
    return parser


def play_parser() -> Parser:
    """The parser of ``play``."""
    parser = _reader_parser("play", "Play one game with a trained network, to be watched.")
    parser.add("video", Option(str, None, "Write an mp4."), "FILE")
    parser.add("gif", Option(str, None, "Write an animated GIF."), "FILE")
    parser.add("png", Option(str, None, "Write a picture for each decision."), "FOLDER")
    parser.add("window", Option(None, False, "Show it on this display."))
    return parser


def compare_parser() -> Parser:
    """The parser of ``compare``."""
    parser = Parser(
        "main.py compare",
        "RUN [RUN ...] [--picture FILE]",
        "Put runs of one game beside each other: their evaluations at equal steps and after equal "
        "wall time, and the scores that others published.",
    )
    parser.add_argument("run", metavar="RUN", nargs="+", help="A run's folder.")
    meaning = "Draw training returns and evaluations there, over steps and over minutes (.png)."
    parser.add("picture", Option(str, None, meaning), "FILE")
    return parser


def _reader_parser(command: str, description: str) -> Parser:
    parser = Parser(f"main.py {command}", "RUN [--OPTION VALUE ...]", description)
    parser.add_argument("run", metavar="RUN", help="A run's folder, or a shipped agent's.")
    parser.add("checkpoint", Option(str, "latest", "Which network."), "latest|best|STEP")
    parser.add("seed", Option(int, 0, "Of the games, which differ from those of training."), "N")
    meaning = "Where the network runs; auto: the GPU if torch can use one."
    parser.add("device", Option(Literal["auto", "cpu", "cuda"], "auto", meaning))
    return parser


def _add_presets(parser: Parser, what: str) -> None:
    presets = ", ".join(path.stem for path in sorted(PRESETS.glob("*.yaml")))
    meaning = f"A YAML file of options; {what}. In configs/: {presets}."
    parser.add("config", Option(str, None, meaning), "FILE")


def _add_fields(parser: Parser, kind: Any, prefix: str = "", group: Any = None) -> None:
    hints = get_type_hints(kind)
    meanings = {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for parameter in docstring_parser.parse_from_object(kind).params
    }
    group = group or parser.add_argument_group(kind.__doc__)
    for field in dataclasses.fields(kind):
        name = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            _add_fields(parser, hints[field.name], f"{name}.")
        else:
            option = Option(hints[field.name], field.default, meanings[field.name])
            parser.add(name, option, group=group)


class TrainingOptions(NamedTuple):
    """What was asked of the training command."""

    config: Config
    name: str
    """The preset's; ``dqn`` if none was given."""
    fresh: bool
    print_config: bool


def parse_training(parser: Parser, arguments: list[str]) -> TrainingOptions:
    """The training command's options.

    Raises:
        ConfigError: one sentence that says what is wrong, and where.
    """
    values, presets = _parse_fields(parser, arguments)
    name = Path(presets[-1]).stem if presets else "dqn"
    return TrainingOptions(_config(parser, values), name, values["fresh"], values["print_config"])


class BenchOptions(NamedTuple):
    """What was asked of ``bench``."""

    config: Config
    seconds: float
    peers: bool
    json: str | None


def parse_bench(parser: Parser, arguments: list[str]) -> BenchOptions:
    """The options of ``bench``.

    Raises:
        ConfigError: one sentence that says what is wrong, and where.
    """
    values, _ = _parse_fields(parser, arguments)
    config = _config(parser, values)
    config = dataclasses.replace(config, game=config.game or "Breakout")
    if not 0 < values["seconds"] < 3600:
        raise ConfigError(
            f"--seconds must be more than 0 and less than 3,600, not {values['seconds']}"
        )
    return BenchOptions(config, values["seconds"], values["peers"], values["json"])


def _parse_fields(parser: Parser, arguments: list[str]) -> tuple[Namespace, list[str]]:
    """The values of a command line that may hold every field, and the presets it names."""
    typed, presets = tokens(parser, arguments)
    for argument in typed:
        if not argument.startswith("--"):
            raise ConfigError(f"unexpected {argument!r}; a game is given as --game Breakout")
    parser.given.clear()
    values = parser.get_defaults()
    for preset in presets:
        values = _read(parser, preset, values)
    parser.given |= _given(typed)
    return parser.parse_args(typed, namespace=values), presets


def parse(parser: Parser, arguments: list[str], several: bool = False) -> Any:
    """The options of a command other than training, by name; ``several``: of more than one run.

    Raises:
        ConfigError: one sentence that says what is wrong, and where.
    """
    typed, _ = tokens(parser, arguments)
    runs = [argument for argument in typed if not argument.startswith("--")]
    if typed != ["--help"] and (not runs or (len(runs) > 1 and not several)):
        what = f"one RUN is wanted, not {' '.join(runs)}" if runs else "no RUN given"
        raise ConfigError(f"{what}; try {parser.prog} checkpoints/Breakout/dqn-seed1")
    parser.given |= _given(typed)
    return parser.parse_args(typed)


def load_config(path: Path) -> Config:
    """The Config that a run's config.yaml or a preset holds.

    Raises:
        ConfigError: it cannot be read, or holds what is no config.
    """
    parser = training_parser()
    parser.given.clear()
    return _config(parser, _read(parser, str(path), parser.get_defaults()))


def as_yaml(config: Config) -> str:
    """Every field, in the order of the classes, as YAML that ``load_config`` reads."""
    flat = flatten(config)
    lists = {name: list(value) for name, value in flat.items() if isinstance(value, tuple)}
    tree = _nested(flat | lists)
    return yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def _given(typed: list[str]) -> dict[str, tuple[Any, str]]:
    parts = [argument[2:].partition("=") for argument in typed if argument.startswith("--")]
    return {name.replace("-", "_"): (value, "") for name, _, value in parts}


def _read(parser: Parser, file: str, values: Namespace) -> Namespace:
    """What a YAML file says, on top of ``values``."""
    tree = load_yaml_file(file)
    sections = {name.partition(".")[0] for name in parser.options if "." in name}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in sections:
            flat[str(key)] = value
        elif isinstance(value, dict):
            flat |= {f"{key}.{field}": inner for field, inner in value.items()}
        elif value is not None:  # a section of which everything was commented out
            raise ConfigError(
                f"{key} must be a mapping of fields, such as {_example(parser, key)}, "
                f"not {value}{inside(file)}"
            )
    for name, value in flat.items():
        option = parser.options.get(name)
        if option is None or option.hint is None or name == "config":
            fields = [n for n, option in parser.options.items() if option.hint and n != "config"]
            raise ConfigError(f"unknown key {name}{inside(file)}{nearest(name, fields)}")
        parser.given[name] = value, file
        if value is None and type(None) not in get_args(option.hint):
            parser.error(f"{name}: is empty")
    merged: Namespace = parser.parse_object(_nested(flat), namespace=values)
    return merged


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """``{"replay.n_step": 1}`` -> ``{"replay": {"n_step": 1}}``"""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        section, _, field = name.rpartition(".")
        place = tree.setdefault(section, {}) if section else tree
        place[field] = value
    return tree


def _config(parser: Parser, values: Namespace) -> Config:
    """The Config of parsed values, with every number in its range."""

    def made(kind: Any, prefix: str = "") -> Any:
        hints = get_type_hints(kind)
        return kind(
            **{
                name: made(hint, f"{prefix}{name}.")
                if dataclasses.is_dataclass(hint)
                else values[prefix + name]
                for name, hint in hints.items()
            }
        )

    config: Config = made(Config)
    try:
        validate(config)
    except ConfigError as error:
        name = str(error).partition(" ")[0]
        _, file = parser.given.get(name, ("", ""))
        raise ConfigError(f"{error}{inside(file)}") from None
    return config


def _example(parser: Parser, section: str) -> str:
    name = next(name for name in parser.options if name.startswith(f"{section}."))
    return f"{section}: {{{name.partition('.')[2]}: {shown(parser.options[name].default)}}}"
