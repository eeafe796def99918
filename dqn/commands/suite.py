"""``suite``: many runs, each a task of a Ray cluster, and the table of their scores."""

import dataclasses
import json
import logging
import shlex
from pathlib import Path
from typing import Any

from dqn.commands.suite_plan import Plan, PlannedRun, check_folders, identity, make_plan
from dqn.commands.suite_scores import read_scores, summary
from dqn.commands.train import train
from dqn.config import ConfigError
from dqn.config.commands import SuiteOptions
from dqn.config.words import as_started, as_typed, counted
from dqn.report.suite_table import SuiteTable
from dqn.run.folder import RunFolder
from dqn.run.process import StopSignals, log_to_terminal
from dqn.run.resume import is_finished
from dqn.scale.cluster import check_folder, check_resources, connect
from dqn.scale.runs import Driver, Job, Run
from dqn.storage.checkpoint import newest_first
from dqn.storage.files import remove, replace_file
from dqn.storage.manifest import CorruptCheckpoint, read_manifest
from dqn.storage.suite_record import FILE, SuiteRun, read_suite

log = logging.getLogger("dqn")

LOG_LINES = 10
"""How many of its log's last lines are shown of a failed run."""


def run(options: SuiteOptions) -> int:
    """Train what is missing and print the scores; returns the exit status.

    Raises:
        ConfigError: what was typed or configured is wrong, a folder is another suite's or run's, or
            the cluster cannot do it.
    """
    plan = make_plan(options)
    check_folders(plan.runs)
    log_to_terminal()
    folder = RunFolder(plan.folder, elsewhere="--name or --checkpoints-dir")
    try:
        return Suite(options, plan).run()
    finally:
        folder.close()


class Suite:
    """A suite that is being trained."""

    def __init__(self, options: SuiteOptions, plan: Plan) -> None:
        self._options, self._plan = options, plan
        saved, self._scores = _read(plan)
        self._runs = [Run(_job(plan, run, i)) for i, run in enumerate(plan.runs)]
        for run, planned in zip(self._runs, plan.runs, strict=True):
            if before := saved.get(planned.label):
                run.attempts, run.node = before.attempts, before.node
            if _has_finished(planned):
                run.state = "finished"

    def run(self) -> int:
        """Train what is not finished; returns the exit status."""
        missing = [run for run in self._runs if run.state != "finished"]
        status = self._train(missing) if missing else 0
        for run in missing:
            if run.state == "failed":
                self._report(run)
        finished = [
            planned
            for planned, run in zip(self._plan.runs, self._runs, strict=True)
            if run.state == "finished"
        ]
        if found := read_scores(finished):
            text, self._scores = summary(found)
            print(text)
        self._save()
        if status:
            log.info("The suite is stopped, and its runs are saved; the same command continues.")
        return status or int(any(run.state != "finished" for run in missing))

    def _train(self, missing: list[Run]) -> int:
        """Train these runs; returns 128 + the signal that stopped them, or 0."""
        options, plan = self._options, self._plan
        table = SuiteTable(
            [planned.label for planned in plan.runs],
            [planned.folder for planned in plan.runs],
            [planned.config.total_steps for planned in plan.runs],
        )

        def changed(run: Run) -> None:
            table.set(self._runs.index(run), run.state, run.node, run.attempts, run.reason)
            self._save()

        with StopSignals() as stop, connect(options.address):
            check_resources(options.cpus_per_run, options.gpus_per_run)
            check_folder(plan.folder.resolve())
            for run in self._runs:
                if run not in missing:
                    changed(run)
            log.info(
                "Suite %s: %s, %d of them finished, in %s.", plan.name,
                counted(len(self._runs), "run"), len(self._runs) - len(missing), plan.folder,
            )  # fmt: skip
            driver = Driver(
                train, options.cpus_per_run, options.gpus_per_run, changed, table.refresh
            )
            driver.drive(missing, stop)
        for run in self._runs:
            remove(run.job.note)
        return stop.exit_status

    def _report(self, run: Run) -> None:
        """Say why a run failed, with the last lines of its log."""
        log.error("error: %s failed %s: %s.", run.job.folder, _times(run), run.reason)
        try:
            lines = (run.job.folder / "train.log").read_text(errors="replace").splitlines()
        except OSError:
            return
        for line in lines[-LOG_LINES:]:
            log.error("    %s", line)

    def _save(self) -> None:
        """Write suite.json."""
        options = self._options
        typed = [f"{as_typed(name)}={text}" for name, text in options.typed]
        words = [options.run] * bool(options.run) + [f"--config={f}" for f in options.config]
        runs = [
            {
                "run": planned.label, "game": planned.game, "config": planned.name,
                "seed": planned.config.seed, "command": planned.command,
                "identity": identity(planned), "state": run.state, "attempts": run.attempts,
                "node": run.node, "reason": run.reason,
            }
            for planned, run in zip(self._plan.runs, self._runs, strict=True)
        ]  # fmt: skip
        content = {
            "command": as_started(f"python main.py suite {shlex.join([*words, *typed])}"),
            "cpus_per_run": options.cpus_per_run, "gpus_per_run": options.gpus_per_run,
            "runs": runs, "scores": self._scores,
        }  # fmt: skip
        file = self._plan.folder / FILE
        try:
            replace_file(file, (json.dumps(content, indent=1) + "\n").encode())
        except OSError as error:  # the runs look after themselves
            log.warning("%s is not up to date (%s).", file, error.strerror)


def _times(run: Run) -> str:
    return counted(run.failures, "time") if run.failures else "after its process died"


def _job(plan: Plan, planned: PlannedRun, index: int) -> Job:
    # Workers start in folders of their own.
    absolute = str(Path(planned.config.checkpoints_dir).resolve())
    config = dataclasses.replace(planned.config, checkpoints_dir=absolute)
    note = plan.folder.resolve() / f".run_{index:04d}.json"
    return Job(config, planned.name, planned.folder.resolve(), note)


def _has_finished(planned: PlannedRun) -> bool:
    """Whether a run's newest checkpoint is its last one."""
    newest = next(iter(newest_first(planned.folder)), None)
    try:
        return newest is not None and is_finished(read_manifest(newest), planned.config)
    except CorruptCheckpoint:
        return False


def _read(plan: Plan) -> tuple[dict[str, SuiteRun], dict[str, Any]]:
    """The runs in an existing suite.json by their labels, and the scores there.

    Raises:
        ConfigError: it is damaged, or of another suite.
    """
    if not (plan.folder / FILE).exists():
        return {}, {}
    saved = {run.run: run for run in read_suite(plan.folder).runs}
    theirs = {label: run.identity for label, run in saved.items()}
    ours = {run.label: identity(run) for run in plan.runs}
    words = {
        "new": ours.keys() - theirs.keys(),
        "gone": theirs.keys() - ours.keys(),
        "with other settings": {k for k in ours.keys() & theirs.keys() if ours[k] != theirs[k]},
    }
    changes = [f"{what}: {', '.join(sorted(labels))}" for what, labels in words.items() if labels]
    if changes:
        raise ConfigError(
            f"{plan.folder} is another suite ({'; '.join(changes)}); choose another --name, under "
            "which finished runs still count"
        )
    return saved, json.loads((plan.folder / FILE).read_bytes())["scores"]
