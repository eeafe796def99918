"""``bench`` measures a real game and leaves the figures that scripts depend on."""

import json
from pathlib import Path

import pytest

import dqn.commands.peers
from main import main

CARTPOLE = ["bench", "--game=CartPole-v1", "--seconds=0.3", "--threads=1", "--num-envs=2"]


def test_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "speed.json"
    assert main([*CARTPOLE, "--replay.capacity=5000", f"--json={file}"]) == 0
    figures = json.loads(file.read_text())
    for name in (
        "emulator_steps_per_second", "acting_steps_per_second", "learner_updates_per_second",
        "training_steps_per_second", "bytes_per_transition", "peak_memory_bytes",
        "startup_seconds", "checkpoint_seconds", "share_of_slowest_limit",
    ):  # fmt: skip
        assert figures[name] > 0, name
    assert figures["device"] == "cpu"
    assert figures["bytes_per_transition"] == 4 * 4 + 1 + 4 + 3
    assert "training steps per second" in capsys.readouterr().out


def test_what_cannot_be_measured_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a file of earlier figures is left as it is."""
    file = tmp_path / "speed.json"
    file.write_text("earlier")
    monkeypatch.setattr(dqn.commands.peers.importlib.util, "find_spec", lambda _: None)
    assert main([*CARTPOLE, "--peers", f"--json={file}"]) == 2
    assert "requirements-bench.txt" in capsys.readouterr().err
    assert file.read_text() == "earlier"
    assert main([*CARTPOLE, f"--json={tmp_path}/none/speed.json"]) == 2
    assert main(["bench", "--seconds=0"]) == 2
