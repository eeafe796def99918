"""The agents that come with the program play as their cards say."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from support.processes import ROOT

from dqn.config import flatten
from dqn.config.shipped import AGENTS, PRESETS, find_run
from dqn.config.yaml_file import load_config
from main import main

GAMES = 8
QUICK = "pong-laptop"
TRAINED_BY = {
    "boxing": "laptop",
    "breakout": "breakout",
    "cartpole": "cartpole",
    "freeway": "data_efficient_rainbow",
    "pong-laptop": "laptop",
    "space-invaders": "laptop",
}
CHANGED = {
    "boxing": {
        "env.frame_size",
        "network.torso",
        "network.hidden_units",
        "values.kind",
        "values.quantiles",
        "replay.n_step",
        "replay.gamma",
        "exploration.epsilon_decay_steps",
        "total_steps",
        "optimizer.learning_rate",
        "evaluate_period",
    },
    "freeway": {"network.hidden_units", "evaluate_period"},
}
"""Settings that differ from the preset's; the agent's card names each."""

spec = importlib.util.spec_from_file_location("zoo", ROOT / "docs" / "zoo.py")
zoo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(zoo)


@pytest.mark.parametrize(
    "name",
    [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in AGENTS],
)
def test_an_agent_plays_as_its_card_says(name, tmp_path):
    """A few games of other seeds, whose mean is within five standard errors of the card's: few
    games, and now and then one of them goes wrong."""
    report = tmp_path / "scores.json"
    command = ["evaluate", name, f"--episodes={GAMES}", "--seed=2000", f"--json={report}"]
    assert main(command) == 0
    played, scored = json.loads(report.read_text()), json.loads(zoo.scores_file(name).read_text())
    error = np.std(scored["returns"], ddof=1) * (1 / GAMES + 1 / len(scored["returns"])) ** 0.5
    assert abs(played["mean"] - scored["mean"]) <= 5 * error
    for key in ("game", "protocol", "epsilon", "step"):
        assert played[key] == scored[key]


def test_the_pages_are_what_the_agents_folders_say():
    for file, text in zoo.pages().items():
        assert file.read_text(encoding="utf-8") == text, file


def test_an_agent_is_scored_once_and_on_games_that_chose_nothing():
    assert {"cartpole", "pong-laptop"} <= set(AGENTS)
    for name in AGENTS:
        scored = json.loads(zoo.scores_file(name).read_text())
        assert scored["seed"] == zoo.FRESH_SEED != zoo.run_config(AGENTS[name]).seed
        assert len(scored["returns"]) == zoo.EPISODES
        assert scored["model"] == zoo.model_digest(AGENTS[name]), "another model was scored"
    with pytest.raises(SystemExit, match="an agent is scored once"):
        zoo.add(QUICK, Path("checkpoints/Pong/laptop-seed1"), "")


def test_the_agents_are_small():
    sizes = {
        name: sum(file.stat().st_size for file in folder.rglob("*"))
        for name, folder in AGENTS.items()
    }
    assert max(sizes.values()) < 2_000_000
    assert sum(sizes.values()) < 20_000_000


def test_git_and_the_image_keep_no_runs_but_these():
    kept = [f"!checkpoints/{name}" for name in AGENTS]
    for file, more in ((".gitignore", ["!checkpoints/README.md"]), (".dockerignore", [])):
        lines = (ROOT / file).read_text().splitlines()
        found = [line for line in lines if line.startswith("!checkpoints")]
        assert sorted(found) == sorted(kept + more), file


def test_an_agent_has_a_name_in_every_folder(tmp_path, monkeypatch):
    agents = ROOT / "checkpoints"
    monkeypatch.chdir(tmp_path)
    for typed in ("pong-laptop", "checkpoints/pong-laptop", "checkpoints/pong-laptop/"):
        assert find_run(typed) == agents / "pong-laptop"
    for typed in ("Breakout", "checkpoints", "runs/pong-laptop", ".."):
        assert find_run(typed) == Path(typed)
    (tmp_path / "pong-laptop").mkdir()
    assert find_run("pong-laptop") == Path("pong-laptop"), "a folder that is there"


def test_an_agent_was_trained_by_a_preset_as_it_is():
    """But for what the machine or the game asks, and what its card tells of."""
    may_differ = {"game", "seed", "precision", "threads", "env.threads", "env.niceness"}
    for agent, preset in TRAINED_BY.items():
        ours = flatten(load_config(AGENTS[agent] / "config.yaml"))
        theirs = flatten(load_config(PRESETS[preset]))
        changed = {name for name in ours if ours[name] != theirs[name]} - may_differ
        assert changed == CHANGED.get(agent, set()), agent
    assert TRAINED_BY.keys() == AGENTS.keys()
