"""``export RUN FILE.onnx``: files that play without torch, and what is not exported."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from support.runs import CARTPOLE, NEVER, train

import dqn
from dqn.commands import export
from dqn.commands.export import compare
from dqn.storage.saved_run import load_agent
from main import main

SCRIPT = Path(__file__).parents[2] / "docs" / "play_onnx.py"
SHORT = [*CARTPOLE, NEVER, "--total-steps=600", "--evaluate-period=300"]


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    """A run of bfloat16."""
    return train(tmp_path_factory.mktemp("a run"), SHORT, "--precision=bfloat16")


def about(file: Path) -> dict[str, str]:
    return onnxruntime.InferenceSession(file.read_bytes()).get_modelmeta().custom_metadata_map


@pytest.mark.slow
def test_the_shipped_agent_plays_pong_without_torch(tmp_path, capfd):
    file = tmp_path / "a folder" / "pong.onnx"
    assert main(["export", "pong-laptop", str(file)]) == 0
    first, second = capfd.readouterr().out.splitlines()
    assert first == f"pong-laptop, best, step 600,000: 1.3 MB in {file}"
    assert second.startswith("onnxruntime and torch in 200 states of the game: largest difference ")
    assert second.endswith(", the same greedy actions")
    described = about(file)
    assert described.items() >= {
        "game": "Pong", "environment": "ALE/Pong-v5", "protocol": "classic, 48x48 pictures",
        "stack_shape": "4,48,48", "frame_size": "48", "num_actions": "6", "opset": "18",
        "actions": "NOOP,FIRE,RIGHT,LEFT,RIGHTFIRE,LEFTFIRE", "repeat_action_probability": "0.0",
    }.items()  # fmt: skip
    without = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv[1])"
    command = [sys.executable, "-c", without.replace("sys.argv[1]", repr(str(SCRIPT))), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    game, score = done.stdout.split(": ")
    assert game == "Pong" and float(score) >= 17, done.stdout


def test_a_run_in_bfloat16_is_exported_in_float32_and_it_is_said(cartpole, tmp_path, capfd):
    file = tmp_path / "cart pole.onnx"
    assert main(["export", str(cartpole), str(file), "--checkpoint=best"]) == 0
    *_, compared, said = capfd.readouterr().out.splitlines()
    assert "the same greedy actions" in compared
    assert said == "It computes in float32; the run did in bfloat16, with the same weights."
    described = about(file)
    assert described["environment"] == "CartPole-v1" and described["stack_shape"] == "1,4"
    assert described["protocol"] == "gymnasium" and described["actions"] == "left,right"
    assert "frame_size" not in described


def test_a_file_that_computes_something_else_is_not_kept(cartpole, tmp_path, capfd, monkeypatch):
    file = tmp_path / "old.onnx"
    file.write_text("the old one")
    run_onnx = export.run_onnx
    monkeypatch.setattr(export, "run_onnx", lambda *given: run_onnx(*given) + 0.01)
    assert main(["export", str(cartpole), str(file)]) == 1
    shown = capfd.readouterr()
    assert shown.out == ""
    said = f"error: {file} is not written: onnxruntime and torch in 200 states"
    assert shown.err.splitlines()[1].startswith(said)
    assert file.read_text() == "the old one" and list(tmp_path.iterdir()) == [file]


def test_rounding_is_told_from_a_mistake():
    ours = np.array([[1.0, 2.0], [3.0, 3.0]], np.float32)
    sentence, same = compare(ours, ours + np.array([[0, 0], [0, 1e-6]], np.float32))
    assert same and sentence == (
        "onnxruntime and torch in 2 states of the game: largest difference 9.5e-07 in values up "
        "to 3, other greedy actions in 1"
    )
    assert not compare(ours, ours + np.float32(1e-3))[1]
    assert compare(1000 * ours, 1000 * ours + np.float32(1e-2))[1]
    assert not compare(ours, ours * np.float32("nan"))[1]
    close = np.array([[100, 100.005]], np.float32)
    assert not compare(close, close[:, ::-1])[1], "another action"


def test_what_is_not_exported(cartpole, refused, tmp_path, monkeypatch):
    train(tmp_path / "table", ["--config=maze_q_learning"])
    (table,) = (tmp_path / "table").glob("*/*")
    (tmp_path / "b.onnx").mkdir()
    for arguments, sentence in {
        ("pong-laptop",): "no FILE.onnx given; try python main.py export pong-laptop pong.onnx",
        ("pong-laptop", "pong.pt"): "FILE must be the name of a .onnx file, not pong.pt",
        ("a", "b.onnx", "c"): "expected one RUN and one FILE.onnx, not a b.onnx c",
        ("nowhere", "a.onnx"): "there is no folder nowhere; ",
        (str(cartpole), "a.onnx", "--checkpoint=7"): "no checkpoint of step 7 in ",
        (str(table), "a.onnx"): f"{table} has no Q-network to export: its method is q_learning, ",
        (str(cartpole), "b.onnx"): "cannot write b.onnx: Is a directory",
        (str(cartpole), "/proc/a.onnx"): "cannot write /proc/a.onnx: No such file or directory",
    }.items():
        assert refused(["export", *arguments]).startswith(sentence), arguments
    monkeypatch.setattr("dqn.storage.onnx_file.NEEDED", ("onnx", "no_such_runtime"))
    missing = "export needs ONNX; type `pip install -r requirements-export.txt`"
    assert refused(["export", str(cartpole), "a.onnx"]) == missing


def test_what_a_file_of_an_atari_game_says_of_itself():
    """All that a program needs to play by the same rules."""
    agent = load_agent(export.make_float32, "pong-laptop", "latest", torch.device("cpu"))
    config = replace(agent.config, evaluation=replace(agent.config.evaluation, epsilon=0.125))
    assert export.describe(replace(agent, config=config)) == {
        "game": "Pong", "environment": "ALE/Pong-v5", "protocol": "classic, 48x48 pictures",
        "epsilon": "0.125", "stack_shape": "4,48,48", "frame_size": "48", "frame_skip": "4",
        "num_actions": "6", "actions": "NOOP,FIRE,RIGHT,LEFT,RIGHTFIRE,LEFTFIRE",
        "repeat_action_probability": "0.0", "full_action_space": "false", "noop_max": "30",
        "opset": "18", "step": "600000", "program": f"dqn {dqn.__version__}",
    }  # fmt: skip
