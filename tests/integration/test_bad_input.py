"""What is typed or configured wrong ends with one sentence and status 2, and changes nothing."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from main import main

TINY = [
    "--num-envs=2", "--learning-starts=8", "--total-steps=40", "--replay.capacity=100",
    "--learner.batch-size=4", "--network.mlp-units=[8]", "--evaluation.episodes=2",
    "--evaluation.held-out-states=2", "--threads=1",
]  # fmt: skip
"""A run of a second, on games without a screen."""


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder: each file's bytes by its path; of a folder in it, none."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


def refusal(capfd: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line that wrong arguments lead to."""
    capfd.readouterr()
    status = main(arguments)
    printed = capfd.readouterr()
    assert status == 2, printed.err
    assert printed.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", printed.err), printed.err
    for word in ("Traceback", "<class", "Parser key", "typing.", "Errno", "NoneType", "Namespace"):
        assert word not in printed.err
    return printed.err.removeprefix("error: ").rstrip()


NO_CHANCE = ["--exploration.epsilon-start=0", "--exploration.epsilon-end=0"]
COMMAND_LINES = {
    "no game": ([], "no game given; try --game Breakout"),
    "misspelt game": (["--game=Brekout"], "unknown game 'Brekout'; did you mean Breakout"),
    "misspelt id": (["--game", "ALE/Pnog-v5"], "did you mean Pong"),
    "misspelt Gymnasium id": (["--game=CartPol-v1"], "did you mean CartPole-v1"),
    "no game at all like it": (["--game=xyzzyxyzzy"], "unknown game 'xyzzyxyzzy'"),
    "line break in a game": (["--game=a\nb"], "unknown game"),
    "old id": (["--game=PongNoFrameskip-v4"], "try --game Pong"),
    "continuous actions": (["--game=Pendulum-v1"], "a discrete one is needed"),
    "too many bins": (
        [
            "--game=CartPole-v1",
            "--method=sarsa",
            "--device=cpu",
            "--tabular.limits=[1,1,1,1]",
            "--tabular.bins=60",
        ],
        "tabular.bins of 60 in each of 4 dimensions are 12,960,000 states, more than 10,000,000",
    ),
    "a number beyond a table": (
        ["--game=CartPole-v1", "--method=sarsa", "--device=cpu"],
        "tabular.limits must have 4 entries, one for each number that CartPole-v1 observes, not []",
    ),
    "a table of pixels": (["--method=sarsa", "--device=cpu"], "too many for a table"),
    "a pole where there is none": (
        ["--game=Acrobot-v1", "--replay.shape-reward=cartpole"],
        "replay.shape_reward cartpole is for CartPole, not Acrobot-v1",
    ),
    "the screen's joystick": (
        ["--game=CartPole-v1", "--env.full-action-set"],
        "env.full_action_set is for Atari games only; remove it for CartPole-v1",
    ),
    "a policy of stacks": (
        ["--method=reinforce", "--device=cpu", "--num-envs=1", *NO_CHANCE],
        "method reinforce takes single frames",
    ),
    "no goal to walk to": (
        [
            "--game=CartPole-v1",
            "--method=policy_gradient",
            "--device=cpu",
            "--num-envs=1",
            *NO_CHANCE,
            "--tabular.limits=[1,1,1,1]",
        ],
        "which is wrong for CartPole-v1; use --method reinforce",
    ),
    "another kind of time limit": (["--env.max-episode-steps=9"], "use env.max_episode_fr"),
    "game without a name": (["Pong"], "unknown command 'Pong'"),
    "misspelt command": (["evalute", "x"], "there are train, evaluate, play"),
    "a word too many": (["--game=Pong", "extra"], "unexpected 'extra'"),
    "unknown option": (["--reply.capacity=3"], "did you mean --replay.capacity?"),
    "text for a whole number": (["--seed=abc"], "--seed must be a whole number from 0 to"),
    "too large a memory": (["--replay.capacity=1e15"], "GB, more than cpu can give"),
}


@pytest.mark.parametrize("case", COMMAND_LINES)
def test_command_line(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, expected = COMMAND_LINES[case]
    monkeypatch.chdir(tmp_path)
    if not any("game" in a or a == "Pong" for a in arguments) and case != "no game":
        arguments = [*arguments, "--game=Pong"]
    assert expected in refusal(capfd, arguments)
    assert contents(tmp_path) == {}


def test_a_mistake_in_a_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text, expected in {
        "sed: 1\n": "unknown setting sed (in bad.yaml, line 1); did you mean seed?",
        "game: Brekout\n": "unknown game 'Brekout'; did you mean Breakout",
        "seed: 1\nenv: [1\n": "bad.yaml, line 3 is not valid YAML",
    }.items():
        Path("bad.yaml").write_text(text)
        assert expected in refusal(capfd, ["--config=bad.yaml"])
        assert contents(tmp_path) == {"bad.yaml": text.encode()}


def test_a_game_whose_physics_are_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for module in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, module)
    said = refusal(capfd, ["--game=LunarLander-v3", f"--checkpoints-dir={tmp_path}"])
    assert said == ("LunarLander-v3 needs Box2D; pip install -r requirements-box2d.txt installs it")
    assert contents(tmp_path) == {}


def test_cuda_without_a_gpu(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    folder = f"--checkpoints-dir={tmp_path}"
    for option in ("--device=cuda", "--replay.device=cuda"):
        said = refusal(capfd, ["--game=CartPole-v1", folder, option])
        assert said.startswith(f"{option[2:-5]} is cuda, but ")
        assert said.endswith(f"use {option[:-5]} cpu or auto")
        assert not list(tmp_path.rglob("*.yaml"))


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/here", "/dev/null"])
def test_folder_that_not_even_root_can_write(
    place: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    said = refusal(capfd, ["--game=CartPole-v1", f"--checkpoints-dir={place}"])
    assert said.startswith(f"cannot write in {place}/CartPole-v1/dqn-seed1: ")
    assert "choose another --checkpoints-dir" in said
    assert Path("file").read_text() == "mine"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run each of CartPole and Acrobot: checkpoints 40, 60."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for game in ("CartPole-v1", "Acrobot-v1"):
        for steps in (40, 60):
            options = [f"--game={game}", f"--checkpoints-dir={folder}", f"--total-steps={steps}"]
            assert main([*TINY, *options]) == 0
    return folder


@pytest.fixture
def checkpoints(trained: Path, tmp_path: Path) -> Path:
    """A copy of ``trained`` to spoil."""
    shutil.copytree(trained, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


CARTPOLE = "CartPole-v1/dqn-seed1"
ACROBOT = "Acrobot-v1/dqn-seed1"


def again(checkpoints: Path, *more: str) -> list[str]:
    """The command of the CartPole run."""
    return [*TINY, "--game=CartPole-v1", f"--checkpoints-dir={checkpoints}", *more]


def test_another_config_names_the_differing_fields(
    checkpoints: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(checkpoints)
    said = refusal(capfd, again(checkpoints, "--replay.gamma=.5", "--learner.loss=mse"))
    assert "CartPole-v1/dqn-seed1 belongs to another config" in said
    assert "replay.gamma is 0.5, was 0.99" in said
    assert "learner.loss is mse, was huber" in said
    assert "seed" not in said.split("(")[1].split(")")[0]
    assert contents(checkpoints) == before


def test_damaged_config_of_a_run(checkpoints: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (checkpoints / CARTPOLE / "config.yaml").write_text("game: CartPole-v1\nseed: [")
    before = contents(checkpoints)
    said = refusal(capfd, again(checkpoints))
    assert "config.yaml, line 2 is not valid YAML" in said
    assert contents(checkpoints) == before


def test_checkpoints_without_a_config(checkpoints: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (checkpoints / CARTPOLE / "config.yaml").unlink()
    before = contents(checkpoints)
    assert "has checkpoints but no config.yaml" in refusal(capfd, again(checkpoints))
    assert contents(checkpoints) == before


def flip(file: Path) -> None:
    """Change one byte in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_no_whole_checkpoint(checkpoints: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flip(checkpoints / CARTPOLE / "step_000000040/state.safetensors")
    (checkpoints / CARTPOLE / "step_000000060/model.safetensors").unlink()
    before = contents(checkpoints)
    said = refusal(capfd, again(checkpoints, "--total-steps=80"))
    assert "no checkpoint in" in said
    assert "step_000000060/model.safetensors cannot be read" in said
    assert "step_000000040/state.safetensors does not match its digest" in said
    assert "--fresh" in said
    assert contents(checkpoints) == before


@pytest.mark.parametrize("command", ["train", "evaluate", "play"])
def test_checkpoint_of_a_newer_format(
    command: str, checkpoints: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = checkpoints / CARTPOLE / "step_000000060/meta.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    before = contents(checkpoints)
    run, film = str(checkpoints / CARTPOLE), f"--gif={tmp_path / 'a.gif'}"
    said = refusal(
        capfd,
        {
            "train": again(checkpoints, "--total-steps=80"),
            "evaluate": ["evaluate", run],
            "play": ["play", run, film],
        }[command],
    )
    assert "format 99" in said
    assert "this one reads format 2" in said
    assert contents(checkpoints) == before


@pytest.mark.parametrize("command", ["train", "evaluate", "play", "compare"])
def test_a_run_of_an_earlier_version(
    command: str, checkpoints: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its config.yaml has former names of settings."""
    file = checkpoints / CARTPOLE / "config.yaml"
    file.write_text(file.read_text().replace("keep_checkpoints:", "keep:"))
    before = contents(checkpoints)
    run, film = str(checkpoints / CARTPOLE), f"--gif={tmp_path / 'a.gif'}"
    arguments = {
        "train": again(checkpoints),
        "evaluate": ["evaluate", run],
        "play": ["play", run, film],
        "compare": ["compare", run],
    }
    said = refusal(capfd, arguments[command])
    assert f"{run} was made by an earlier version of this program (keep is now keep_ch" in said
    assert said.endswith("use that version, or train a new run")
    assert contents(checkpoints) == before


def test_train_on_a_checkpoint_of_another_game(
    checkpoints: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(
        checkpoints / ACROBOT / "step_000000060", checkpoints / CARTPOLE / "step_000000080"
    )
    before = contents(checkpoints)
    said = refusal(capfd, again(checkpoints, "--total-steps=100"))
    assert "step_000000080 belongs to another game: game is Acrobot-v1, not CartPole-v1" in said
    assert contents(checkpoints) == before


READERS = {
    "no such folder": (
        ["nowhere"],
        "there is no folder nowhere; name a run's, such as checkpoints/",
    ),
    "a file": (["checkpoints/file"], "there is no folder checkpoints/file"),
    "a folder of runs": (
        ["checkpoints/CartPole-v1"],
        "is not a run's folder: no config.yaml; name one",
    ),
    "checkpoint of nonsense": (
        [CARTPOLE, "--checkpoint=newest"],
        "latest, best or a step, not new",
    ),
    "negative checkpoint": ([CARTPOLE, "--checkpoint", "-3"], "latest, best or a step, not -3"),
    "missing checkpoint": (
        [CARTPOLE, "--checkpoint=50"],
        f"no checkpoint of step 50 in checkpoints/{CARTPOLE}; available: 60, 40",
    ),
    "a run without a checkpoint": (["empty"], "has no checkpoint (latest) yet"),
    "a run without a best": (["empty", "--checkpoint=best"], "has no checkpoint (best) yet"),
}


@pytest.mark.parametrize("command", ["evaluate", "play"])
@pytest.mark.parametrize("case", READERS)
def test_reading_a_run(
    command: str,
    case: str,
    checkpoints: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments, expected = READERS[case]
    monkeypatch.chdir(checkpoints.parent)
    Path("checkpoints/file").write_text("")
    Path("checkpoints/empty").mkdir()
    shutil.copy(f"checkpoints/{CARTPOLE}/config.yaml", "checkpoints/empty")
    places = (CARTPOLE, ACROBOT, "empty")
    arguments = [f"checkpoints/{a}" if a in places else a for a in arguments]
    before = contents(checkpoints.parent)
    shown = ["--gif=a.gif"] if command == "play" else []
    assert expected in refusal(capfd, [command, *arguments, *shown])
    assert contents(checkpoints.parent) == before


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["evaluate", "RUN", "--json=no/where.json"], "cannot write no/where.json: No such file"),
        (["evaluate", "RUN", "--json=checkpoints"], "cannot write checkpoints: Is a directory"),
        (["play", "RUN"], "play needs at least one of --video FILE, --gif FILE, --png FOLDER"),
        (["play", "RUN", "--window"], "no display to open a window on"),
        (["play", "RUN", "--gif=checkpoints"], "cannot record the game"),
        (
            ["play", "RUN", "--video=/dev/null/a.mp4"],
            "cannot record the game: /dev/null: File exists",
        ),
        (["play", "RUN", "--png=checkpoints"], "checkpoints holds files other than pictures"),
    ],
)
def test_where_a_reader_writes(
    arguments: list[str],
    expected: str,
    checkpoints: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(checkpoints.parent)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    before = contents(checkpoints.parent)
    run = f"checkpoints/{CARTPOLE}"
    assert expected in refusal(capfd, [run if a == "RUN" else a for a in arguments])
    assert contents(checkpoints.parent) == before


@pytest.mark.parametrize("command", ["evaluate", "play"])
def test_named_checkpoint_is_damaged(
    command: str, checkpoints: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flip(checkpoints / CARTPOLE / "step_000000040/model.safetensors")
    shown = [f"--gif={tmp_path / 'a.gif'}"] if command == "play" else []
    said = refusal(capfd, [command, str(checkpoints / CARTPOLE), "--checkpoint=40", *shown])
    assert "step_000000040/model.safetensors does not match its digest" in said


@pytest.mark.parametrize("command", ["evaluate", "play"])
def test_named_checkpoint_is_of_another_game(
    command: str, checkpoints: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.copytree(
        checkpoints / ACROBOT / "step_000000060", checkpoints / CARTPOLE / "step_000000070"
    )
    shown = [f"--gif={tmp_path / 'a.gif'}"] if command == "play" else []
    said = refusal(capfd, [command, str(checkpoints / CARTPOLE), "--checkpoint=70", *shown])
    assert "does not fit" in said
    assert "Acrobot-v1 with 3 actions" in said


def test_fresh_with_a_mistake_moves_nothing(
    checkpoints: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(checkpoints)
    said = refusal(capfd, again(checkpoints, "--fresh", "--replay.capacity=1e18"))
    assert "more than cpu can give" in said
    assert contents(checkpoints) == before


def test_as_a_process(root: Path, tmp_path: Path) -> None:
    """What the shell sees is what the cases above saw from inside."""
    command = [sys.executable, root / "main.py", "--game=Brekout"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"error: unknown game 'Brekout'; did you mean .*\n", done.stderr)
    assert contents(tmp_path) == {}
