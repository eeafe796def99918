"""What the bar shows of a run's episodes, and when it gives advice."""

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.runs import scalars

from dqn.config import Config
from dqn.envs import Spec
from dqn.report.metrics import TAGS, Metrics
from dqn.report.progress import HINT
from dqn.types import TimeStep


@pytest.fixture
def clock(monkeypatch, caplog):
    """The time; every refresh of the bar is a line of the log."""
    clock = SimpleNamespace(now=0.0)
    for module in ("metrics", "progress"):
        monkeypatch.setattr(
            f"dqn.report.{module}.time", SimpleNamespace(monotonic=lambda: clock.now)
        )
    monkeypatch.setattr("dqn.report.tensorboard.time.time", lambda: 1.0)
    monkeypatch.setattr("dqn.report.progress.LINE_SECONDS", 0)
    caplog.set_level(logging.INFO, "dqn")
    return clock


def make_metrics(
    folder: Path, device: str = "cpu", atari: bool = True, method: str = "dqn"
) -> Metrics:
    folder.mkdir()
    spec = Spec("Pong", 3, (4, 4), "uint8", 4, atari)
    config = Config(num_envs=1, total_steps=1_000_000, learning_starts=10)
    object.__setattr__(config, "method", method)  # whatever the rules say
    metrics = Metrics(folder, spec, config, torch.device(device))
    metrics.open(0, 0, "")
    return metrics


def episode(metrics: Metrics, step: int, reward: float) -> None:
    """One of a single step."""
    no, yes = np.zeros(1, bool), np.ones(1, bool)
    metrics.count(TimeStep(np.zeros((1, 1)), np.array([reward]), no, yes, yes), step, 1.0)


def test_the_bar_shows_the_mean_of_the_last_thirty_episodes_even_of_a_continued_run(
    tmp_path, clock, caplog
):
    first = make_metrics(tmp_path / "first")
    for number in range(1, 41):
        clock.now += 1
        episode(first, number, number)
    assert "return 25.5, " in caplog.messages[-1]  # 11 to 40
    second = make_metrics(tmp_path / "second")
    second.load_state_dict(first.state_dict())
    episode(second, 41, 101)
    second.close()
    assert "return 28.5, " in caplog.messages[-1]  # 12 to 40, and 101


def test_presets_of_full_size_are_advised_against_for_atari_on_a_cpu(tmp_path, clock, caplog):
    for device, atari, advised in (("cpu", True, 1), ("cuda", True, 0), ("cpu", False, 0)):
        caplog.clear()
        metrics = make_metrics(tmp_path / f"{device} {atari}", device, atari)
        for step in range(30):
            clock.now += 1
            episode(metrics, step, 0)
        metrics.close()
        more = [said for said in caplog.messages if not said.startswith(("step ", "Learning"))]
        assert more == [HINT] * advised, (device, atari)


def test_a_random_player_is_not_said_to_learn(tmp_path, clock, caplog):
    for method, learns in (("dqn", 1), ("random", 0)):
        caplog.clear()
        metrics = make_metrics(tmp_path / method, atari=False, method=method)
        for step in range(30):
            clock.now += 1
            episode(metrics, step, 0)
        metrics.close()
        assert sum(said.startswith("Learning began") for said in caplog.messages) == learns
        assert " left" in caplog.messages[-1]


def test_a_report_after_half_a_second(tmp_path, clock):
    metrics = make_metrics(tmp_path / "run")
    clock.now += 0.5
    learner: Any = SimpleNamespace(pop_means=lambda: {"loss": 1.0}, learning_rate=0.1, updates=5)
    metrics.report(20, 1.0, 0.5, learner)
    points = {tag: scalars(tmp_path / "run", tag)[0][1] for tag in TAGS if "speed" in tag}
    assert points == {
        "speed/steps_per_second": 40, "speed/frames_per_second": 160,
        "speed/updates_per_second": 10,
    }  # fmt: skip
    ((_, memory),) = scalars(tmp_path / "run", "system/memory")
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert memory == pytest.approx(pages * os.sysconf("SC_PAGE_SIZE") / 1e9, rel=0.2)


def test_what_a_killed_run_wrote_before_its_first_checkpoint_is_cut(tmp_path, clock):
    metrics = make_metrics(tmp_path / "run")
    means = {"loss": 1.0}
    learner: Any = SimpleNamespace(pop_means=lambda: means, learning_rate=0.1, updates=0)
    metrics.report(20, 1.0, 0.5, learner)
    metrics.close()
    file = tmp_path / "run" / "training.jsonl"
    assert file.stat().st_size > 1
    metrics.cut({})
    assert file.stat().st_size == 0
