"""The page of a report: one HTML file that needs nothing else, without a network."""

import base64
import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path

import dqn
from dqn.storage.files import replace_file
from dqn.web.report_parts import Section

TEMPLATES = Path(__file__).parent / "templates"


@dataclass
class Report:
    """The content of the page."""

    title: str
    sections: list[Section]
    problems: list[str]
    """What could not be shown, and why."""
    every: float | None = None
    """Seconds between two versions of the page, which then reloads itself; None: there is one."""


def write(report: Report, file: Path) -> int:
    """Write the page, whose folder is made; returns its size in bytes.

    Raises:
        OSError: it cannot be written; an older one is kept.
    """
    page = render(report).encode("utf-8", "backslashreplace")
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, page)
    return len(page)


def render(report: Report) -> str:
    """The page's HTML."""
    # Imported here: --help must not wait for them.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), (TEMPLATES / "report.js").read_text(encoding="utf-8")]
    assert not any("</script" in script for script in scripts)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    charts = [chart for part in report.sections for chart in (*part.curves, *part.charts)]
    numbers = {id(chart): f"chart-{number}" for number, chart in enumerate(charts)}
    return environment.get_template("report.html").render(
        report=report,
        figures={numbers[id(chart)]: chart.figure for chart in charts},
        id_of=lambda chart: numbers[id(chart)],
        scripts=[Markup(script) for script in scripts],  # ours and plotly's, not a reader's
        hashes=[_hash(script) for script in scripts],
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        made=dt.datetime.now(dt.UTC),
        version=dqn.__version__,
    )


def _hash(script: str) -> str:
    """What the page's policy allows to run, and nothing else."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
