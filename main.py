"""Train, evaluate and watch deep Q-networks: ``python main.py --game Breakout``."""

import sys
from collections.abc import Callable

from dqn.config import ConfigError

DESCRIPTION = """Train a deep Q-network: python main.py --game Breakout.
The same command again continues the run. Other commands: evaluate RUN, play RUN (each with
its own --help)."""


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


def train_command(arguments: list[str]) -> int:
    """``train``, the default."""
    from dqn.options import parse_training, training_parser

    parser = training_parser("main.py", DESCRIPTION)
    config, name, fresh = parse_training(parser, arguments)
    from dqn.run import log_to_terminal
    from dqn.train import train

    log_to_terminal()
    return train(config, name, fresh)


COMMANDS: dict[str, Callable[[list[str]], int]] = {"train": train_command}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
