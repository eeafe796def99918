"""Runs of one game in one picture: training returns over steps, and over minutes.

``python docs/compare.py picture.png "plain DQN=checkpoints/Breakout/dqn-seed1" ...`` reads each
run's ``training.jsonl`` for the returns and its TensorBoard file for the time: that of learning, of
playing and of evaluating, without pauses between a stop and the next start.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

sys.path.insert(0, str(Path(__file__).parent.parent))

from dqn.curves import points, read_lines, running_mean

SMOOTHED = 20
"""Reports in the running mean of the training return."""


def seconds_at(run: Path) -> dict[int, float]:
    """Seconds of work from the first step to each report; a stretch that was worked through twice,
    after a kill, counts once."""
    board = EventAccumulator(str(run), size_guidance={"scalars": 0})
    board.Reload()
    rates = {e.step: e.value for e in board.Scalars("speed/steps_per_second")}
    tags = board.Tags()["scalars"]
    events = board.Scalars("evaluation/seconds") if "evaluation/seconds" in tags else []
    evaluations = {e.step: e.value for e in events}
    steps = sorted(rates)
    stretches = np.diff([0, *steps]) / [rates[step] for step in steps]
    learning = np.cumsum(stretches)
    return {
        step: float(seconds) + sum(s for at, s in evaluations.items() if at < step)
        for step, seconds in zip(steps, learning, strict=True)
    }


def draw(picture: Path, runs: dict[str, Path]) -> None:
    """Draw, and print the mean of the last reports of each run."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    by_step, by_time = figure.subplots(1, 2, sharey=True)
    for label, run in runs.items():
        seconds = seconds_at(run)
        ended = points(read_lines(run / "training.jsonl"), "mean_return")
        steps = [step for step, _ in ended]
        returns = running_mean([value for _, value in ended], SMOOTHED)
        minutes = [seconds[step] / 60 for step in steps]
        by_step.plot(steps, returns, label=label)
        by_time.plot(minutes, returns)
        print(f"{label}: {returns[-1]:.2f} at step {steps[-1]:,}, minute {minutes[-1]:.0f}")
    by_step.set_xlabel("step")
    by_step.xaxis.set_major_formatter(EngFormatter(sep=""))
    by_time.set_xlabel("minute")
    by_step.set_ylabel(f"training return, mean of {SMOOTHED} reports")
    for axes in (by_step, by_time):
        axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(runs))
    figure.savefig(picture, dpi=80)


if __name__ == "__main__":
    if len(sys.argv) < 3 or not all("=" in word for word in sys.argv[2:]):
        sys.exit(__doc__.splitlines()[2])
    named = (word.split("=", 1) for word in sys.argv[2:])
    draw(Path(sys.argv[1]), {label: Path(run) for label, run in named})
