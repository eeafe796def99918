"""``report RUN|FOLDER|SUITE``: runs and suites as one page that opens anywhere."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dqn.config import ConfigError, printable
from dqn.config.commands import ReportOptions
from dqn.config.shipped import find_run
from dqn.config.words import counted
from dqn.report.groups import shortened
from dqn.report.run_record import RunRecord, read_run
from dqn.storage.files import why_unwritable
from dqn.storage.saved_run import run_config, runs_in
from dqn.storage.suite_record import FILE, SuiteRecord, read_suite, run_folders

if TYPE_CHECKING:
    from dqn.web.report_page import Report

Suites = dict[Path, SuiteRecord]


def run(options: ReportOptions) -> int:
    """Write the page, and with ``--every`` again and again.

    Raises:
        ConfigError: there is no run or none that can be read, or the page cannot be written.
    """
    _write(options)
    while options.every:
        time.sleep(options.every)
        try:
            _write(options)
        except ConfigError as error:  # a run is moved aside, the disk is full: it may pass
            print("warning:", error, file=sys.stderr)
    return 0


def _write(options: ReportOptions) -> None:
    # Imported here: plotly takes half a second, and a wrong folder is answered at once.
    from dqn.web.report_page import write

    folders, suites = _sources(options.run)
    file = Path(options.html)
    report = _report(options, folders, suites, file)
    try:
        size = write(report, file)
    except OSError as error:
        raise ConfigError(f"cannot write {why_unwritable(options.html, error)}") from None
    for problem in report.problems:
        print("warning:", problem, file=sys.stderr)
    print(f"wrote {options.html}: {report.title}, {size / 1e6:.1f} MB", flush=True)


def _sources(named: Iterable[str]) -> tuple[list[Path], Suites]:
    """The folders of the runs that were named, alone, as a folder's or as a suite's; and the
    suites.

    Raises:
        ConfigError: something named is none of these.
    """
    folders: dict[Path, Path] = {}
    suites: Suites = {}
    for name in named:
        folder = find_run(name)
        try:
            found = _runs_of(folder, suites)
        except OSError as error:
            raise ConfigError(f"{printable(name)} cannot be read: {error.strerror}") from None
        folders |= {path.resolve(): path for path in reversed(found)}
    return sorted(folders.values()), suites


def _runs_of(folder: Path, suites: Suites) -> list[Path]:
    """The folders of the runs in one that was named, which joins ``suites`` if it is a suite's."""
    if (folder / FILE).is_file():
        folder = folder.resolve()
        suites[folder] = read_suite(folder)
        return [path for path in run_folders(folder, suites[folder]) if path.exists()]
    if (folder / "config.yaml").is_file():
        return [folder]
    found = runs_in(folder)
    if not found and folder.is_dir():
        raise ConfigError(
            f"{folder} is not a run's folder (no config.yaml), and there are no runs in it or one "
            "folder below"
        )
    if not found:
        run_config(folder)  # says that there is none, and which there are
    return found


def _report(options: ReportOptions, folders: list[Path], suites: Suites, file: Path) -> "Report":
    from dqn.web.report_curves import most_points
    from dqn.web.report_game import game_of, game_section
    from dqn.web.report_page import Report
    from dqn.web.report_suite import suite_section

    records: list[RunRecord] = []
    problems = []
    for folder in folders:
        try:
            records.append(read_run(str(folder)))
        except ConfigError as error:
            problems.append(f"{printable(str(folder))}: {error}")
    if not records and not suites:
        raise ConfigError(problems[0])
    if records:
        records = shortened(records)
    sections = [
        suite_section(printable(folder.name), f"suite-{number}", suite)
        for number, (folder, suite) in enumerate(suites.items(), 1)
    ]
    games = sorted({game_of(record) for record in records})
    most = most_points(len(records)) if records else 0
    for number, game in enumerate(games, 1):
        runs = [record for record in records if game_of(record) == game]
        name = printable(game)
        sections.append(game_section(name, f"game-{number}", runs, file, options.films, most))
    of = games[0] if len(games) == 1 else counted(len(games), "game")
    parts = [section.title for section in sections[: len(suites)]]
    title = ", ".join([*parts, f"{counted(len(records), 'run')} of {of}"])
    return Report(printable(title), sections, problems, options.every)
