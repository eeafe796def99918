"""Validated dataclasses: the types of their fields, how they are built, and the error that refuses
a wrong value."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, cast, dataclass_transform

import pydantic.dataclasses
from annotated_types import Interval, Predicate
from pydantic import ConfigDict, ValidationError

from dqn.config.words import as_typed, in_words, printable, shown

T = TypeVar("T")


class ConfigError(ValueError):
    """What was typed or configured is wrong; the message is one sentence for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class SettingError(ConfigError):
    """One setting is wrong; its dotted name begins the sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.name, _, self.problem = str(self).partition(" ")


Seed = Annotated[int, Interval(ge=0, le=2**63 - 1)]
Games = Annotated[int, Interval(ge=1, le=4096)]
Threads = Annotated[int, Interval(ge=0, le=1024)]
Probability = Annotated[float, Interval(ge=0, le=1)]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "tf32", "bfloat16"]
Folder = Annotated[str, "FOLDER"]  # a string in an annotation names the value in --help
File = Annotated[str, "FILE"]
# Not StringConstraints, which refuse a path of bytes that are not UTF-8.
Png = Annotated[str, "FILE.png", Predicate(lambda name: name.endswith(".png"))]
Gif = Annotated[str, "FILE.gif", Predicate(lambda name: name.endswith(".gif"))]
Onnx = Annotated[str, "FILE.onnx", Predicate(lambda name: name.endswith(".onnx"))]
Html = Annotated[str, "FILE.html", Predicate(lambda name: name.endswith(".html"))]
Mp4 = Annotated[str, "FILE.mp4", Predicate(lambda name: name.endswith(".mp4"))]

_CONFIG = ConfigDict(
    strict=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
)


@dataclass_transform(frozen_default=True)
def validated(kind: Any) -> Any:
    """A frozen pydantic dataclass that raises ConfigError for an invalid value.

    A field's docstring becomes its description.
    """
    kind = pydantic.dataclasses.dataclass(frozen=True, config=_CONFIG)(kind)
    validate = kind.__init__

    @functools.wraps(validate)
    def init(self: Any, *args: Any, **values: Any) -> None:
        try:
            validate(self, *args, **values)
        except ValidationError as error:
            raise _refusal(kind, error, values) from None

    kind.__init__ = init
    return kind


def _refusal(kind: type, error: ValidationError, values: dict[str, Any]) -> ConfigError:
    """The first mistake that pydantic found, in our words."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:  # a rule about several settings, which raised our own error
        raised: ConfigError = first["ctx"]["error"]
        return raised
    field = str(first["loc"][0])
    name = prefix_of(kind) + field
    hint = kind.__annotations__.get(field)
    if hint is None:
        return SettingError(f"{name} is not a setting")
    value = shown(values.get(field, first["input"]))
    value = value if len(value) <= 60 else f"{value[:60]}..."
    return SettingError(f"{name} must be {in_words(hint)}, not {value}")


def prefix_of(kind: type) -> str:
    """``replay.`` of ReplayConfig, whose settings it begins; empty for the other classes."""
    section = kind.__name__.rpartition("Config")[0]
    return f"{section.lower()}." if section else ""


class Given(NamedTuple):
    """A value somebody set."""

    value: Any
    where: str = ""
    """`` (in FILE, line 3)``; empty on the command line."""


def build(kind: Callable[..., T], given: dict[str, Given]) -> T:
    """An object of the class and its sections, with the given values."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, kind)):
        name = prefix_of(cast(type, kind)) + field.name
        if dataclasses.is_dataclass(field.default):
            values[field.name] = build(type(field.default), given)
        elif name in given:
            value = given[name].value
            values[field.name] = tuple(value) if isinstance(value, list) else value
    try:
        return kind(**values)
    except SettingError as error:
        source = given.get(error.name)
        if source is None:
            raise
        name = error.name if source.where else as_typed(error.name)
        raise ConfigError(f"{name} {error.problem}{source.where}") from None
