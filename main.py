"""Train, evaluate and watch deep Q-networks: ``python main.py --game Breakout``."""

import dataclasses
import sys
from collections.abc import Callable

from dqn.config import ConfigError


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
    except KeyboardInterrupt:  # training saves and exits by itself; the others have nothing to lose
        return 130
    except BrokenPipeError:
        return 1


# Each command imports what it needs when it is called: --help and a typing mistake answer at once.


def train_command(arguments: list[str]) -> int:
    """``train``, the default."""
    from dqn.config.cli import parse
    from dqn.config.commands import TrainOptions
    from dqn.config.loading import as_yaml

    options = parse(TrainOptions, arguments)
    if options.print_config:
        from dqn.envs import resolve_game

        game = options.settings.game and resolve_game(options.settings.game)
        print(as_yaml(dataclasses.replace(options.settings, game=game)), end="")
        return 0
    from dqn.run.process import log_to_terminal
    from dqn.run.train import train

    log_to_terminal()
    return train(options.settings, options.name, options.fresh)


def evaluate_command(arguments: list[str]) -> int:
    """``evaluate RUN``: score a trained agent on new episodes."""
    from dqn.config.cli import parse
    from dqn.config.commands import EvaluateOptions

    options = parse(EvaluateOptions, arguments)
    from dqn.commands.evaluate import evaluate_run

    return evaluate_run(options)


def play_command(arguments: list[str]) -> int:
    """``play RUN``: watch a trained agent."""
    from dqn.config.cli import parse
    from dqn.config.commands import PlayOptions

    options = parse(PlayOptions, arguments)
    from dqn.commands.play import play_run

    return play_run(options)


def compare_command(arguments: list[str]) -> int:
    """``compare RUN RUN``: runs of one game beside each other and published scores."""
    from dqn.config.cli import parse
    from dqn.config.commands import CompareOptions

    options = parse(CompareOptions, arguments)
    from dqn.commands.compare import compare

    return compare(options)


def bench_command(arguments: list[str]) -> int:
    """``bench``: the speed of each part on this machine, and of the training loop."""
    from dqn.config.cli import parse
    from dqn.config.commands import BenchOptions

    options = parse(BenchOptions, arguments)
    config = dataclasses.replace(options.settings, game=options.settings.game or "Breakout")
    from dqn.commands.bench import bench

    return bench(config, options.seconds, options.peers, options.json)


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
