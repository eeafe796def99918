"""What goes over the websocket: commands of the page as JSON texts, and moments of a game as binary
messages of JSON and pictures."""

import json
import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from dqn.web.keyboard import KEYS

MAX_BYTES = 4096
"""Length of a command at most."""

SLOWEST, FASTEST = 0.1, 16.0
"""Limits of the speed, 1 being the game's own."""


class Command(NamedTuple):
    """Something the page asks for; ``value`` has been checked."""

    name: str
    value: Any


class UnknownMessage(ValueError):
    """The message is no command; says why."""


def parse(text: str) -> Command:
    """The command in a text such as ``{"do": "speed", "value": 2}``.

    Raises:
        UnknownMessage: it is none.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise UnknownMessage("not JSON") from None
    if not isinstance(message, dict) or message.keys() != {"do", "value"}:
        raise UnknownMessage("expected an object of do and value")
    name, value = message["do"], message["value"]
    if not isinstance(name, str) or name not in _CHECKS:
        raise UnknownMessage("unknown command")
    if not _CHECKS[name](value):
        raise UnknownMessage(f"invalid value of {name}")
    return Command(name, value)


def _number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high


def _seed(value: Any) -> bool:
    """A text of digits: a number of JavaScript would be exact up to 2^53 only."""
    return (
        isinstance(value, str) and bool(re.fullmatch("[0-9]{1,19}", value)) and int(value) < 2**63
    )


def _keys(value: Any) -> bool:
    is_list = isinstance(value, list) and all(isinstance(key, str) for key in value)
    return is_list and KEYS.issuperset(value)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "pause": lambda value: isinstance(value, bool),
    "step": lambda value: value is None,
    "speed": lambda value: _number(value, SLOWEST, FASTEST),
    "seed": _seed,
    "checkpoint": lambda value: isinstance(value, str) and len(value) < 40,
    "epsilon": lambda value: _number(value, 0, 1),
    "saliency": lambda value: isinstance(value, bool),
    "human": lambda value: isinstance(value, bool),
    "keys": _keys,
    "drawn": lambda value: value is None,
}
"""Whether a command's value is valid."""


def pack(state: dict[str, Any], pictures: list[tuple[str, bytes]]) -> bytes:
    """A binary message: the length of the JSON (4 bytes, big-endian), the JSON, whose ``pictures``
    are names and lengths, and the pictures one after the other."""
    lengths = [[name, len(data)] for name, data in pictures]
    head = json.dumps(state | {"pictures": lengths}, allow_nan=False).encode()
    return b"".join([struct.pack(">I", len(head)), head, *(data for _, data in pictures)])
