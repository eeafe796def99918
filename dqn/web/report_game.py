"""The section of a game: its runs' curves, tables, distributions and films."""

import base64
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from dqn.config.words import counted
from dqn.config.yaml_file import as_yaml
from dqn.envs import display_name
from dqn.report.groups import by_config, protocol_of
from dqn.report.run_files import films
from dqn.report.run_record import RunRecord
from dqn.web.report_charts import distributions, measures
from dqn.web.report_curves import learning_curves
from dqn.web.report_parts import Film, Section, and_list, number
from dqn.web.report_published import published_rows
from dqn.web.report_tables import differences_table, runs_table, warnings

MOST_FILMS = 6


def game_of(run: RunRecord) -> str:
    """The game a run plays, as its evaluations call it."""
    if run.evaluations:
        return str(run.evaluations[-1]["game"])
    return display_name(run.config.game or "")


def game_section(
    game: str, anchor: str, records: list[RunRecord], page: Path, embed_films: bool, most: int
) -> Section:
    """All there is to say about the runs of a game, in curves of at most ``most`` points; ``page``
    is the file they are shown in."""
    groups = by_config(records)
    protocols = sorted({protocol_of(line) for run in records for line in run.evaluations})
    published = published_rows(game, protocols)
    section = Section(game, anchor)
    section.sentences = list(_sentences(records, most))
    section.warnings = warnings(records, published)
    for axis in ("step", "minutes"):
        if chart := learning_curves(game, groups, axis, published, most):
            section.curves.append(chart)
    if section.curves:
        section.published = published
        section.has_published_curves = any(row.value is None for row in published)
    section.tables = [runs_table(groups)]
    if differences := differences_table(groups):
        section.tables.append(differences)
    section.configs = [(name, as_yaml(runs[0].config)) for name, runs in groups]
    boxes = distributions(game, groups)
    section.charts = [*([boxes] if boxes else []), *measures(game, groups, most)]
    _add_films(section, records, page, embed_films)
    return section


def _sentences(records: list[RunRecord], most: int) -> Iterable[str]:
    yield f"{counted(len(records), 'run')} of {counted(len(by_config(records)), 'config')}."
    if bare := [run.folder for run in records if not (run.evaluations or run.training)]:
        yield f"{and_list(bare)}: neither evaluations nor training reports, so no curves."
    if young := [run.folder for run in records if run.training and not run.evaluations]:
        verb = "has" if len(young) == 1 else "have"
        yield f"{and_list(young)} {verb} no evaluations yet, only what training tells."
    if without := [run.folder for run in records if not run.has_clock]:
        verb = "is" if len(without) == 1 else "are"
        yield (
            f"{and_list(without)} {verb} shown without wall time: the event files, the only record "
            "of the clock, are damaged or incomplete."
        )
    if any(len(run.evaluations) > most for run in records):
        yield f"Curves show {most} evaluations of a run, evenly spaced, which keeps the page small."


def _add_films(section: Section, records: list[RunRecord], page: Path, embed: bool) -> None:
    """The films of the run with the best filmed evaluation."""
    filmed = [(run, films(run)) for run in records]
    filmed = [(run, found) for run, found in filmed if found]
    if not filmed:
        section.film_note = "There are no films; runs with --render keep one of each evaluation."
        return
    run, found = max(filmed, key=lambda pair: max(line["mean"] for line, _ in pair[1]))
    best = max(reversed(found), key=lambda pair: pair[0]["mean"])
    every = -(-len(found) // (MOST_FILMS - 1))
    for line, file in [best, *(pair for pair in found[::-1][::every] if pair is not best)]:
        what = "best evaluation" if line is best[0] else "evaluation"
        title = f"{run.folder}, {what} with a film: mean {number(line['mean'])} at step "
        try:
            source = _embedded(file) if embed else _relative(file, page)
        except OSError as error:
            section.warnings.append(f"{file} cannot be read ({error.strerror}).")
            continue
        section.films.append(Film(f"{title}{line['step']:,}", source))
    section.film_note = (
        "One more episode, played beside the evaluation; its return may differ from the mean."
    )
    if not embed:
        section.film_note += (
            " The films are files beside this page, and have to travel with it; --films puts them "
            "into the page."
        )


def _embedded(file: Path) -> str:
    return f"data:video/mp4;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _relative(file: Path, page: Path) -> str:
    """The film's URL from the page's folder."""
    path = os.path.relpath(file.resolve(), page.resolve().parent)
    return f"./{quote(os.fsencode(path))}"
