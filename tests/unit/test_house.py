"""The house keeps its order: who may import whom, and who may draw from what."""

import ast
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dqn.config import Config, EvaluationConfig, ExplorationConfig, ReplayConfig
from dqn.learning.factory import make_agent
from dqn.run.train import train

ROOT = Path(__file__).parents[2]

FLOORS = {
    0: [
        *["types", "config", "schedule", "seeds", "scores", "files", "journal", "yaml_files"],
        *["validation", "method_check", "part_check"],
    ],
    1: [
        *["envs", "parcel", "sampler", "frames", "replay"],
        *["layers", "torsos", "heads", "networks", "action_values", "policies", "optimizers"],
        *["device", "sinks", "board", "parser", "options"],
    ],
    2: ["actor", "learner", "method", "accelerate", "agent", "films"],
    3: [
        *["evaluate", "render", "metrics", "curves", "about", "sealed"],
        *["state_check", "checkpoint", "run", "saved", "session", "compare"],
    ],
    4: ["train", "peers", "bench", "tabular"],
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}

ONLY_IN = {
    "ale_py": {"envs"},
    "gymnasium": {"envs"},
    "tensorboard": {"board"},
    "jsonargparse": {"parser", "options"},
    "matplotlib": {"curves", "compare", "tabular"},
    "av": {"films"},
    "pygame": {"sinks"},
    "stable_baselines3": {"peers"},
    "ray": set(),
    "pickle": set(),
}


def room_of(path):
    return path.relative_to(ROOT / "dqn").parts[0].removesuffix(".py")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = [path for path in sorted((ROOT / "dqn").rglob("*.py")) if path != ROOT / "dqn/__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_from_its_own_floor_or_lower_ones(path):
    room = room_of(path)
    assert room in FLOOR, f"{path} lives on no floor: give it one here and in ARCHITECTURE.md"
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "dqn" and len(parts) > 1:
            other = parts[1]
            assert FLOOR[other] <= FLOOR[room], f"{room} (floor {FLOOR[room]}) imports {other}"
            assert other != "tabular" or room == "tabular", f"{room} needs a table"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_is_known_to_its_room_only(path):
    for name in imports_of(path):
        for package, rooms in ONLY_IN.items():
            if package in name.split("."):
                assert room_of(path) in rooms, f"{path} imports {name}"


def test_no_two_rooms_import_each_other():
    arrows = {room: set() for room in FLOOR}
    for path in FILES:
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "dqn" and len(parts) > 1 and parts[1] != room_of(path):
                arrows[room_of(path)].add(parts[1])
    done, under_way = set(), []

    def visit(room):
        assert room not in under_way, f"a circle: {[*under_way, room]}"
        if room not in done:
            under_way.append(room)
            for other in sorted(arrows[room]):
                visit(other)
            under_way.pop()
            done.add(room)

    for room in sorted(arrows):
        visit(room)


def test_the_architecture_page_names_every_room_on_its_floor():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| (\d) \| (.+?) \|", page, flags=re.MULTILINE)
    named = {
        name.removesuffix(".py").rstrip("/"): int(floor)
        for floor, cell in rows
        for name in re.findall(r"`([^`]+)`", cell)
    }
    assert named == FLOOR


def global_states():
    return (
        random.getstate(),
        [str(part) for part in np.random.get_state()[2:]],  # noqa: NPY002
        np.random.get_state()[1].tobytes(),  # noqa: NPY002
        torch.get_rng_state().numpy().tobytes(),
    )


@pytest.mark.parametrize("game", ["Breakout", "CartPole-v1"])
def test_a_run_draws_from_no_global_generator(game, tmp_path):
    config = Config(
        game=game,
        device="cpu",
        threads=1,
        checkpoints_dir=str(tmp_path),
        total_steps=200,
        learning_starts=64,
        num_envs=2,
        report_period=100,
        replay=ReplayConfig(capacity=500),
        exploration=ExplorationConfig(epsilon_end=0.1, epsilon_decay_steps=50),
        evaluation=EvaluationConfig(episodes=2, held_out_states=2),
    )
    before = global_states()
    assert train(make_agent, config, "test", fresh=False) == 0
    assert global_states() == before
