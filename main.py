"""Train, evaluate and watch deep Q-networks: ``python main.py --game Breakout``."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dqn.config import Config, ConfigError

if TYPE_CHECKING:
    from dqn.learning.interfaces import MakeModel
    from dqn.run.train import MakeAgent


def main(arguments: list[str]) -> int:
    """Run the command typed; returns the exit status."""
    command, rest = "train", arguments
    if arguments and not arguments[0].startswith("-"):
        command, rest = arguments[0], arguments[1:]
    try:
        if command not in COMMANDS:
            raise ConfigError(
                f"unknown command {command!r}; there are {', '.join(COMMANDS)}, and a game is "
                "given as --game Breakout"
            )
        return COMMANDS[command](rest)
    except ConfigError as error:
        print("error:", error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # training saves first and ends by itself; here nothing is lost
        return 130
    except BrokenPipeError:
        return 1


# Each command imports what it needs when it is called: --help and a typing mistake answer at once.


def train_command(arguments: list[str]) -> int:
    """``train``, the default."""
    from dqn.config.options import as_yaml, parse_training, training_parser

    options = parse_training(training_parser(), arguments)
    if options.print_config:
        from dqn.envs import resolve_game

        game = options.config.game and resolve_game(options.config.game)
        print(as_yaml(dataclasses.replace(options.config, game=game)), end="")
        return 0
    from dqn.run.process import log_to_terminal
    from dqn.run.train import train

    log_to_terminal()
    return train(agent_maker(options.config), options.config, options.name, options.fresh)


def evaluate_command(arguments: list[str]) -> int:
    """``evaluate RUN``: score a trained network on fresh games."""
    from dqn.config.options import evaluate_parser, parse

    options = parse(evaluate_parser(), arguments)
    from dqn.commands.evaluate import evaluate_run

    return evaluate_run(
        model_maker(options.run),
        options.run,
        options.checkpoint,
        options.episodes,
        options.seed,
        options.device,
        options.json,
    )


def play_command(arguments: list[str]) -> int:
    """``play RUN``: watch a trained network."""
    from dqn.config.options import parse, play_parser

    options = parse(play_parser(), arguments)
    from dqn.commands.play import play_run

    return play_run(
        model_maker(options.run), options.run, options.checkpoint, options.seed, options.device,
        video=options.video, gif=options.gif, png=options.png, window=options.window,
    )  # fmt: skip


def compare_command(arguments: list[str]) -> int:
    """``compare RUN RUN``: runs of one game beside each other, and what others published."""
    from dqn.config.options import compare_parser, parse

    options = parse(compare_parser(), arguments, several=True)
    from dqn.commands.compare import compare

    return compare(options.run, options.picture)


def agent_maker(config: Config) -> "MakeAgent":
    """How what acts and learns is put together: by the config's method."""
    if config.method == "dqn":
        from dqn.learning.factory import make_agent as of_dqn

        return of_dqn
    from dqn.tabular.agent import make_agent

    return make_agent


def model_maker(run: str) -> "MakeModel":
    """How what a run has learned is put together: by its method."""
    from dqn.storage.saved_run import run_config

    if run_config(Path(run)).method == "dqn":
        from dqn.learning.factory import make_model as of_dqn

        return of_dqn
    from dqn.tabular.agent import make_model

    return make_model


def bench_command(arguments: list[str]) -> int:
    """``bench``: what this machine can do, and how near the loop comes."""
    from dqn.config.options import bench_parser, parse_bench

    options = parse_bench(bench_parser(), arguments)
    from dqn.commands.bench import bench

    return bench(options.config, options.seconds, options.peers, options.json)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train_command,
    "evaluate": evaluate_command,
    "play": play_command,
    "compare": compare_command,
    "bench": bench_command,
}

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ModuleNotFoundError as missing:
        if str(missing.name).startswith("dqn"):
            raise
        print(
            f"error: {sys.executable} has no package {missing.name}; type `. .venv/bin/activate` "
            "first, or install what requirements.txt lists",
            file=sys.stderr,
        )
        sys.exit(1)
