"""``play`` and ``evaluate`` on a run that was trained here, of a written game."""

import json
from typing import Any

import av
import pytest
from support.runs import TINY, train
from support.scripted import GYM, Game, ScriptedGym, script_gym

from main import main

OPTIONS = [f"--game={GYM}", "--device=cpu", "--network.mlp-units=[4]", *TINY]


def test_a_stuck_game_is_cut_and_they_say_so(tmp_path, monkeypatch, capfd):
    script_gym(monkeypatch)
    folder = str(train(tmp_path, OPTIONS, "--evaluation.max-steps-without-reward=7"))
    assert main(["evaluate", folder]) == 0
    assert "1 game cut off after 7 steps without reward" in capfd.readouterr().out
    assert main(["play", folder, f"--png={tmp_path / 'png'}"]) == 0
    said = capfd.readouterr().out
    assert "a return of 0 in 7 steps, then cut: no reward for too long; wrote" in said


def test_a_run_is_evaluated_at_another_epsilon(tmp_path, monkeypatch, capfd):
    actions: list[int] = []
    step = ScriptedGym.step

    def keep_action(env: ScriptedGym, action: int) -> Any:
        actions.append(action)
        return step(env, action)

    def played(*more: str) -> list[int]:
        actions.clear()
        assert main(["evaluate", folder, "--episodes=1", f"--json={scores}", *more]) == 0
        return actions[:50]

    script_gym(monkeypatch, *[Game((1,) * 50)] * 50)
    folder, scores = str(train(tmp_path, OPTIONS)), tmp_path / "scores.json"
    monkeypatch.setattr(ScriptedGym, "step", keep_action)
    greedy, same = played("--epsilon=0"), played("--epsilon=0", "--seed=1")
    assert greedy == same != played("--epsilon=1")
    assert json.loads(scores.read_text())["epsilon"] == 1
    assert ", epsilon 1, seed 0" in capfd.readouterr().out
    assert main(["evaluate", folder, "--epsilon=1.5"]) == 2
    assert "--epsilon must be a number from 0 to 1, or null, not 1.5" in capfd.readouterr().err


def test_a_played_game_is_none_of_the_training(tmp_path, monkeypatch):
    seeds: list[int | None] = []
    reset = ScriptedGym.reset

    def keep_seed(env: ScriptedGym, *, seed: int | None = None, options: Any = None) -> Any:
        seeds.append(seed)
        return reset(env, seed=seed)

    monkeypatch.setattr(ScriptedGym, "reset", keep_seed)
    script_gym(monkeypatch, *[Game((5, -2))] * 50)
    folder = str(train(tmp_path, OPTIONS))
    trained = {seed for seed in seeds if seed is not None}
    seeds.clear()
    assert main(["play", folder, "--seed=1", f"--png={tmp_path / 'png'}"]) == 0
    assert trained and seeds[-1] is not None and not trained & set(seeds)


def test_a_file_of_scores_says_whose_they_are(tmp_path, monkeypatch):
    script_gym(monkeypatch, *[Game((5, -2))] * 50)
    folder, file = str(train(tmp_path, OPTIONS)), tmp_path / "scores.json"
    assert main(["evaluate", folder, "--seed=7", "--episodes=2", f"--json={file}"]) == 0
    assert json.loads(file.read_text()) == {
        "run": folder, "checkpoint": "step_000000040", "seed": 7, "game": GYM, "step": 40,
        "protocol": "gymnasium", "epsilon": 0.05, "returns": [3, 3], "lengths": [2, 2], "mean": 3,
        "median": 3, "human_normalised": None,
    }  # fmt: skip


def test_a_film_has_the_speed_of_the_game(tmp_path, monkeypatch):
    """Ten decisions at 5 a second, and the end for a second more."""
    script_gym(monkeypatch, *[Game((1,) * 10)] * 50)
    folder = str(train(tmp_path, OPTIONS))
    files = [tmp_path / name for name in ("a.gif", "a.mp4")]
    assert main(["play", folder, f"--gif={files[0]}", f"--video={files[1]}"]) == 0
    for file in files:
        with av.open(str(file)) as film:
            assert film.duration / av.time_base == pytest.approx(10 / 5 + 1, abs=0.01), file
