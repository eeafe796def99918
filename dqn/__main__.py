"""The command line: which command runs, and how its process begins and ends.

``python main.py``, ``python -m dqn`` and the installed ``dqn`` are the same program.
"""

import codecs
import errno
import importlib
import os
import signal
import sys


def main(arguments: list[str]) -> int:
    """Run the command typed, by default ``train``; returns the exit status."""
    # Imported here: a package that is missing is then reported in one sentence, see below.
    from dqn.config import ConfigError
    from dqn.config.cli import parse
    from dqn.config.commands import COMMANDS, overview
    from dqn.config.words import as_started

    if not arguments:
        print(as_started(overview()), file=sys.stderr)
        return 2
    command, rest = "train", arguments
    if not arguments[0].startswith("-"):
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
    except BrokenPipeError:  # the reader has read enough: | head -1
        return 0


def start() -> int:
    """``main`` as a process of its own; returns the exit status."""
    _use_utf8()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        status = main(sys.argv[1:])
    except SystemExit as left:  # --help, SIGTERM
        status = int(left.code or 0)
    except OSError as error:
        if error.filename is not None:  # a file's: a bug, since commands handle their own
            raise
        _say_incomplete(error)
        status = 1
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        if package == "dqn":
            raise
        print(
            f"error: {sys.executable} has no package {package}; type `. .venv/bin/activate` "
            "first, or install what requirements.txt lists",
            file=sys.stderr,
        )
        status = 1
    return status if _flushed(silent=status == 1) else 1


def _terminated(number: int, _: object) -> None:
    """End as Ctrl-C does, leaving no half-written file; training has a handler of its own."""
    raise SystemExit(128 + number)


def _use_utf8() -> None:
    """Start again in Python's UTF-8 mode if the locale knows only ASCII, and show what cannot be
    encoded as an escape: a path may hold any letter, or bytes that are no letter at all."""
    ascii_only = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    if ascii_only and os.environ.get("PYTHONUTF8") != "1":  # once
        arguments = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, arguments, os.environ | {"PYTHONUTF8": "1"})
    for stream in (sys.stdout, sys.stderr):
        if stream:  # None after >&-
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _say_incomplete(error: OSError) -> None:
    print("error: the output is not complete:", error.strerror, file=sys.stderr)


def _flushed(silent: bool) -> bool:
    """Write what stdout and stderr still hold; returns whether nothing was lost, and says so unless
    ``silent``.

    The interpreter would do it as it exits, and end with status 120 where the reader or the
    terminal is gone, which is no failure.
    """
    complete = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # takes what is left
            if stream is sys.stdout and error.errno not in (errno.EPIPE, errno.EIO):
                complete = False
                if not silent:
                    _say_incomplete(error)
    return complete


if __name__ == "__main__":
    sys.exit(start())
