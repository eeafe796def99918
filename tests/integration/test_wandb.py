"""``--wandb``: Weights & Biases offline gets what TensorBoard gets, and the run stays as it is."""

import json
import logging
import sys

import numpy as np
import pytest
import wandb
from support.runs import CARTPOLE, NEVER, assert_same, scalars, train
from support.wandb_files import history, records

from dqn.report.metrics import TAGS
from main import main

SHORT = [*CARTPOLE, NEVER, "--total-steps=800", "--evaluate-period=400", "--report-period=200"]


@pytest.fixture(autouse=True)
def _forgotten():
    """What it has read of the environment; each test has its own."""
    yield
    wandb.teardown()


@pytest.fixture
def offline(monkeypatch):
    """It writes files and uses no network."""
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.mark.slow
def test_it_mirrors_tensorboard_and_changes_no_bit(offline, tmp_path):
    run = train(tmp_path / "mirrored", SHORT, "--wandb=pong and more", "--render")
    alone = train(tmp_path / "alone", SHORT)
    assert_same(run, alone)
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    points = history(file)
    curves = {tag for tag in TAGS if tag not in ("run/config", "evaluation/film", "input/stack")}
    shown = {tag: scalars(run, tag) for tag in curves & {tag for _, tag, _ in points}}
    assert len(shown) > 15 and "evaluation/mean" in shown and "episode/return" in shown
    for tag, expected in shown.items():
        mirrored = [(step, np.float32(value)) for step, name, value in points if name == tag]
        assert mirrored == expected, tag
    films = [value for _, tag, value in points if tag == "evaluation/film.path"]
    content = {(file.parent / "files" / film).read_bytes() for film in films}
    assert content == {path.read_bytes() for path in run.glob("eval_*.mp4")} and len(films) == 2
    (about,) = (r.run for r in records(file) if r.WhichOneof("record_type") == "run")
    assert (about.project, about.display_name) == ("pong and more", "CartPole-v1/dqn-seed1")
    settings = {item.key: json.loads(item.value_json) for item in about.config.update}
    assert settings["replay.capacity"] == 10_000 and settings["values.kind"] == "expected"


def test_a_resumed_run_keeps_its_id_and_may_start_or_stop_mirroring(offline, tmp_path):
    longer = ("--total-steps=1000", "--total-steps=1200", "--total-steps=1400")
    run = train(tmp_path, SHORT)
    train(tmp_path, SHORT, longer[0], "--wandb=one")
    train(tmp_path, SHORT, longer[1], "--wandb=one")
    train(tmp_path, SHORT, longer[2])
    first, second = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    assert first.name == second.name == f"run-{(run / 'wandb/run_id').read_text()}.wandb"
    losses = [
        [step for step, tag, _ in history(file) if tag == "learner/loss"]
        for file in (first, second)
    ]
    assert losses == [[1000], [1200]]


def test_what_is_refused_before_anything_is_written(refused, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert refused([*SHORT, "--wandb=a/b"]) == "--wandb must be the name of a project, not a/b"
    assert refused([*SHORT, "--wandb=pong"]).startswith("--wandb has no account to write to (")
    monkeypatch.setattr("dqn.report.wandb_run.find_spec", lambda _: None)
    missing = "--wandb needs its package; type `pip install -r requirements-wandb.txt`"
    assert refused([*SHORT, "--wandb=pong"]) == missing


def test_another_text_in_the_place_of_the_id_is_refused(offline, tmp_path, capfd):
    run = train(tmp_path, SHORT, "--wandb=one")
    (run / "wandb/run_id").write_text("../../elsewhere")
    more = [*SHORT, f"--checkpoints-dir={tmp_path}", "--total-steps=1000", "--wandb=one"]
    assert main(more) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    said = "wandb/run_id is not the id of a run; delete it to start a new one there"
    assert last == f"error: {run}/{said}"


def test_a_failure_is_logged_once_and_the_training_goes_on(offline, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "dqn")

    def fail(*_, **__):
        raise BrokenPipeError("the service is gone")

    monkeypatch.setattr("wandb.Run.log", fail)
    run = train(tmp_path, SHORT, "--wandb=one")
    lost = "Weights & Biases gets nothing more from this run: the service is gone."
    assert caplog.messages.count(lost) == 1
    assert len(scalars(run, "evaluation/mean")) == 2


def test_without_it_the_package_is_not_even_imported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert train(tmp_path, SHORT)
