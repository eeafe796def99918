"""The guide shows the program as it is: its code, its files, its commands."""

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from main import main

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "from_table_to_dqn.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
COMMANDS = re.findall(r"^    python main\.py ((?:.*\\\n)*.*)$", TEXT, flags=re.MULTILINE)


def without_indentation(text: str) -> str:
    return "\n".join(line.strip() for line in textwrap.dedent(text).strip().splitlines())


SOURCES = {
    path: without_indentation(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "dqn").rglob("*.py"))
}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_code_is_the_programs_own_or_runs(block: str) -> None:
    if block.startswith("from dqn"):
        command = [sys.executable, "-c", block]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == re.findall(r"# (\[.*\])", block)[0]
        return
    homes = [path for path, source in SOURCES.items() if without_indentation(block) in source]
    assert homes, "no file of the program has these lines"


def test_every_file_it_names_is_there() -> None:
    names = set(re.findall(r"`((?:dqn|docs|configs)/[\w/.]+)`", TEXT))
    names |= {f"docs/{link}" for link in re.findall(r"\]\(([\w/.]+)\)", TEXT)}
    assert len(names) > 20
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_training_command_is_one(
    command: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    arguments = shlex.split(command.replace("\\\n", ""))
    if arguments[0] == "play":
        pytest.skip("it needs a run")
    assert main([*arguments, "--print-config"]) == 0
    assert "total_steps:" in capfd.readouterr().out
