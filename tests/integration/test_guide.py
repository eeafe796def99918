"""The guide shows the program as it is: its code, its files, its commands."""

import re
import shlex
import shutil
import textwrap
from pathlib import Path

import pytest

from main import main

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "from_table_to_dqn.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
COMMANDS = [
    shlex.split(command.replace("\\\n", ""))
    for command in re.findall(r"^    python main\.py ((?:.*\\\n)*.*)$", TEXT, flags=re.MULTILINE)
]
PLAYS = [command for command in COMMANDS if command[0] == "play"]
TRAININGS = [command for command in COMMANDS if command[0] != "play"]


def without_indentation(text: str) -> str:
    return "\n".join(line.strip() for line in textwrap.dedent(text).strip().splitlines())


SOURCES = [without_indentation(path.read_text("utf-8")) for path in (ROOT / "dqn").rglob("*.py")]


def test_code_is_the_programs_own_or_runs(capsys):
    for block in BLOCKS:
        if block.startswith("from dqn"):
            exec(block, {})
            assert capsys.readouterr().out.strip() == re.findall(r"# (\[.*\])", block)[0]
        else:
            lines = without_indentation(block)
            assert any(lines in source for source in SOURCES), f"no file has these lines: {block}"


def test_every_file_it_names_is_there():
    names = set(re.findall(r"`((?:dqn|docs|configs)/[\w/.]+)`", TEXT))
    names |= {f"docs/{link}" for link in re.findall(r"\]\(([\w/.]+)\)", TEXT)}
    assert len(names) > 20
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


def test_every_training_command_is_one(capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in TRAININGS:
        assert main([*command, "--print-config"]) == 0, command
        assert "total_steps:" in capfd.readouterr().out


@pytest.mark.parametrize("command", PLAYS, ids=" ".join)
def test_what_is_played_was_trained_by_the_command_before(command, tmp_path, monkeypatch):
    """In fewer steps."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs", "configs")
    before = COMMANDS[COMMANDS.index(command) - 1]
    assert main([*before, "--total-steps=40", "--evaluation.episodes=1"]) == 0
    assert main(command) == 0
    films = [argument for argument in command if argument.endswith((".gif", ".mp4"))]
    assert films and all(Path(film).stat().st_size > 500 for film in films)
