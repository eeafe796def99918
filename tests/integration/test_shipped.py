"""The agents that come with the program play as their cards say."""

import json
from pathlib import Path

from dqn.config.shipped import find_run
from main import main

AGENTS = Path(__file__).parents[2] / "checkpoints"


def test_pong_laptop(tmp_path):
    """Its card says 19.5; four games of other seeds, whose mean has a standard error of some .6."""
    report = tmp_path / "scores.json"
    command = ["evaluate", str(AGENTS / "pong-laptop"), "--episodes=4", "--seed=2000"]
    assert main([*command, f"--json={report}"]) == 0
    scores = json.loads(report.read_text())
    assert scores["mean"] >= 17.5
    assert scores["protocol"] == "classic, 48x48 pictures" and scores["step"] == 250_000
    card = (AGENTS / "pong-laptop" / "README.md").read_text()
    assert "mean 19.5" in card and "250,000" in card


def test_an_agent_has_a_name_in_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for typed in ("pong-laptop", "checkpoints/pong-laptop", "checkpoints/pong-laptop/"):
        assert find_run(typed) == AGENTS / "pong-laptop"
    for typed in ("Breakout", "checkpoints", "runs/pong-laptop", ".."):
        assert find_run(typed) == Path(typed)
    (tmp_path / "pong-laptop").mkdir()
    assert find_run("pong-laptop") == Path("pong-laptop"), "a folder that is there"
