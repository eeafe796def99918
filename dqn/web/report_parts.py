"""What a report consists of: plain data that the page's template shows, and how curves look."""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import plotly.graph_objects as go

from dqn.config import printable

T = TypeVar("T")

COLORS = (
    "#3b82c4", "#d97706", "#2e9e6b", "#c44e9b", "#8b6fd6", "#a5794a", "#1a9c9c", "#d64545",
)  # fmt: skip
"""Of the configs; each stands out from white and from black."""

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross")
GRAY = "#8a8f98"
"""Of what others have measured."""


class Style(NamedTuple):
    """How the curves of a config look; each of the three alone tells the first six apart."""

    color: str
    dash: str
    symbol: str


def style_of(index: int) -> Style:
    """The style of the config with this number."""
    of = (COLORS, DASHES, SYMBOLS)
    return Style(*(values[index % len(values)] for values in of))


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    marked: bool = False
    """Unlike the first config's."""


class Table(NamedTuple):
    """A table; the first cell of a row is its heading."""

    caption: str
    headings: list[str]
    rows: list[list[Cell]]


class Chart(NamedTuple):
    """A plotly figure, and the same in words."""

    title: str
    label: str
    """A sentence that states its numbers, for those who do not see it."""
    note: str
    """What is drawn."""
    figure: dict[str, Any]
    numbers: Table | None = None


class Published(NamedTuple):
    """A published score or curve that can be drawn behind the runs' own."""

    key: str
    """Of its line in the figures."""
    who: str
    value: float | None
    """The score; None of a curve."""
    frames: str
    """Of training."""
    protocol: str
    differs: str
    """How it was measured otherwise than the runs."""
    drawn: bool

    @property
    def score(self) -> str:
        """As it is shown; empty of a curve."""
        return "" if self.value is None else number(self.value)


class Film(NamedTuple):
    """A film of an evaluation's episode."""

    title: str
    source: str
    """URL, relative or of the data itself."""


@dataclass
class Section:
    """A part of the page under a heading: a suite, or a game."""

    title: str
    anchor: str
    sentences: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    curves: list[Chart] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    has_published_curves: bool = False
    tables: list[Table] = field(default_factory=list)
    configs: list[tuple[str, str]] = field(default_factory=list)
    """Name and YAML of each config."""
    charts: list[Chart] = field(default_factory=list)
    films: list[Film] = field(default_factory=list)
    film_note: str = ""


def for_plotly(text: str) -> str:
    """Text of unknown origin as plotly shows it, which reads some HTML; of a long name the middle
    is left out, as its seed is at the end."""
    text = printable(text)
    return html.escape(text if len(text) <= 80 else f"{text[:39]}…{text[-40:]}", quote=False)


def finite(values: Iterable[float | None]) -> list[float | None]:
    """Numbers to six digits; None, a gap in a curve, where they are not finite."""
    return [
        float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
        for value in values
    ]


def evenly(values: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of the values, evenly spaced, the last among them."""
    if len(values) <= most:
        return list(values)
    at = np.linspace(0, len(values) - 1, most) if most > 1 else [len(values) - 1]
    return [values[round(float(i))] for i in at]


def number(value: float) -> str:
    """A score in words."""
    text = f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"
    return text.rstrip("0").rstrip(".")


def and_list(words: Iterable[str]) -> str:
    """``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def make_figure(x_title: str, y_title: str, **axes: Any) -> go.Figure:
    """An empty figure; the page gives it the colors of its light or dark theme.

    ``axes`` are plotly's ``xaxis_...`` and ``yaxis_...`` settings.
    """
    figure = go.Figure()
    figure.update_layout(
        template=go.layout.Template(),
        height=400,
        margin={"l": 56, "r": 12, "t": 8, "b": 44},
        font={"family": "system-ui, sans-serif", "size": 13},
        hovermode="closest",
        dragmode=False,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        xaxis_title_text=x_title,
        yaxis_title_text=y_title,
        **axes,
    )
    return figure


def as_data(figure: go.Figure) -> dict[str, Any]:
    """The figure as plotly.js takes it."""
    data: dict[str, Any] = figure.to_plotly_json()
    data["layout"].pop("template", None)
    return data
