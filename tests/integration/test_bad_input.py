"""What is typed or configured wrong ends with one sentence and status 2, and changes nothing."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from support.runs import TINY

from dqn.learning.factory import make_model
from dqn.storage.saved_run import load_agent
from main import main

ON_POLICY = "--num-envs=1 --exploration.epsilon-start=0 --exploration.epsilon-end=0"
TABLE = "--game=CartPole-v1 --device=cpu"
LIMITS = "--tabular.limits=[1,1,1,1]"
COMMAND_LINES = {
    # no command, or none that there is
    "--seed=1": "no game given; try --game Breakout",
    "Pong": "unknown command 'Pong'",
    "evalute x": "there are train, evaluate, play",
    # games
    "--game=a\nb": "unknown game",
    # settings that the game does not allow
    f"{TABLE} --method=sarsa {LIMITS} --tabular.bins=60": (
        "tabular.bins of 60 in each of 4 dimensions are 12,960,000 states, more than 10,000,000"
    ),
    f"{TABLE} --method=sarsa": (
        "tabular.limits must have 4 entries, one for each number that CartPole-v1 observes, not []"
    ),
    f"{TABLE} --method=policy_gradient {ON_POLICY} {LIMITS}": (
        "which is wrong for CartPole-v1; use --method reinforce"
    ),
    "--game=Pong --method=sarsa --device=cpu": "too many for a table",
    f"--game=Pong --method=reinforce --device=cpu {ON_POLICY}": (
        "method reinforce takes single frames"
    ),
    "--game=Pong --replay.capacity=1e12": "GB, more than cpu can give",
    "--game=Pong --network.mlp-units=[8]": "mlp_units has no effect with torso nature; do not set",
    "--game=CartPole-v1 --network.hidden-units=8": "hidden_units has no effect with torso mlp; do",
    f"--game=Pong --checkpoints-dir={'long' * 80}": "File name too long; choose another --checkp",
}


def test_command_lines(refused, subtests):
    for typed, said in COMMAND_LINES.items():
        with subtests.test(typed):
            assert said in refused(typed.split(" "))


def test_cuda_without_a_gpu(refused, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for option in ("device", "replay.device"):
        said = refused(["--game=CartPole-v1", f"--{option}=cuda"])
        assert said.startswith(f"{option} is cuda, but ")
        assert said.endswith(f"use --{option} cpu or auto")


def test_folder_that_not_even_root_can_write(refused):
    Path("file").write_text("mine")
    for place in ("file", "file/below", "/proc/here"):
        said = refused(["--game=CartPole-v1", f"--checkpoints-dir={place}"])
        assert said.startswith(f"cannot write in {place}/CartPole-v1/dqn-seed1: ")
        assert "choose another --checkpoints-dir" in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a finished run each of CartPole and Acrobot: checkpoints 40, 60."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for game in ("CartPole-v1", "Acrobot-v1"):
        for steps in (40, 60):
            options = [f"--game={game}", f"--checkpoints-dir={folder}", f"--total-steps={steps}"]
            assert main([*TINY, *options]) == 0
    return folder


@pytest.fixture
def checkpoints(trained, tmp_path):
    """A copy of ``trained`` to spoil, in checkpoints/."""
    shutil.copytree(trained, tmp_path / "checkpoints")


CARTPOLE, ACROBOT = "checkpoints/CartPole-v1/dqn-seed1", "checkpoints/Acrobot-v1/dqn-seed1"
TRAIN = [*TINY, "--game=CartPole-v1"]
EVALUATE = ["evaluate", CARTPOLE]
COMPARE = ["compare", CARTPOLE]
CONFIG = f"{CARTPOLE}/config.yaml"


def test_another_config_names_the_differing_fields(checkpoints, refused):
    said = refused([*TRAIN, "--replay.gamma=.5", "--learner.loss=mse"])
    assert "CartPole-v1/dqn-seed1 belongs to another config" in said
    assert "(replay.gamma is 0.5, was 0.99; learner.loss is mse, was huber)" in said


def test_a_run_without_a_config_is_not_started_anew(checkpoints, refused):
    Path(CONFIG).unlink()
    assert "has checkpoints but no config.yaml" in refused(TRAIN)


def test_a_named_checkpoint_that_cannot_be_read(checkpoints, refused):
    model = Path(CARTPOLE, "step_000000040/model.safetensors")
    model.write_bytes(model.read_bytes()[:-1])
    said = refused([*EVALUATE, "--checkpoint=40"])
    assert "step_000000040/model.safetensors does not match its digest" in said
    shutil.copytree(Path(ACROBOT, "step_000000060"), Path(CARTPOLE, "step_000000070"))
    said = refused([*EVALUATE, "--checkpoint=70"])
    assert "does not fit" in said and "Acrobot-v1 with 3 actions" in said
    file = Path(CARTPOLE, "step_000000060/meta.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    assert "(format 99); this one reads format 2" in refused([*EVALUATE, "--checkpoint=60"])


def test_the_checkpoint_before_a_damaged_one_is_read_and_that_is_said(
    checkpoints, tmp_path, capsys
):
    run = tmp_path / CARTPOLE
    Path(run, "step_000000060/model.safetensors").write_bytes(b"")
    assert main(["evaluate", str(run)]) == 0
    printed = capsys.readouterr()
    assert "step_000000040, step 40: mean" in printed.out
    damaged = "step_000000060/model.safetensors does not match its digest"
    assert f"warning: {damaged}: reading step_000000040" in printed.err


def test_a_checkpoint_deleted_before_it_is_read_is_followed_by_a_newer_one(
    checkpoints, tmp_path, monkeypatch
):
    looks = iter([["step_000000030"], ["step_000000060"]])
    listed = lambda folder: [folder / name for name in next(looks)]  # noqa: E731
    monkeypatch.setattr("dqn.storage.saved_run.newest_first", listed)
    agent = load_agent(make_model, str(tmp_path / CARTPOLE), "latest", torch.device("cpu"))
    assert agent.step == 60


READERS = {
    # what is read
    "evaluate nowhere": "there is no folder nowhere; try checkpoints/",
    "play nowhere": "there is no folder nowhere",  # rather than: nothing to write
    "evaluate checkpoints/file": "there is no folder checkpoints/file",
    "evaluate checkpoints/CartPole-v1": f"not a run's folder: no config.yaml; try {CARTPOLE}",
    "evaluate RUN --checkpoint=newest": "latest, best or a step, not new",
    f"evaluate RUN --checkpoint={'9' * 5000}": "must be latest, best or a step, not 999",
    "evaluate pong-labtop": "there is no folder pong-labtop; did you mean pong-laptop?",
    "evaluate RUN --checkpoint -3": "latest, best or a step, not -3",
    "evaluate RUN --checkpoint=50": f"no checkpoint of step 50 in {CARTPOLE}; available: 60, 40",
    "evaluate checkpoints/empty": "has no checkpoint (latest) yet; the first is written after 5 m",
    "evaluate checkpoints/empty --checkpoint=best": "no best model yet; the first is written",
    # where it is written
    "evaluate RUN --json=/proc/no/where.json": "cannot write /proc/no/where.json: No such file",
    "evaluate RUN --json=checkpoints": "cannot write checkpoints: Is a directory",
    "watch nowhere": "there is no folder nowhere",
    "watch RUN checkpoints/empty": "has no checkpoint (latest) yet",
    "watch RUN --device=cuda": "device is cuda, but",
    "play RUN": "play needs at least one of --video FILE.mp4, --gif FILE.gif, --png FOLDER",
    "play RUN --window": "no display to open a window on",
    "play RUN --video=/dev/null/a.mp4": "cannot record the game: /dev/null: File exists",
    "play RUN --png=checkpoints": "checkpoints holds files other than pictures",
    "play RUN --png=RUN/train.log": "train.log is not a folder; name a new one",
}


def test_readers(checkpoints, refused, monkeypatch, subtests):
    Path("checkpoints/file").write_text("")
    Path("checkpoints/empty").mkdir()
    shutil.copy(f"{CARTPOLE}/config.yaml", "checkpoints/empty")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    for typed, said in READERS.items():
        with subtests.test(typed):
            assert said in refused(typed.replace("RUN", CARTPOLE).split())


def test_scores_are_printed_even_if_their_file_cannot_be_written(checkpoints, tmp_path, capsys):
    """And an older file is kept then."""
    run = str(tmp_path / CARTPOLE)
    assert main(["evaluate", run, "--episodes=2", "--json=/dev/full"]) == 2
    printed = capsys.readouterr()
    assert "over 2 episodes" in printed.out and "cannot write /dev/full" in printed.err
    older = tmp_path / "scores.json"
    older.write_text("older")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dqn.storage.files.AtomicFile.commit", no_space)
        assert main(["evaluate", run, "--episodes=2", f"--json={older}"]) == 2
    assert older.read_text() == "older"
    assert main(["evaluate", run, "--episodes=2", f"--json={older}"]) == 0
    assert len(json.loads(older.read_text())["returns"]) == 2


def no_space(_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_link_in_a_runs_folder(refused):
    """What it points to is somebody else's."""
    Path(CARTPOLE).mkdir(parents=True)
    Path("victim").write_text("not yours")
    for name in (".lock", "train.log", "rewards.txt", ".config.yaml.part", "best"):
        link = Path(CARTPOLE, name)
        link.symlink_to(Path("victim").absolute())
        assert f"{name} is a link; a run's files are its own" in refused(TRAIN)
        link.unlink()


def test_fresh_with_a_mistake_moves_nothing(checkpoints, refused):
    assert "more than cpu can give" in refused([*TRAIN, "--fresh", "--replay.capacity=1e12"])
