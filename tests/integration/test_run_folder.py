"""The files of a run's folder, and the processes that write and read them."""

import contextlib
import hashlib
import io
import json
import os
import pty
import re
import signal
import subprocess
import termios
from pathlib import Path
from unittest.mock import Mock

import av
import pytest
from PIL import Image
from support.processes import command, start, wait_for
from support.runs import (
    CARTPOLE,
    NEVER,
    checkpoints,
    run_of,
    scalars,
    train,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dqn.config import Config
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.config.yaml_file import load_config
from dqn.report.curves import draw_curves
from dqn.report.metrics import TAGS
from dqn.run.resume import RunStopped
from dqn.run.session import Session
from main import main

PONG = [
    "--game=Pong", "--total-steps=600", "--num-envs=2", "--learning-starts=100", "--threads=1",
    "--env.threads=1", "--env.max-episode-frames=240", "--replay.capacity=1000",
    "--report-period=100", "--evaluate-period=400", "--network.hidden-units=8",
    "--learner.batch-size=4", "--learner.update-period=32", "--evaluation.episodes=2",
    "--evaluation.held-out-states=2",
]  # fmt: skip
SHORT = [*CARTPOLE, "--total-steps=800", "--evaluate-period=400"]


@pytest.fixture(scope="module")
def pong(tmp_path_factory):
    """A short run of Pong, with pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dqn.run.session.draw_curves", draw_curves)
        return train(tmp_path_factory.mktemp("pong"), [*PONG, "--render"], NEVER)


def test_every_file_of_the_contract_and_no_other(pong):
    (events,) = pong.glob("events.out.tfevents.*")
    assert {path.name for path in pong.iterdir()} - {events.name} == {
        "config.yaml", "train.log", "rewards.txt", "evaluations.jsonl", "training.jsonl",
        "curves.png", "step_000000400", "step_000000600", "best", ".lock",
        "eval_001", "eval_001.mp4", "eval_002", "eval_002.mp4",
    }  # fmt: skip


def test_the_config_is_read_back(pong):
    text = (pong / "config.yaml").read_text()
    facts = ("game: Pong", "protocol: classic", "torch 2.", "ale-py ", "gymnasium ", "python 3")
    for fact in facts:
        assert f"\n# {fact}" in f"\n{text}", text
    meant = parse(TrainOptions, [*PONG, "--render", "--precision=float32", NEVER]).settings
    theirs = load_config(pong / "config.yaml")
    assert theirs.checkpoints_dir != meant.checkpoints_dir
    assert Config(**vars(theirs) | {"checkpoints_dir": meant.checkpoints_dir}) == meant


def test_every_tag_is_in_tensorboard_and_no_other(pong):
    board = EventAccumulator(str(pong), size_guidance={"images": 0}).Reload()
    tags = board.Tags()
    of_tables = {"learner/policy_change"}
    assert {*tags["scalars"], *tags["images"], "run/config"} == set(TAGS) - of_tables
    assert "run/config/text_summary" in tags["tensors"]
    film = board.Images("evaluation/film")[-1].encoded_image_string
    with Image.open(io.BytesIO(film)) as gif:
        pictures = len(list((pong / "eval_002").iterdir()))
        assert gif.size == (320, 420) and gif.n_frames == pictures


def test_digests(pong):
    for folder in (pong / "step_000000600", pong / "best"):
        meta = json.loads((folder / "meta.json").read_text())
        assert "model.safetensors" in meta["files"]
        assert {path.name for path in folder.iterdir()} == {"meta.json", *meta["files"]}
        for name, entry in meta["files"].items():
            data = (folder / name).read_bytes()
            assert entry == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_a_run_is_its_configs_alone(tmp_path, capfd):
    """A finished run is left as it is; --fresh moves all of it aside for another config."""
    run = train(tmp_path, SHORT, NEVER)
    before = listing(run)
    log = {"train.log": before["train.log"]}
    options = [*SHORT, NEVER, f"--checkpoints-dir={tmp_path}"]
    capfd.readouterr()
    assert main([*options, "--keep=1", "--render"]) == 0
    assert "is finished at step 800" in capfd.readouterr().err
    assert listing(run) | log == before
    assert main([*options, "--fresh", "--replay.n-step=3"]) == 0
    (aside,) = run.parent.glob("dqn-seed1.old-*")
    old = {name.replace("hidden", "tfevents"): entry for name, entry in listing(aside).items()}
    assert old | log == before and (aside / "train.log").exists()
    assert load_config(run / "config.yaml").replay.n_step == 3
    said = f"The old run is in {aside}.\nStarting {run} at step 0"
    assert capfd.readouterr().err.startswith(said)


def test_where_the_old_run_is_stands_in_the_log_though_the_new_one_fails(tmp_path, monkeypatch):
    run = train(tmp_path, SHORT, NEVER)
    monkeypatch.setattr("dqn.run.session.Metrics.open", fail := Mock(side_effect=OSError(28, "x")))
    assert main([*SHORT, NEVER, f"--checkpoints-dir={tmp_path}", "--fresh"]) == 1
    (aside,) = run.parent.glob("dqn-seed1.old-*")
    assert fail.called and f"The old run is in {aside}." in (run / "train.log").read_text()


LONG = [*CARTPOLE, "--total-steps=1e7", "--evaluate-period=400", "--env.reseed-steps=1e6"]


@pytest.fixture
def running(tmp_path):
    """A process that trains, with a checkpoint and a best model already there."""
    process = start(tmp_path, LONG, "--checkpoint-minutes=0.005")
    run = tmp_path / "CartPole-v1" / "dqn-seed1"
    wait_for(process, lambda: bool(checkpoints(run)) and (run / "best").exists())
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused(running, tmp_path, capfd):
    """While the first one lives; the lock of a killed process does not count."""
    assert main([*LONG, f"--checkpoints-dir={tmp_path}"]) == 2
    assert f"process {running.pid} is training in" in capfd.readouterr().err
    assert running.poll() is None
    running.send_signal(signal.SIGKILL)
    running.wait()
    run = run_of(tmp_path)
    assert (run / ".lock").read_text() == str(running.pid)
    steps = int(checkpoints(run)[-1].name[5:]) + 8
    assert main([*LONG, f"--total-steps={steps}", f"--checkpoints-dir={tmp_path}"]) == 0


def test_readers_of_a_running_run(running, tmp_path, capfd):
    """Scores and pictures while checkpoints are written and deleted."""
    run = run_of(tmp_path)
    for which in ("latest", "best"):
        assert main(["evaluate", str(run), f"--checkpoint={which}"]) == 0
        assert "mean" in capfd.readouterr().out
    film, animation, pictures = (tmp_path / name for name in ("game.mp4", "game.gif", "pictures"))
    shown = [f"--video={film}", f"--gif={animation}", f"--png={pictures}"]
    assert main(["play", str(run), *shown]) == 0
    with av.open(str(film)) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(list(pictures.iterdir())) + 50 > 55
    assert animation.read_bytes()[:6] == b"GIF89a"
    assert running.poll() is None, "it trains on"


def test_a_step_is_evaluated_by_its_number(pong, capfd):
    assert main(["evaluate", str(pong), "--checkpoint=600", "--episodes=1"]) == 0
    assert "step_000000600, step 600: mean" in capfd.readouterr().out


def test_in_a_terminal_there_is_a_bar_and_nothing_garbles_it(tmp_path):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 160))
    process = subprocess.Popen(
        command(tmp_path, SHORT, "--total-steps=6000"), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed: it has ended
        while more := os.read(ours, 65536):
            shown += more
    assert process.wait(timeout=10) == 0
    os.close(ours)
    text = shown.decode()
    assert re.search(r"100%.*6\.00k/6\.00k, .*steps/s", text), text
    # What stays on the screen: of each line what was written after the last return to its start.
    screen = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    screen = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).rstrip() for line in screen]
    logged = [line[20:] for line in (run_of(tmp_path) / "train.log").read_text().splitlines()]
    assert [line for line in screen if line in logged] == [
        line for line in logged if not line.startswith("step ") or "steps/s" not in line
    ]
    assert not any("%" in line and "steps/s" in line for line in logged)


def test_a_repeated_evaluation_has_one_point(tmp_path, monkeypatch):
    """The run ends after its first evaluation, whose checkpoint is the one made before it."""
    options = [*CARTPOLE, "--total-steps=3504", f"--checkpoints-dir={tmp_path}", NEVER]

    def end(_: Session) -> None:
        raise RunStopped("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Session, "_draw", end)
        assert main(options) == 1
    assert main(options) == 0
    run = run_of(tmp_path)
    assert [step for step, _ in scalars(run, "evaluation/mean")] == [3000, 3504]
    assert 3000 in [step for step, _ in scalars(run, "exploration/epsilon")]
