"""The program as a process: readers that leave, disks that are full, and the installed command."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
from support.runs import TINY


def run(command: list[str | Path], cwd: Path, **more: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=cwd, check=False, text=True, stderr=subprocess.PIPE, **more)


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_leaves_is_no_failure_and_a_full_disk_is_one(unbuffered, root, tmp_path):
    """As head -1 leaves."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)
    for typed in ("--help", "--print-config"):
        command = [sys.executable, root / "main.py", typed]
        done = run(command, tmp_path, stdout=writer, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
    os.close(writer)
    with open("/dev/full", "w") as full:
        command = [sys.executable, root / "main.py", "--version"]
        done = run(command, tmp_path, stdout=full, env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: the output is not complete: No space left on device\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """``dqn`` in a virtual environment: the wheel, beside the packages of this one."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    source.mkdir()
    root = Path(__file__).parents[2]
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    for name in ("dqn", "configs", "checkpoints/pong-laptop"):
        shutil.copytree(root / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir=."]
    subprocess.run([*build, source], cwd=folder, check=True)
    shutil.rmtree(source)
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv/bin/python"
    (wheel,) = folder.glob("*.whl")
    install = [*pip, "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    place = {"base": folder / "venv", "platbase": folder / "venv"}
    packages = Path(sysconfig.get_path("purelib", "venv", place))
    (packages / "tested.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "venv/bin/dqn"


@pytest.mark.slow
def test_installed_it_does_the_same_from_any_folder(installed, tmp_path):
    """Presets and the shipped agent included; runs go to the current folder."""

    def dqn(*arguments: str) -> str:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = run([installed, *arguments], tmp_path, stdout=subprocess.PIPE, env=environment)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    assert dqn("play", "--help").startswith("usage: dqn play RUN ")
    laptop = dqn("--config=laptop", "--print-config")
    assert laptop == dqn("--config=configs/laptop.yaml", "--print-config")
    assert "frame_size: 48" in laptop
    dqn("--config=cartpole", *TINY)
    assert (tmp_path / "checkpoints/CartPole-v1/cartpole-seed1/step_000000040").is_dir()
    dqn("play", "checkpoints/pong-laptop", "--png=pong")
    assert any((tmp_path / "pong").iterdir())
    bench = ["bench", "--game=CartPole-v1", "--seconds=0.1", "--threads=1", "--json=speed.json"]
    dqn(*bench, "--num-envs=2", "--replay.capacity=5000")
    assert (tmp_path / "speed.json").stat().st_size > 0
    where = run(
        [installed.with_name("python"), "-c", "import dqn; print(dqn.__file__)"],
        tmp_path, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert Path(where.stdout).is_relative_to(installed.parents[1])
