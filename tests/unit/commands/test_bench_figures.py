"""What ``bench`` computes and says from what it measured."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from dqn.commands import bench_timing
from dqn.commands.bench import ratios
from dqn.commands.bench_table import conclusion, print_iteration
from dqn.config import Config, LearnerConfig


def test_a_part_inside_a_graph_has_no_time_alone(capsys):
    part = {"alone_seconds": None, "seconds": 0.001, "share": 1.0}
    print_iteration({"iteration": {"sampling": part}, "num_envs": 64}, updates=16)
    assert capsys.readouterr().out.splitlines()[2].split() == ["sampling", "-", "1.000", "100.0%"]


def test_the_end_names_the_limit():
    for device, slow, said in (
        ("cpu", "emulator_steps", "the emulators at 10 steps/s, of which it reaches 80%; more co"),
        ("cpu", "learner_updates", "the learner at 40 steps/s, of which it reaches 80%; a GPU"),
        ("NVIDIA", "acting_steps", "acting at 10 steps/s, of which it reaches 80%; more env"),
    ):
        parts = ("emulator_steps", "acting_steps", "learner_updates")
        rates = dict.fromkeys(parts, 1000.0) | {slow: 10.0}
        figures = {f"{part}_per_second": rate for part, rate in rates.items()}
        figures |= {"share_of_slowest_limit": 0.8, "hours_for_total_steps": 818.0}
        figures |= {"total_steps": 50_000_000, "device": device, "cores": 2}
        sentence = conclusion(figures | {"load_before": 0.9}, update_period=4)
        assert sentence.startswith("A run of 50,000,000 steps takes 34 d 2 h."), sentence
        assert said in sentence, sentence
        busy = conclusion(figures | {"load_before": 8.24}, update_period=4)
        assert busy == f"{sentence} The load was 8.2 on 2 cores before: alone they are faster."


def test_figures_follow_from_those_measured():
    """200 steps/s, of limits of 800, 1,600 and 4 x 100: half of the slowest."""
    figures = {
        "training_steps_per_second": 200.0, "frames_per_step": 4,
        "emulator_steps_per_second": 800.0, "acting_steps_per_second": 1600.0,
        "learner_updates_per_second": 100.0, "arithmetic_limit_steps_per_second": 2000.0,
    }  # fmt: skip
    found = ratios(Config(total_steps=720_000, learner=LearnerConfig(update_period=4)), figures)
    memory = found.pop("peak_memory_bytes")
    assert found == {
        "training_frames_per_second": 800, "share_of_slowest_limit": 0.5,
        "share_of_arithmetic_limit": 0.1,
        "hours_for_total_steps": pytest.approx(720_000 / 200 / 3600),
    }  # fmt: skip
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert memory > 0.9 * 1024 * int(peak), "bytes"


def test_a_rate_is_the_median_of_five_windows_without_the_warm_up(monkeypatch):
    """Windows of a second: calls of 16 s first, then 1, 2, 4, 8 and 16 in a second."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(bench_timing, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    seconds = iter([16.0, *(1 / n for n in (1, 2, 4, 8, 16) for _ in range(n))])

    def work() -> None:
        clock.now += next(seconds)

    assert bench_timing.rate(work, 6) == 4
    assert next(seconds, None) is None
