"""The lessons learn what they promise, and stop, resume, play and evaluate as any other run."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image, ImageSequence
from support.runs import checkpoints

from dqn.envs.maze import allowed
from dqn.report.curves import read_lines
from dqn.storage.saved_run import load_agent
from dqn.tabular.agent import make_model
from dqn.tabular.pictures import draw_table
from dqn.tabular.table import PolicyTable
from main import main

LESSONS = {
    "maze_random": 60, "maze_q_learning": 300, "maze_sarsa": 300, "maze_policy_gradient": 300,
    "cartpole_q_table": 800, "cartpole_random": 60, "cartpole_reinforce": 300,
    "cartpole": 1100, "cartpole_shaped": 1100, "lunarlander": 5120,
}  # fmt: skip
"""And a number of steps in which each has done what it does."""

BEST_PATH = {0: 1, 1: 1, 2: 2, 5: 3, 4: 2, 7: 1}
"""Cell and action: S0 S1 S2 S5 S4 S7 S8."""


def trained(folder: Path, preset: str, *options: str) -> Path:
    """Train by a preset; returns the run's folder."""
    assert main([f"--config={preset}", f"--checkpoints-dir={folder}", *options]) == 0
    (run,) = folder.glob(f"*/{preset}-seed*")
    return run


def scored(run: Path, tmp_path: Path) -> float:
    """Mean of 100 new episodes, by the best checkpoint."""
    report = tmp_path / "scores.json"
    command = ["evaluate", str(run), "--checkpoint=best", "--episodes=100", "--seed=1000"]
    assert main([*command, f"--json={report}"]) == 0
    return float(json.loads(report.read_text())["mean"])


def table_of(run: Path) -> torch.Tensor:
    return safetensors.torch.load_file(checkpoints(run)[-1] / "model.safetensors")["table"]


@pytest.mark.parametrize("preset", ["maze_q_learning", "maze_sarsa"])
def test_a_table_finds_the_path(preset, tmp_path):
    run = trained(tmp_path, preset, "--total-steps=2000", "--evaluate-period=1000")
    assert read_lines(run / "evaluations.jsonl")[-1]["mean"] == -6
    q = np.where(allowed(), table_of(run).numpy(), -np.inf)
    assert {cell: int(q[cell].argmax()) for cell in BEST_PATH} == BEST_PATH


def test_the_policy_gradient_comes_within_a_fiftieth_and_stops(tmp_path, capfd):
    run = trained(tmp_path, "maze_policy_gradient", "--evaluate-period=1e6")
    policy = load_agent(make_model, str(run), "latest", torch.device("cpu")).model
    assert isinstance(policy, PolicyTable)
    probabilities = policy.probabilities()
    assert min(probabilities[cell, action] for cell, action in BEST_PATH.items()) > 0.98
    step = read_lines(run / "evaluations.jsonl")[-1]["step"]
    assert 1000 < step < 50_000
    trained(tmp_path, "maze_policy_gradient", "--evaluate-period=1e6", "--total-steps=1e6")
    converged = f"{run} is finished at step {step:,}; its learner has converged"
    assert converged in capfd.readouterr().err


def test_a_table_holds_the_pole(tmp_path):
    """In a sixth of the preset's time; its rate and epsilon fall two and a half times as fast."""
    run = trained(
        tmp_path, "cartpole_q_table", "--total-steps=50_000", "--evaluate-period=10_000",
        "--optimizer.learning-rate-decay-steps=100_000",
        "--exploration.epsilon-decay-steps=60_000",
    )  # fmt: skip
    assert scored(run, tmp_path) >= 195


@pytest.mark.parametrize(
    "preset, seed, steps",
    [("cartpole", 3, 7_500), ("cartpole_shaped", 1, 7_500), ("cartpole_reinforce", 2, 50_000)],
)
def test_a_network_holds_the_pole(preset, seed, steps, tmp_path):
    """By the presets as they are, each with a quick seed (docs/results/classic.md)."""
    options = [f"--seed={seed}", f"--total-steps={steps}", f"--evaluate-period={steps}"]
    run = trained(tmp_path, preset, *options, "--evaluation.episodes=5")
    assert scored(run, tmp_path) >= 475


def test_a_random_player_scores_as_one(tmp_path):
    run = trained(tmp_path, "cartpole_random", "--total-steps=500", "--evaluate-period=500")
    assert 15 < scored(run, tmp_path) < 30


@pytest.mark.parametrize("preset", LESSONS)
def test_a_lesson_resumes_to_the_same_bits(preset, tmp_path):
    if preset == "lunarlander":
        pytest.importorskip("Box2D")
    steps = LESSONS[preset]
    options = [
        "--evaluation.episodes=2", "--evaluation.held-out-states=4", "--checkpoint-minutes=1e6",
        f"--evaluate-period={steps // 2}",
    ]  # fmt: skip
    whole = trained(tmp_path / "whole", preset, *options, f"--total-steps={steps}")
    trained(tmp_path / "parts", preset, *options, f"--total-steps={steps // 3}")
    parts = trained(tmp_path / "parts", preset, *options, f"--total-steps={steps}")
    ours, theirs = (checkpoints(run)[-1] / "model.safetensors" for run in (parts, whole))
    assert ours.read_bytes() == theirs.read_bytes()


def test_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr("dqn.tabular.table.draw_table", draw_table)
    run = trained(tmp_path, "maze_q_learning", "--total-steps=1000", "--evaluate-period=1000")
    table = cv2.imread(str(run / "table.png"))
    assert table.shape[0] > 300 and table.std() > 10
    gif, video = tmp_path / "maze.gif", tmp_path / "maze.mp4"
    assert main(["play", str(run), f"--gif={gif}", f"--video={video}"]) == 0
    assert video.stat().st_size > 500
    with Image.open(gif) as film:
        shown = [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
        assert film.info["duration"] >= 900, "the arrival is held for a second"
    assert len({frame.tobytes() for frame in shown}) == len(shown), "each move is seen"
    assert 1 + len(BEST_PATH) == len(shown)


def test_a_table_learns_another_world_of_named_states(tmp_path):
    """CliffWalking: 13 moves along the edge are the fewest; a fall costs 100."""
    run = trained(
        tmp_path, "maze_q_learning", "--game=CliffWalking-v1", "--env.max-episode-steps=200",
        "--total-steps=8000", "--evaluate-period=8000", "--optimizer.learning-rate=.5",
        "--exploration.epsilon-decay-steps=8000", "--evaluation.episodes=1",
    )  # fmt: skip
    assert read_lines(run / "evaluations.jsonl")[-1]["mean"] == -13
    assert table_of(run).shape == (48, 4)
