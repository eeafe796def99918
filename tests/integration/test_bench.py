"""``bench`` measures a real game and leaves the figures that scripts depend on."""

import json
from pathlib import Path

import pytest

import dqn.commands.peers
from dqn.commands.bench_table import conclusion
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
    printed = capsys.readouterr().out
    assert "training steps per second" in printed
    assert "200 million frames, the usual length of a run, take" in printed.splitlines()[-1]


@pytest.mark.parametrize(
    "device, slow, said",
    [
        (
            "cpu",
            "emulator_steps",
            "the emulators at 10 steps/s, of which it reaches 80%; more cores",
        ),
        ("cpu", "learner_updates", "the learner at 40 steps/s, of which it reaches 80%; a GPU"),
        ("NVIDIA", "acting_steps", "acting at 10 steps/s, of which it reaches 80%; more env"),
    ],
)
def test_the_end_names_the_limit(device: str, slow: str, said: str) -> None:
    parts = ("emulator_steps", "acting_steps", "learner_updates")
    rates = dict.fromkeys(parts, 1000.0) | {slow: 10.0}
    figures = {f"{part}_per_second": rate for part, rate in rates.items()} | {"device": device}
    figures |= {"share_of_slowest_limit": 0.8, "hours_for_200_million_frames": 818.0}
    sentence = conclusion(figures, update_period=4)
    assert "take 34 d 2 h." in sentence and said in sentence, sentence


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
