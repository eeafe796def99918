"""Validated dataclasses: the types of their fields, and the sentence that refuses a wrong value."""

import functools
from collections.abc import Callable
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pydantic.dataclasses
from annotated_types import Interval
from pydantic import ConfigDict, ValidationError

__all__ = [
    "ConfigError", "Device", "File", "Folder", "Games", "Probability", "Seed", "SettingError",
    "Threads", "as_typed", "hints", "in_words", "metavar", "printable", "shown", "text_metavar",
    "validated",
]  # fmt: skip


class ConfigError(ValueError):
    """What was typed or configured is wrong; the message is one sentence for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class SettingError(ConfigError):
    """One setting is wrong; its dotted name begins the sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.name, _, self.problem = str(self).partition(" ")


def printable(text: str) -> str:
    """Text of unknown origin on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


Seed = Annotated[int, Interval(ge=0, le=2**63 - 1)]
Games = Annotated[int, Interval(ge=1, le=4096)]
Threads = Annotated[int, Interval(ge=0, le=1024)]
Probability = Annotated[float, Interval(ge=0, le=1)]
Device = Literal["auto", "cpu", "cuda"]
Folder = Annotated[str, "FOLDER"]  # a string in an annotation names the value in --help
File = Annotated[str, "FILE"]

_CONFIG = ConfigDict(
    strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
)

if TYPE_CHECKING:
    from dataclasses import dataclass as validated
else:

    def validated(*, frozen: bool) -> Callable[[type], type]:
        """A pydantic dataclass that raises ConfigError for an invalid value.

        A field's docstring becomes its description. ``ReplayConfig`` holds ``replay.*``.
        """

        def decorate(kind: type) -> type:
            kind = pydantic.dataclasses.dataclass(frozen=frozen, config=_CONFIG)(kind)
            validate = kind.__init__

            @functools.wraps(validate)
            def init(self: Any, *args: Any, **values: Any) -> None:
                try:
                    validate(self, *args, **values)
                except ValidationError as error:
                    raise _refusal(kind, error, values) from None

            kind.__init__ = init
            return kind

        return decorate


def _refusal(kind: type, error: ValidationError, values: dict[str, Any]) -> ConfigError:
    """The first mistake that pydantic found, in our words."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:  # a rule about several settings, which raised our own error
        raised: ConfigError = first["ctx"]["error"]
        return raised
    field = str(first["loc"][0])
    section, config, _ = kind.__name__.rpartition("Config")
    name = f"{section.lower()}.{field}" if section and config else field
    if field not in hints(kind):
        return SettingError(f"{name} is not a setting")
    value = shown(values.get(field, first["input"]))
    value = value if len(value) <= 60 else f"{value[:60]}..."
    return SettingError(f"{name} must be {in_words(hints(kind)[field])}, not {value}")


@functools.cache
def hints(kind: type) -> dict[str, Any]:
    """The type of each field, with its range."""
    return get_type_hints(kind, include_extras=True)


def shown(value: Any) -> str:
    """A value as a person writes it in YAML: ``null``, ``true``, ``[128, 128]``, ``1_000_000``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:_}" if isinstance(value, int) else str(value)


def as_typed(name: str) -> str:
    """A name as on the command line: ``--replay.n-step``."""
    return f"--{name.replace('_', '-')}"


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
    if text_metavar(hint):
        return ["a text"]  # if it may be null too, nobody types that
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
    keys = ("gt", "ge", "le")
    found = [(key, getattr(item, key, None)) for item in metadata for key in keys]
    bounds = {key: bound for key, bound in found if bound is not None}
    if bounds.keys() == {"ge", "le"}:
        return f" from {bounds['ge']:,} to {bounds['le']:,}"
    words = {"gt": "above", "ge": "of at least", "le": "up to"}
    return " and".join(f" {words[key]} {bound:,}" for key, bound in bounds.items())
