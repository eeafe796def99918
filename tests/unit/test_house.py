"""The rules of the house: which room may import which, file sizes, and no global random draws."""

import ast
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.reading_path import ASIDE
from support.runs import BREAKOUT, CARTPOLE, NEVER, train

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "ARCHITECTURE.md"

FLOORS = [
    ["types", "config"],
    ["seeds", "schedule", "device", "networks"],
    ["replay", "envs"],
    ["learning"],
    ["tabular", "evaluation", "storage"],
    ["report"],
    ["run"],
    ["scale", "web"],
    ["commands"],
    ["__main__"],
]
"""Rooms, the lowest first: a folder or a file of dqn/. A room imports from lower floors, or from
its own where that makes no circle."""

FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MAX_ROOMS = 18
MAX_LINES = 250

ONLY_IN = {
    "ale_py": {"envs"},
    "gymnasium": {"envs"},
    "tensorboard": {"report/tensorboard.py"},
    "pydantic": {"config", "storage"},
    "pydantic_settings": {"config"},
    "yaml": {"config"},
    "matplotlib": {"report", "tabular", "commands/compare.py"},
    "PIL": {"evaluation", "tabular"},
    "av": {"evaluation"},
    "pygame": {"evaluation"},
    "cv2": {"envs", "evaluation"},
    "safetensors": {"storage"},
    "zstandard": {"storage", "replay/compressed.py", "scale/compression.py"},
    "psutil": {"device.py", "report", "commands"},
    "stable_baselines3": {"commands/bench_peers.py"},
    "envpool": {"commands/bench_emulator.py"},
    "ray": {"scale"},
    "plotly": {"web"},
    "jinja2": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "websockets": set(),
    "grpc": {"scale"},
    "wandb": {"report/wandb_run.py"},
    "onnx": {"storage/onnx_file.py"},
    "onnxscript": set(),  # torch.onnx imports it
    "onnxruntime": {"storage/onnx_file.py"},
    "scipy": {"evaluation"},
    "pickle": set(),
}
"""The only rooms and files that import a package; one that is not named here may be anywhere."""

FILES = [path.relative_to(ROOT / "dqn") for path in sorted((ROOT / "dqn").rglob("*.py"))]
FILES.remove(Path("__init__.py"))


def room_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Modules, with the names that are imported from them."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / "dqn" / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imports_of(path)]
    return {part[1] for part in parts if part[0] == "dqn" and len(part) > 1} - {room_of(path)}


def test_every_room_is_on_a_floor():
    assert {room_of(path) for path in FILES} == set(FLOOR)
    assert len(FLOOR) <= MAX_ROOMS


def test_a_file_imports_from_its_own_floor_or_lower_ones():
    imports = [(path, room) for path in FILES for room in rooms_imported(path)]
    assert [(path, room) for path, room in imports if FLOOR[room] > FLOOR[room_of(path)]] == []


def test_no_rooms_import_each_other_in_a_circle():
    remaining: dict[str, set[str]] = {room: set() for room in FLOOR}
    for path in FILES:
        remaining[room_of(path)] |= rooms_imported(path)
    while free := [room for room, others in remaining.items() if not others & set(remaining)]:
        for room in free:
            del remaining[room]
    assert remaining == {}


def test_a_package_is_imported_in_its_room_only():
    for path in FILES:
        for package in {name.split(".")[0] for name in imports_of(path)} & set(ONLY_IN):
            assert {room_of(path), str(path)} & ONLY_IN[package], f"{path} imports {package}"


def test_every_file_is_short():
    lengths = {path: len((ROOT / "dqn" / path).read_text().splitlines()) for path in FILES}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_the_architecture_page_shows_the_floors():
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", ARCHITECTURE.read_text(), re.MULTILINE)
    table = [(int(floor), re.findall(r"`(\w+)`", rooms)) for floor, rooms in rows]
    assert table == list(enumerate(FLOORS))


def test_the_architecture_page_names_files_that_exist():
    """Those in code spans, from the root, from dqn/, or in any room."""
    for name in re.findall(r"`([\w/]+\.(?:py|md|toml))`", ARCHITECTURE.read_text()):
        places = [ROOT / name, ROOT / "dqn" / name, *(ROOT / "dqn").glob(f"*/{name}")]
        assert any(place.exists() for place in places), name


@pytest.mark.slow
def test_the_architecture_page_gives_the_length_of_the_reading_path():
    assert all((ROOT / place).exists() for place in ASIDE)
    script = [sys.executable, str(ROOT / "tests" / "support" / "reading_path.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    figure = r"([\d,]+) lines in (\d+) files"
    counted = re.search(figure, done.stdout)
    quoted = re.search(f"A plain run, .* is about {figure}", ARCHITECTURE.read_text())
    assert counted and quoted
    lines, said = (int(found[1].replace(",", "")) for found in (counted, quoted))
    assert counted[2] == quoted[2] and abs(lines - said) <= 50, counted[0]


def global_states() -> tuple[object, ...]:
    return (
        random.getstate(),
        [str(part) for part in np.random.get_state()[2:]],  # noqa: NPY002
        np.random.get_state()[1].tobytes(),  # noqa: NPY002
        torch.get_rng_state().numpy().tobytes(),
    )


@pytest.mark.parametrize("options", [BREAKOUT, CARTPOLE], ids=["Breakout", "CartPole-v1"])
def test_a_run_draws_from_no_global_generator(options, tmp_path):
    before = global_states()
    train(tmp_path, options, NEVER, "--total-steps=800", "--device=cpu", "--num-envs=2")
    assert global_states() == before
