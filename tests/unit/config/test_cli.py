"""Help, spelling, precedence: what a person types, and what the program understands."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import dqn
from dqn.config import Config, flatten
from dqn.config.cli import parse
from dqn.config.commands import COMMANDS, TrainOptions
from dqn.config.shipped import PRESETS
from dqn.config.words import shown
from dqn.config.yaml_file import load_config
from main import main


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


def test_help_shows_meaning_and_default_of_every_field(capsys):
    printed = helped(capsys)
    for name, value in flatten(Config()).items():
        typed = f"--{name.replace('_', '-')} "
        assert typed in printed, typed
        text = printed.split(typed)[1].split(" --")[0]
        assert len(text.split()) > 4, text  # its kind, then a sentence
        if value is not None:
            default = str(list(value)) if isinstance(value, tuple) else str(value)
            assert f"(default {default.lower().replace('_', '')})" in text.replace("_", ""), text
    assert "--config FILE Preset, such as laptop, or YAML file of settings" in printed
    assert "Presets: breakout, btr, c51, " in printed
    assert "Move an old run of the same name aside" in printed
    assert "main.py evaluate RUN" in printed
    assert "main.py play RUN" in printed
    for word in ("<class", "typing", "Literal", "==SUPPRESS==", "NoneType"):
        assert word not in printed


def test_help_of_each_command(capsys):
    for command, options in {
        "train": ["--game", "--total-steps", "--print-config"],
        "evaluate": ["RUN", "--episodes", "--checkpoint", "--seed", "--json", "--device"],
        "play": ["RUN", "--video", "--gif", "--png", "--window", "--seed", "--checkpoint"],
        "watch": ["RUN [RUN ...]", "--port", "--seed", "--device"],
    }.items():
        printed = helped(capsys, command)
        assert [option for option in options if option not in printed] == [], command


def test_help_says_what_is_typed_without_a_name(capsys):
    assert "RUN: a run's folder, or a shipped agent, such as pong-laptop." in helped(capsys, "play")
    exporting = helped(capsys, "export")
    assert "FILE.onnx: the file to write." in exporting and "RUN: a run's folder" in exporting
    of_a_suite = helped(capsys, "suite")
    for refused in ("--game GAME", "--seed N", "--actors N"):
        assert refused in helped(capsys) and refused not in of_a_suite


def test_help_names_the_program_as_it_was_started(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/dqn", "--help"])
    assert "dqn evaluate RUN; dqn play RUN;" in helped(capsys)
    assert "main.py" not in helped(capsys)


def test_help_wins_over_mistakes(capsys):
    assert "--game" in helped(capsys, "--nonsense", "7")


def python(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_help_needs_no_torch(root):
    """So it comes at once, and so does a mistake."""
    code = "import sys; from main import main; main(['--sed=1']); assert 'torch' not in sys.modules"
    done = python(code, root)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_one_sentence(root):
    """As with a Python that is not the virtual environment's."""
    code = "import sys; sys.modules['pydantic'] = None; sys.argv = ['main.py']; import runpy; "
    done = python(code + "runpy.run_path('main.py', run_name='__main__')", root)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {sys.executable} has no package pydantic; type")
    assert done.stderr.count("\n") == 1


def test_print_config_is_read_back(tmp_path, capsys):
    """It trains nothing and needs no game."""
    arguments = [
        "--keep=all", "--network.mlp-units=[8,16]", "--learner.max-gradient-norm=10",
        "--optimizer.learning-rate=1e-5", "--replay.clip-reward=false", "--render",
        f"--checkpoints-dir={tmp_path}",
    ]  # fmt: skip
    assert main([*arguments, "--print-config"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and list(tmp_path.iterdir()) == []
    file = tmp_path / "printed.yaml"
    file.write_text(printed.out)
    assert load_config(file) == understood(*arguments)
    assert main([f"--config={file}", "--print_config"]) == 0
    assert capsys.readouterr().out == printed.out


def test_each_option_takes_a_value_and_dashes_and_underscores_mean_the_same():
    given = {"game": "Pong", "device": "cpu", "replay.device": "cpu", "wandb": "a project"}
    for name, default in flatten(Config).items():
        expected = flatten(Config) | {name: given.get(name, default)}
        value, dashed = given.get(name, shown(default)), name.replace("_", "-")
        typed = [[f"--{n}", value] for n in (dashed, name, name.replace("_", "-", 1))]
        typed += [[f"--{n}={value}"] for n in (dashed, name)]
        for arguments in typed:
            assert flatten(understood(*arguments)) == expected, arguments


NUMBERS: dict[str, list[tuple[str, Any]]] = {
    "total_steps": [("2_000_000", 2_000_000), ("2E+6", 2_000_000), ("2.5E+6", 2_500_000)],
    "exploration.epsilon_end": [("+.05", 0.05)],
    "keep_checkpoints": [("1e1", 10)],
    "optimizer.learning_rate": [(text, 1e-4) for text in ("1e-4", "1.0e-4", ".0001", "0.000_1")],
}


def test_null_is_no_text():
    assert parse(TrainOptions, ["--wandb=null"]).settings.wandb is None
    assert parse(TrainOptions, ["--wandb=project"]).settings.wandb == "project"
    assert parse(TrainOptions, ["--checkpoints-dir=null"]).settings.checkpoints_dir == "null"


def test_numbers_as_people_write_them(tmp_path):
    file = tmp_path / "numbers.yaml"
    for name, (text, number) in [(n, case) for n, cases in NUMBERS.items() for case in cases]:
        section, _, field = name.rpartition(".")
        file.write_text(f"{section}:\n  {field}: {text}\n" if section else f"{field}: {text}\n")
        for typed in (f"--{name}={text}", f"--config={file}"):
            value = flatten(understood(typed))[name]
            assert (value, type(value)) == (number, type(number)), typed
    assert understood("--checkpoints-dir", "2e6").checkpoints_dir == "2e6", "a text is no number"


@pytest.fixture
def preset(tmp_path):
    """A preset that differs from the defaults."""
    file = tmp_path / "mine.yaml"
    file.write_text("game: Pong\nseed: 7\nnum_envs: 4\nreplay:\n  n_step: 3\nenv:\n")
    return str(file)


def test_command_line_over_config_over_defaults(preset):
    first = understood("--config", preset, "--seed", "9", "--replay.gamma=.5")
    last = understood("--seed", "9", "--replay.gamma=.5", "--config", preset)
    between = understood("--seed=9", f"--config={preset}", "--replay.gamma=.5")
    assert first == last == between
    assert (first.game, first.seed, first.num_envs) == ("Pong", 9, 4)
    assert (first.replay.n_step, first.replay.gamma, first.replay.capacity) == (3, 0.5, 1_000_000)
    assert understood("--game=Breakout", "--config", preset).game == "Breakout"
    assert understood("--seed=2", "--seed=3").seed == 3


def test_a_later_config_wins_over_an_earlier_one(preset, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("seed: 8\nreplay:\n  gamma: .5\n")
    options = parse(TrainOptions, ["--config", preset, "--config", str(other)])
    assert (options.settings.seed, options.settings.num_envs) == (8, 4)
    assert (options.settings.replay.n_step, options.settings.replay.gamma) == (3, 0.5)
    assert options.name == "other"


def test_an_option_that_is_true_or_false_may_stand_alone():
    true = ["--render", "--render --seed=1", "--render true", "--render=True"]
    false = ["", "--render false", "--render=false", "--render --render=false"]
    for typed in (*true, *false):
        assert understood(*typed.split()).render is (typed in true), typed
        assert understood("--game=Pong", *typed.split()).render is (typed in true), typed
    assert understood("--env.full-action-set").env.full_action_set is True
    assert understood("--env.full_action_set=false").env.full_action_set is False


def test_train_is_the_default_command(preset, monkeypatch):
    train = Mock(return_value=0)
    monkeypatch.setattr("dqn.commands.train.train", train)
    assert main(["--game=Breakout"]) == 0
    assert main(["train", "--game=Breakout"]) == 0
    assert main(["train", "--config", preset, "--fresh"]) == 0
    first, second, (config, *others) = (call.args for call in train.call_args_list)
    assert first == second == (Config(game="Breakout"), "dqn", False, None)
    assert others == ["mine", True, None]
    assert config.game == "Pong"


def test_interrupted_before_it_began(monkeypatch):
    monkeypatch.setattr("dqn.commands.evaluate.run", Mock(side_effect=KeyboardInterrupt))
    assert main(["evaluate", "x"]) == 130


def test_bare_main_lists_the_commands(capsys):
    assert main([]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Commands, each with --help:\n  main.py --game GAME ")
    for command in COMMANDS:
        assert command == "train" or f"  main.py {command} " in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_version(capsys):
    assert main(["--version"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"dqn {dqn.__version__}, python 3.") and "torch 2." in shown


def test_list_games_has_published_scores(capsys):
    assert main(["--list-games"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert rows["Pong"][1:4] == ["-20.7", "14.6", "21.0"]
    assert rows["SpaceInvaders"][1:3] == ["148.0", "1,668.7"]
    assert rows["Kaboom"] == ["Kaboom"], "nothing is published"
    assert "Combat" not in rows, "for two players"


def test_a_preset_has_a_name_in_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    laptop = load_config(PRESETS["laptop"])
    for typed in ("laptop", "laptop.yaml", "configs/laptop.yaml"):
        options = parse(TrainOptions, [f"--config={typed}"])
        assert (options.settings, options.name) == (laptop, "laptop")
    (tmp_path / "laptop").mkdir()
    assert understood("--config=laptop") == laptop
    Path("configs").mkdir()
    Path("configs/laptop.yaml").write_text("seed: 7")
    assert understood("--config=configs/laptop.yaml") == Config(seed=7), "a file that is there"
