"""Train, evaluate and watch deep Q-networks: ``python main.py --game Breakout``."""

import sys
from collections.abc import Callable

from dqn.config import ConfigError

TRAIN = """Train a deep Q-network on a game: python main.py --game Breakout. The same command again
continues the run where its last checkpoint left it. Other commands, each with its own --help:
evaluate RUN, play RUN."""


def main(arguments: list[str]) -> int:
    """Run the command typed; returns the exit status."""
    command, rest = "train", arguments
    if arguments and arguments[0] in COMMANDS:
        command, rest = arguments[0], arguments[1:]
    try:
        return COMMANDS[command](rest)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1


# Each command imports what it needs when it is called: --help and a typing mistake answer at once.


def train_command(arguments: list[str]) -> int:
    """``train``, the default."""
    from dqn.options import parse_training, training_parser

    config, name, fresh = parse_training(training_parser("main.py", TRAIN), arguments)
    from dqn.run import log_to_terminal
    from dqn.train import train

    log_to_terminal()
    return train(config, name, fresh)


def evaluate_command(arguments: list[str]) -> int:
    """``evaluate RUN``: score a trained network on fresh games."""
    from dqn.options import evaluate_parser, parse

    options = parse(evaluate_parser(), arguments)
    from dqn.saved import evaluate_run

    return evaluate_run(
        options.run,
        options.checkpoint,
        options.episodes,
        options.seed,
        options.device,
        options.json,
    )


def play_command(arguments: list[str]) -> int:
    """``play RUN``: watch a trained network."""
    from dqn.options import parse, play_parser

    options = parse(play_parser(), arguments)
    from dqn.saved import play_run

    return play_run(
        options.run, options.checkpoint, options.seed, options.device,
        video=options.video, gif=options.gif, png=options.png, window=options.window,
    )  # fmt: skip


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train_command,
    "evaluate": evaluate_command,
    "play": play_command,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
