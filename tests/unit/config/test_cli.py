"""Help, spelling, precedence: what a person types, and what the program understands."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import main as program
from dqn.config import Config, flatten
from dqn.config.cli import parse
from dqn.config.commands import EvaluateOptions, TrainOptions
from dqn.config.yaml_file import as_yaml, load_config
from main import main

PRESETS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))


def understood(*arguments: str) -> Config:
    """The config that a command line means."""
    return parse(TrainOptions, list(arguments)).settings


def helped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What --help prints, on one line."""
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--help"])
    assert left.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return " ".join(printed.out.split())


def test_help_shows_meaning_and_default_of_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    shown = helped(capsys)
    for name, value in flatten(Config()).items():
        typed = f"--{name.replace('_', '-')} "
        assert typed in shown, typed
        text = shown.split(typed)[1].split(" --")[0]
        assert len(text.split()) > 4, text  # its kind, then a sentence
        if value is not None:
            default = str(list(value)) if isinstance(value, tuple) else str(value)
            assert f"(default {default.lower().replace('_', '')})" in text.replace("_", ""), text
    assert "--config FILE YAML file of settings" in shown
    assert "Presets in configs/: btr, c51, cartpole, " in shown
    assert "Move an old run of the same name aside" in shown
    assert "main.py evaluate RUN" in shown
    assert "main.py play RUN" in shown
    for word in ("<class", "typing", "Literal", "==SUPPRESS==", "NoneType"):
        assert word not in shown


@pytest.mark.parametrize(
    "command, options",
    [
        ("train", ["--game", "--total-steps", "--print-config"]),
        ("evaluate", ["RUN", "--episodes", "--checkpoint", "--seed", "--json", "--device"]),
        ("play", ["RUN", "--video", "--gif", "--png", "--window", "--seed", "--checkpoint"]),
    ],
)
def test_help_of_each_command(
    command: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = helped(capsys, command)
    assert all(option in shown for option in options)


def test_help_wins_over_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--game" in helped(capsys, "--nonsense", "7")


def test_help_needs_no_torch() -> None:
    """So it comes at once, and so does a mistake."""
    code = "import sys; from main import main; main(['--sed=1']); assert 'torch' not in sys.modules"
    root = Path(program.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_one_sentence() -> None:
    """As with a Python that is not the virtual environment's."""
    code = "import sys; sys.modules['pydantic'] = None; sys.argv = ['main.py']; import runpy; "
    code += "runpy.run_path('main.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(program.__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {sys.executable} has no package pydantic; type")
    assert done.stderr.count("\n") == 1


def test_print_config_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--game=Pong", "--keep=all", "--network.mlp-units=[8,16]", "--learner.max-gradient-norm=10",
        "--optimizer.learning-rate=1e-5", "--replay.clip-reward=false", "--render",
    ]  # fmt: skip
    assert main([*arguments, "--print-config"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    file = tmp_path / "printed.yaml"
    file.write_text(printed.out)
    assert load_config(file) == understood(*arguments)
    assert main([f"--config={file}", "--print_config"]) == 0
    assert capsys.readouterr().out == printed.out
    assert list(yaml.safe_load(printed.out))[:3] == ["game", "method", "seed"]


def test_print_config_trains_nothing_and_needs_no_game(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--print-config", f"--checkpoints-dir={tmp_path}"]) == 0
    assert "game: null" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_survives_a_round_trip(preset: Path, tmp_path: Path) -> None:
    config = load_config(preset)
    file = tmp_path / "again.yaml"
    file.write_text(as_yaml(config))
    assert load_config(file) == config


def test_the_default_is_the_default_preset() -> None:
    assert load_config(PRESETS[0].with_name("dqn.yaml")) == Config()
    assert understood() == Config()


@pytest.mark.parametrize("name", flatten(Config()))
def test_dashes_and_underscores_mean_the_same(name: str) -> None:
    value = {"game": "Pong", "device": "cpu", "replay.device": "cpu"}.get(name)
    if value is None:
        default = flatten(Config())[name]
        value = str(list(default)) if isinstance(default, tuple) else str(default)
    if value == "None":
        value = "null"
    dashed, underscored = name.replace("_", "-"), name.replace("-", "_")
    mixed = name.replace("_", "-", 1)
    configs = [understood(f"--{n}", value) for n in (dashed, underscored, mixed)]
    configs += [understood(f"--{n}={value}") for n in (dashed, underscored)]
    assert all(config == configs[0] for config in configs)


NUMBERS = [("2_000_000", 2_000_000), ("2e6", 2_000_000), ("2E+6", 2_000_000), ("2.5e6", 2_500_000)]


@pytest.mark.parametrize("text, number", NUMBERS)
def test_whole_numbers(text: str, number: int, tmp_path: Path) -> None:
    file = tmp_path / "numbers.yaml"
    file.write_text(f"total_steps: {text}\nkeep_checkpoints: {text}\nreplay:\n  capacity: {text}\n")
    for config in (
        understood(f"--total-steps={text}", f"--keep={text}", "--replay.capacity", text),
        understood(f"--config={file}"),
    ):
        for value in (config.total_steps, config.keep_checkpoints, config.replay.capacity):
            assert (value, type(value)) == (number, int)


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", ".0001", "0.000_1"])
def test_small_numbers(text: str, tmp_path: Path) -> None:
    file = tmp_path / "numbers.yaml"
    file.write_text(f"optimizer:\n  learning_rate: {text}\n")
    assert understood(f"--optimizer.learning-rate={text}").optimizer.learning_rate == 1e-4
    assert understood(f"--config={file}").optimizer.learning_rate == 1e-4


def test_texts_are_no_numbers() -> None:
    assert understood("--checkpoints-dir=2e6").checkpoints_dir == "2e6"
    assert understood("--checkpoints-dir", "1_000").checkpoints_dir == "1_000"


@pytest.fixture
def preset(tmp_path: Path) -> str:
    """A preset that differs from the defaults."""
    file = tmp_path / "mine.yaml"
    file.write_text("game: Pong\nseed: 7\nnum_envs: 4\nreplay:\n  n_step: 3\nenv:\n")
    return str(file)


def test_command_line_over_config_over_defaults(preset: str) -> None:
    first = understood("--config", preset, "--seed", "9", "--replay.gamma=.5")
    last = understood("--seed", "9", "--replay.gamma=.5", "--config", preset)
    between = understood("--seed=9", f"--config={preset}", "--replay.gamma=.5")
    assert first == last == between
    assert (first.game, first.seed, first.num_envs) == ("Pong", 9, 4)
    assert (first.replay.n_step, first.replay.gamma, first.replay.capacity) == (3, 0.5, 1_000_000)
    assert understood("--game=Breakout", "--config", preset).game == "Breakout"
    assert understood("--seed=2", "--seed=3").seed == 3


def test_a_later_config_wins_over_an_earlier_one(preset: str, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("seed: 8\nreplay:\n  gamma: .5\n")
    options = parse(TrainOptions, ["--config", preset, "--config", str(other)])
    assert (options.settings.seed, options.settings.num_envs) == (8, 4)
    assert (options.settings.replay.n_step, options.settings.replay.gamma) == (3, 0.5)
    assert options.name == "other"


@pytest.mark.parametrize(
    "typed, meant",
    [
        (["--render"], True),
        (["--render", "--seed=1"], True),
        (["--render", "true"], True),
        (["--render=True"], True),
        (["--render", "false"], False),
        (["--render=false"], False),
        (["--render", "--render=false"], False),
        ([], False),
    ],
)
def test_render(typed: list[str], meant: bool) -> None:
    assert understood(*typed).render is meant
    assert understood("--game=Pong", *typed).render is meant


def test_any_true_or_false_may_stand_alone() -> None:
    assert understood("--env.full-action-set").env.full_action_set is True
    assert understood("--env.full_action_set=false").env.full_action_set is False


SHORT: dict[str, tuple[str, Any]] = {
    "--game": ("Pong", "Pong"),
    "--seed": ("3", 3),
    "--device": ("cpu", "cpu"),
    "--total-steps": ("2_000_000", 2_000_000),
    "--num-envs": ("64", 64),
    "--learning-starts": ("10_000", 10_000),
    "--render": ("true", True),
    "--checkpoints-dir": ("/tmp/x", "/tmp/x"),
    "--checkpoint-minutes": ("0.5", 0.5),
    "--evaluate-period": ("1e5", 100_000),
    "--keep": ("all", "all"),
    "--threads": ("2", 2),
}


def test_short_names() -> None:
    arguments = [word for name, (text, _) in SHORT.items() for word in (name, text)]
    flat = flatten(understood(*arguments))
    for name, (_, value) in SHORT.items():
        field = name[2:].replace("-", "_")
        assert flat["keep_checkpoints" if field == "keep" else field] == value
    assert parse(TrainOptions, ["--fresh"]).fresh is True
    assert parse(TrainOptions, []).fresh is False


Calls = list[tuple[Config, str, bool]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Instead of training, note down what would be trained."""
    calls: Calls = []
    monkeypatch.setattr("dqn.commands.train.train", lambda *arguments: calls.append(arguments) or 0)
    return calls


def test_train_is_the_default_command(trained: Calls, preset: str) -> None:
    assert main(["--game=Breakout"]) == 0
    assert main(["train", "--game=Breakout"]) == 0
    assert main(["train", "--config", preset, "--fresh"]) == 0
    assert trained[0] == trained[1] == (Config(game="Breakout"), "dqn", False)
    assert trained[2][1:] == ("mine", True)
    assert trained[2][0].game == "Pong"


TINY = [
    "--num-envs=1", "--learning-starts=8", "--total-steps=16", "--replay.capacity=100",
    "--learner.batch-size=4", "--network.hidden-units=8", "--evaluation.episodes=1",
    "--evaluation.held-out-states=2", "--env.max-episode-frames=40", "--threads=1",
]  # fmt: skip


def test_spellings_of_a_game_are_one_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], preset: str
) -> None:
    folder = f"--checkpoints-dir={tmp_path / 'runs'}"
    Path(preset).write_text("game: space_invaders\n")
    dqn = Path(preset).with_name("dqn.yaml")
    Path(preset).rename(dqn)
    for typed in ("--game=SpaceInvaders", "--game=space_invaders", "--game=ALE/SpaceInvaders-v5"):
        assert main([*TINY, folder, typed]) == 0
    assert main([*TINY, folder, f"--config={dqn}"]) == 0
    (run,) = (tmp_path / "runs").glob("*/*")
    assert str(run).endswith("runs/SpaceInvaders/dqn-seed1")
    said = capfd.readouterr().err.splitlines()
    assert said[0].startswith(f"Starting {run} at step 0")
    finished = f"{run} is finished at step 16; a larger --total-steps extends it."
    assert said[-3:] == [finished] * 3


def test_interrupted_before_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: EvaluateOptions) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("dqn.commands.evaluate.run", interrupted)
    assert main(["evaluate", "x"]) == 130
