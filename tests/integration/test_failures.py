"""Faults around a run change neither what is saved nor the results: exceptions, closed terminals,
other clocks and locales."""

import errno
import itertools
import logging
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import ROOT, command
from support.runs import CARTPOLE, NEVER, assert_same, reports, run_of, train

from dqn.config.yaml_file import load_run_config
from dqn.report.tensorboard import EventWriter
from dqn.run.process import log_to_file, log_to_terminal
from dqn.storage.files import why_unwritable
from main import main

SHORT = [*CARTPOLE, "--total-steps=1600", "--evaluate-period=800"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A short run without faults."""
    return train(tmp_path_factory.mktemp("undisturbed"), SHORT, NEVER)


def test_an_unexpected_exception_is_in_the_log(tmp_path, monkeypatch, capfd):
    def broken(*_: object) -> None:
        raise RuntimeError("out of memory, say")

    monkeypatch.setattr("dqn.learning.learner.Learner.update", broken)
    assert main([*SHORT, f"--checkpoints-dir={tmp_path}"]) == 1
    logged = (run_of(tmp_path) / "train.log").read_text()
    assert "RuntimeError: out of memory, say" in logged
    assert "what was saved in" in capfd.readouterr().err


# A terminal or pipe that closes.

BUFFERED = os.environ | {"PYTHONUNBUFFERED": ""}
"""Where the interpreter, as it exits, would still have something to write."""


def ended(folder: Path, process: "subprocess.Popen[bytes]", undisturbed: Path) -> None:
    """It trains to the same end, as train.log says too."""
    assert process.wait(timeout=120) == 0
    assert "Done: 1,600 steps." in (run_of(folder) / "train.log").read_text()
    assert_same(run_of(folder), undisturbed)


def test_no_stderr_at_all(undisturbed, tmp_path):
    shell = " ".join(map(shlex.quote, command(tmp_path, SHORT, NEVER))) + " 2>&-"
    ended(tmp_path, subprocess.Popen(shell, shell=True), undisturbed)


def test_the_line_at_which_the_terminal_closes_is_in_the_log(tmp_path, monkeypatch):
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("dqn.run.process.tqdm.write", gone)
    log = logging.getLogger("dqn")
    monkeypatch.setattr(log, "handlers", [])
    log_to_terminal()
    handler = log_to_file(tmp_path / "train.log")
    for line in ("first", "second"):
        log.warning(line)
    handler.close()
    text = (tmp_path / "train.log").read_text()
    assert [line[20:] for line in text.splitlines()] == ["first", "second"]


def test_a_closed_pipe(undisturbed, tmp_path):
    process = subprocess.Popen(command(tmp_path, SHORT), stderr=subprocess.PIPE, env=BUFFERED)
    assert process.stderr and process.stderr.readline().startswith(b"Starting")
    process.stderr.close()
    ended(tmp_path, process, undisturbed)


def test_a_closed_terminal(undisturbed, tmp_path):
    """As under nohup, where the hang-up itself is ignored."""
    ours, theirs = pty.openpty()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the process inherits it
    process = subprocess.Popen(
        command(tmp_path, SHORT), stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, env=BUFFERED,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    ended(tmp_path, process, undisturbed)


# Clocks and locales.

TURKISH = "tr_TR.UTF-8"


@pytest.mark.parametrize(
    "place",
    [
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONUTF8": "0", "COLUMNS": "20"},
        {"TZ": "America/St_Johns", "LC_ALL": TURKISH, "LANG": TURKISH, "PYTHONHASHSEED": "4711"},
    ],
    ids=["an island", "Turkish"],
)
def test_another_locale(place, undisturbed, tmp_path):
    folder = tmp_path / os.fsdecode("Ümlaut".encode())
    options = command(folder, SHORT)
    environment = os.environ | place
    done = subprocess.run(options, env=environment, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Starting" in done.stderr.decode() and "Ümlaut" in done.stderr.decode()
    assert_same(run_of(folder), undisturbed)


@pytest.mark.slow
def test_a_folder_whose_name_is_no_text(tmp_path, monkeypatch):
    """A name from before UTF-8: train, resume and compare; what is shown has an escape. (In
    processes of their own: pytest's workers cannot hand such a name on.)"""
    monkeypatch.chdir(tmp_path)
    folder = Path(os.fsdecode(b"\xdcb"))
    for steps in (800, 1600):
        typed = command(folder, SHORT, f"--total-steps={steps}", NEVER)
        done = subprocess.run(typed, capture_output=True, check=True)
    run = run_of(folder)
    assert rb"Continuing \udcdcb" in done.stderr
    assert rb"Starting \udcdcb" in (run / "train.log").read_bytes()
    assert load_run_config(run).checkpoints_dir == str(folder)
    other = run_of(shutil.copytree(folder, tmp_path / "other"))  # so the run is named by its path
    options = [str(run), str(other), f"--picture={folder}/compared.png"]
    compare = [sys.executable, str(ROOT / "main.py"), "compare", *options]
    compared = subprocess.run(compare, capture_output=True, check=True)
    assert os.fsencode(f"\\udcdcb/{run.relative_to(folder)}") in compared.stdout
    assert (folder / "compared.png").stat().st_size > 0


def test_a_clock_that_runs_backwards(undisturbed, tmp_path, monkeypatch):
    seconds = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(seconds)))
    for steps in (800, 1600):
        train(tmp_path, [*SHORT, f"--total-steps={steps}"], NEVER)
    assert_same(run_of(tmp_path), undisturbed)
    assert reports(run_of(tmp_path)) == 3
    names = sorted(path.name for path in run_of(tmp_path).glob("events.*"))
    assert len(names) == 2, "a file a process, in order of their names though the clock went back"


def test_an_event_file_comes_after_every_older_one(tmp_path):
    """Even within one second: TensorBoard reads them in the order of their names."""
    names = []
    for step in (0, 100, 200):
        EventWriter(tmp_path, step, {})
        (new,) = {path.name for path in tmp_path.iterdir()} - set(names)
        names.append(new)
    assert names == sorted(names)


def test_where_a_file_could_be_written_is_named(tmp_path, monkeypatch):
    """In a container only checkpoints/ may be."""
    monkeypatch.chdir(tmp_path)
    denied = PermissionError(errno.EACCES, "Permission denied")
    sentence = "pong.mp4: Permission denied; name a file in a folder that you may write"
    assert why_unwritable("pong.mp4", denied) == sentence
    (tmp_path / "checkpoints").mkdir()
    assert why_unwritable("pong.mp4", denied) == f"{sentence}, such as checkpoints/pong.mp4"
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert why_unwritable("a/pong.mp4", missing) == "a/pong.mp4: No such file or directory"
