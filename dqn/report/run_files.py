"""What lies in a run's folder beside its record: where it was trained, films, fresh evaluations."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

from dqn.config import printable
from dqn.report.run_record import EVALUATION_FIELDS, RunRecord, has_fields

MAX_BYTES = 10_000_000
"""A larger .json file in a run's folder is no evaluation."""


def provenance_of(folder: Path) -> dict[str, str]:
    """What the head of config.yaml says of the program and the machine, by its name: ``device``,
    ``threads``, ``dqn``, ``torch`` ...; empty if it has none."""
    try:
        text = (folder / "config.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    head = itertools.takewhile(lambda line: line.startswith("# "), text.splitlines())
    parts = (re.split(r":? ", line[2:], maxsplit=1) for line in head)
    return {name: printable(value) for name, value in (part for part in parts if len(part) == 2)}


def fresh_evaluation(folder: Path) -> dict[str, Any] | None:
    """The newest file that ``evaluate --json`` wrote into the folder, or None."""
    found = []
    for file in folder.glob("*.json"):
        try:
            if file.stat().st_size > MAX_BYTES:
                continue
            content = json.loads(file.read_bytes())
            written = file.stat().st_mtime
        except (OSError, ValueError, RecursionError):
            continue
        fields = EVALUATION_FIELDS | {"checkpoint": str, "seed": int}
        if has_fields(content, fields):
            found.append((written, content | {"file": file.name}))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def films(run: RunRecord) -> list[tuple[dict[str, Any], Path]]:
    """The evaluations of which ``--render`` kept a film, and the films."""
    numbered = enumerate(run.evaluations, 1)
    found = [(line, run.path / f"eval_{number:03d}.mp4") for number, line in numbered]
    return [(line, film) for line, film in found if film.is_file()]
