"""What is recorded of the program and the machine."""

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

import dqn
from dqn.config import ConfigError
from dqn.storage.provenance import Provenance, commit, machine


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A program in a git repository of its own, in a folder with a space."""
    root = tmp_path / "a clone"
    (root / "dqn").mkdir(parents=True)
    (root / "dqn" / "__init__.py").write_text("1")
    monkeypatch.setattr(dqn, "__file__", str(root / "dqn" / "__init__.py"))
    commit.cache_clear()
    yield root
    commit.cache_clear()


def git(folder, *command):
    identity = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main"]
    return subprocess.check_output(["git", *identity, "-C", folder, *command], text=True).strip()


def test_the_commit_and_whether_files_differ_from_it(clone, monkeypatch):
    git(clone, "init")
    git(clone, "add", "-A")
    git(clone, "commit", "-m", "x")
    git(clone, "tag", "v1")
    head = git(clone, "rev-parse", "--short=10", "HEAD")
    assert commit() == head
    commit.cache_clear()
    (clone / "dqn" / "__init__.py").write_text("2")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit() == f"{head}-dirty"


def test_a_program_that_is_no_clone_has_no_commit(clone, monkeypatch):
    git(clone.parent, "init")  # somebody's repository that has this program in a folder
    assert commit() == ""
    git(clone, "init")  # no commit yet
    commit.cache_clear()
    assert commit() == ""
    monkeypatch.setenv("PATH", "")
    commit.cache_clear()
    assert commit() == ""


def test_the_head_of_config_yaml(monkeypatch, tmp_path):
    assert re.fullmatch(r".+, \d+ cores", machine())
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A CPU @ 2GHz\n")
    monkeypatch.setattr("dqn.storage.provenance._CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("dqn.storage.provenance.cores", lambda: 3)
    machine.cache_clear()
    assert machine() == "A CPU @ 2GHz, 3 cores"
    machine.cache_clear()
    made = Provenance("Pong", "classic", 6, [4, 84, 84], {"torch": "2"}, "cpu", 1, "", "A CPU")
    assert made.as_comments() == (
        "# game: Pong\n# protocol: classic\n# machine: A CPU\n# device: cpu\n# threads: 1\n"
        "# torch 2\n"
    )


def test_whatever_may_change_bits_is_named(caplog):
    ours = Provenance("Pong", "classic", 6, [4, 84, 84], {"torch": "2"}, "cpu", 2)
    for name, value in (("versions", {"torch": "3"}), ("device", "a GPU"), ("threads", 1)):
        dataclasses.replace(ours, **{name: value}).warn_of_differences(ours)
        assert caplog.messages[-1].startswith(f"This checkpoint was made with {name} ")
    ours = dataclasses.replace(ours, machine="A CPU, 2 cores")
    dataclasses.replace(ours, commit="x", machine="A CPU, 4 cores").warn_of_differences(ours)
    assert len(caplog.messages) == 3
    dataclasses.replace(ours, machine="Another, 2 cores").warn_of_differences(ours)
    (said,) = caplog.messages[3:]
    assert said.startswith("This checkpoint was made with processor Another, now A CPU: ")
    on_gpu = dataclasses.replace(ours, device="a GPU")
    dataclasses.replace(on_gpu, machine="Another, 2 cores").warn_of_differences(on_gpu)
    assert len(caplog.messages) == 4


def test_a_gpus_checkpoint_is_not_continued_on_the_cpu_nor_the_other_way_round():
    cpu = Provenance("Pong", "classic", 6, [4, 84, 84], {"torch": "2"}, "cpu", 2)
    gpu, other = (dataclasses.replace(cpu, device=name) for name in ("an H100", "an A100"))
    gpu.check_device(Path("step_1"), other)
    for theirs, ours in ((gpu, cpu), (cpu, gpu)):
        said = f"step_1 was saved on {theirs.device} and cannot be continued on {ours.device}"
        with pytest.raises(ConfigError, match=said):
            theirs.check_device(Path("step_1"), ours)
