"""Speeds by a clock that the test sets; the numbers of a run are in integration/test_oracle.py."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.runs import scalars

import dqn.report.metrics
from dqn.config import Config
from dqn.envs import Spec
from dqn.report.metrics import Metrics
from dqn.types import TimeStep


def test_speeds_are_of_the_time_since_the_last_report_without_its_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(dqn.report.metrics, "time", clock)
    spec = Spec("Pong", 3, (12, 12), "uint8", stack=4, atari=True)
    metrics = Metrics(tmp_path, spec, Config(num_envs=8), torch.device("cpu"))
    learner = SimpleNamespace(
        updates=50, learning_rate=0.5, pop_means=lambda: {"loss": 1.0, "gradient_norm": None}
    )
    metrics.open(400, learner.updates, "")  # resumed there
    no = np.zeros(8, bool)
    for step, seconds, pause, updates in ((416, 8, 4, 52), (480, 4, 0, 60)):
        clock.now += seconds
        metrics.exclude_time(pause)
        learner.updates = updates
        metrics.count(TimeStep(np.zeros(8), np.zeros(8, np.float32), no, no, no), step, 0.1)
        metrics.report(step, 0.1, 0.25, learner)  # type: ignore[arg-type]
    metrics.close()
    for tag, points in {
        "speed/steps_per_second": [(416, 4), (480, 16)],
        "speed/frames_per_second": [(416, 16), (480, 64)],
        "speed/updates_per_second": [(416, 0.5), (480, 2)],
        "learner/loss": [(416, 1), (480, 1)],
        "learner/learning_rate": [(416, 0.5), (480, 0.5)],
        "replay/fill": [(416, 0.25), (480, 0.25)],
    }.items():
        assert scalars(tmp_path, tag) == points, tag
