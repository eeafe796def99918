"""Settings in words: a value, a name and a type as ``--help`` and error messages show them."""

import re
import sys
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin


def printable(text: str) -> str:
    """Text of unknown origin on one line, without control characters; what is not Unicode, such as
    bytes in a path, is escaped."""
    text = text.encode(errors="backslashreplace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shown(value: Any) -> str:
    """A value as a person writes it in YAML: ``null``, ``true``, ``[128, 128]``, ``1_000_000``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:_}" if isinstance(value, int) else str(value)


def counted(count: int, noun: str) -> str:
    """``1 game``, ``2 games``, ``1,200 games``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


POSITIONAL = ("run", "file")
"""What a command takes without a name, in this order."""


def as_typed(name: str) -> str:
    """A name as on the command line: ``--replay.n-step``; ``RUN``."""
    return name.upper() if name in POSITIONAL else f"--{name.replace('_', '-')}"


def text_metavar(hint: Any) -> str | None:
    """``FILE`` of ``File | None``, ``TEXT`` of a plain ``str``; None if the type is no text."""
    for part in (hint, *get_args(hint)):
        kind, metadata = _unpack(part)
        if kind is str:
            return str(metadata[0]) if metadata else "TEXT"
    return None


def metavar(hint: Any) -> str:
    """What stands for the value in ``--help``: ``N``, ``X|null``, ``auto|cpu|cuda``."""
    if text := text_metavar(hint):
        return text
    kind, _ = _unpack(hint)
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return "|".join(parts)
    if get_origin(kind) is tuple:
        return f"[{metavar(parts[0])},...]"
    if parts:  # a union
        return "|".join(map(metavar, parts))
    return {int: "N", float: "X", bool: "true|false", NoneType: "null"}[kind]


def in_words(hint: Any) -> str:
    """What a type allows: ``a whole number of at least 1, or all``."""
    *others, last = _alternatives(hint)
    comma = "," if any(" " in word for word in others) else ""
    return f"{', '.join(others)}{comma} or {last}" if others else last


def _alternatives(hint: Any) -> list[str]:
    if name := text_metavar(hint):  # if it may be null too, nobody types that
        ending = Path(name).suffix
        return [f"the name of a {ending} file" if ending else "a text"]
    kind, metadata = _unpack(hint)
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return list(parts)
    if get_origin(kind) is tuple:
        item, bounds = _unpack(parts[0])
        example = "[128, 128]" if item is int else "[2.4, 0.2]"
        return [f"a list of {_NOUNS[item]}s{_range(bounds)}, such as {example}"]
    if parts:  # a union
        return [word for part in parts for word in _alternatives(part)]
    if kind in _NOUNS:
        return [f"a {_NOUNS[kind]}{_range(metadata)}"]
    return ["true", "false"] if kind is bool else ["null"]


def _unpack(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return (hint.__origin__, hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())


_NOUNS = {int: "whole number", float: "number"}


def _range(metadata: tuple[Any, ...]) -> str:
    words = {"gt": "above", "ge": "of at least", "le": "up to"}
    found = [(key, getattr(item, key, None)) for item in metadata for key in words]
    bounds = {key: bound for key, bound in found if bound is not None}
    if bounds.keys() == {"ge", "le"}:
        return f" from {bounds['ge']:,} to {bounds['le']:,}"
    return " and".join(f" {words[key]} {bound:,}" for key, bound in bounds.items())


def as_started(text: str) -> str:
    """A text with the program's name: ``main.py play``, or ``dqn play`` where it is installed."""
    installed = Path(sys.argv[0]).name == "dqn"
    return re.sub(r"(python )?main\.py", "dqn", text) if installed else text
