"""Train, evaluate and watch deep Q-networks: ``python main.py --game Breakout``."""

import importlib
import sys


def main(arguments: list[str]) -> int:
    """Run the command typed, by default ``train``; returns the exit status."""
    # Imported here: a package that is missing is then reported in one sentence, see below.
    from dqn.config import ConfigError
    from dqn.config.cli import parse
    from dqn.config.commands import COMMANDS, overview

    if not arguments:
        print(overview(), file=sys.stderr)
        return 2

    command, rest = "train", arguments
    if arguments and not arguments[0].startswith("-"):
        command, rest = arguments[0], arguments[1:]
    try:
        if command not in COMMANDS:
            raise ConfigError(
                f"unknown command {command!r}; there are {', '.join(COMMANDS)}, and a game is "
                "given as --game Breakout"
            )
        options: object = parse(COMMANDS[command], rest)
        # Imported here: torch takes seconds, and --help and typing mistakes are answered at once.
        status: int = importlib.import_module(f"dqn.commands.{command}").run(options)
        return status
    except ConfigError as error:
        print("error:", error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # training saves and exits by itself; the others have nothing to lose
        return 130
    except BrokenPipeError:
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        if package == "dqn":
            raise
        print(
            f"error: {sys.executable} has no package {package}; type `. .venv/bin/activate` "
            "first, or install what requirements.txt lists",
            file=sys.stderr,
        )
        sys.exit(1)
