"""Tables of one game: its runs, where their configs differ, what others published."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dqn.config import MAY_CHANGE_ON_RESUME, flatten
from dqn.config.words import shown
from dqn.evaluation import scores
from dqn.report.groups import Groups, protocol_of
from dqn.report.progress import duration
from dqn.report.run_files import fresh_evaluation, provenance_of
from dqn.report.run_record import RunRecord
from dqn.web.report_parts import Cell, Published, Table, number

HEADINGS = [
    "run", "steps", "wall time", "final", "best", "fresh evaluation", "steps/s", "hardware",
    "precision", "program", "protocol",
]  # fmt: skip
UNKNOWN = ("unknown", "none yet")


def runs_table(groups: Groups) -> Table:
    """A row a run; what is unlike most runs is marked."""
    rows = [_row(run) for _, runs in groups for run in runs]
    for column in range(HEADINGS.index("hardware"), len(HEADINGS)):
        known = [row[column] for row in rows if row[column].text not in UNKNOWN]
        counts = Counter(known).most_common()
        if len(counts) < 2 or counts[0][1] == counts[1][1]:
            continue  # of two that are as frequent neither is the usual
        for row in rows:
            if row[column] in known:
                row[column] = row[column]._replace(marked=row[column] != counts[0][0])
    return Table("Runs", HEADINGS, rows)


def _row(run: RunRecord) -> list[Cell]:
    lines, about = run.evaluations, provenance_of(run.path)
    end = max((line["step"] for line in (*lines[-1:], *run.training[-1:])), default=0)
    last = [line["minutes"] for line in (*lines[-1:], *run.training[-1:])]
    minutes = max(last) if last and run.has_clock else None
    best = max(reversed(lines), key=lambda line: line["mean"], default=None)
    fresh = fresh_evaluation(run.path)
    protocols = dict.fromkeys(map(protocol_of, [*lines, *([fresh] if fresh else [])]))
    program = [f"dqn {about['dqn']}"] if "dqn" in about else []
    program += [f"commit {about['commit']}"] if "commit" in about else []
    machine = [about[name] for name in ("device", "machine") if name in about]
    machine += [f"threads: {about['threads']}"] if "threads" in about else []
    texts = [
        run.folder,
        f"{end:,} of {run.config.total_steps:,}",
        "unknown" if minutes is None else duration(60 * minutes),
        _score(lines[-1] if lines else None),
        f"{_score(best)} at step {best['step']:,}" if best else "none",
        f"{_score(fresh)} ({fresh['file']}, {fresh['checkpoint']})" if fresh else "none",
        f"{end / (60 * minutes):,.0f}" if minutes else "unknown",
        ", ".join(machine) or "unknown",
        run.config.precision,
        ", ".join(program) or "unknown",
        " and ".join(protocols) or "none yet",
    ]
    return list(map(Cell, texts))


def _score(line: dict[str, Any] | None) -> str:
    """Mean of an evaluation and its standard error."""
    if line is None:
        return "none"
    several = len(line["returns"]) > 1
    error = f" ± {number(scores.standard_error(line['returns']))}" if several else ""
    return f"{number(line['mean'])}{error}"


def differences_table(groups: Groups) -> Table | None:
    """The settings in which the configs differ, those unlike the first config's marked; None if
    there is one config."""
    settings = [flatten(runs[0].config) for _, runs in groups]
    rows = []
    for name in settings[0]:
        values = [shown(config[name]) for config in settings]
        if len(set(values)) > 1 and name not in MAY_CHANGE_ON_RESUME | {"seed"}:
            rows.append([Cell(name), *(Cell(value, value != values[0]) for value in values)])
    headings = ["setting", *(name for name, _ in groups)]
    return Table("Where the configs differ", headings, rows) if rows else None


def warnings(records: Sequence[RunRecord], published: Sequence[Published]) -> list[str]:
    """What stands in the way of comparing the scores."""
    found: dict[str, list[str]] = {}
    for run in records:
        for line in run.evaluations:
            names = found.setdefault(protocol_of(line), [])
            if run.folder not in names:
                names.append(run.folder)
    sentences = []
    if len(found) > 1:
        parts = "; ".join(f"{protocol} ({', '.join(runs)})" for protocol, runs in found.items())
        sentences.append(
            f"These runs were evaluated under different protocols, so scores of one do not compare "
            f"with those of another: {parts}."
        )
    if published and found and any(row.differs for row in published):
        subject = "No published score was"
        if not all(row.differs for row in published):
            subject = "Not all published scores were"
        sentences.append(
            f"{subject} measured as these runs were; the table of published scores says how each "
            "differs."
        )
    return sentences
