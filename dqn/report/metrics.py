"""What a run tells: TensorBoard, the progress bar, rewards.txt and the two .jsonl files.

TAGS is the one table of what is followed; a tag is its key everywhere. Within the loop the device
is waited for here alone, and only when a report is due.
"""

import json
import logging
import time
from collections import deque
from pathlib import Path

import numpy as np
import psutil
from tqdm import tqdm

from dqn.device import in_terminal
from dqn.envs import Spec
from dqn.evaluation.evaluate import Evaluation
from dqn.learning.interfaces import LearnerProtocol
from dqn.report.tensorboard import EventWriter
from dqn.storage.files import Journal
from dqn.types import Array, State, TimeStep

log = logging.getLogger("dqn")

TAGS: dict[str, tuple[str, str]] = {
    "training/return": ("score", "raw score of a finished training episode (a whole game)"),
    "training/length": ("steps", "its length"),
    "evaluation/mean": ("score", "mean over an evaluation's episodes"),
    "evaluation/median": ("score", "their median"),
    "evaluation/min": ("score", "the worst of them"),
    "evaluation/max": ("score", "the best of them"),
    "evaluation/human_normalised": ("fraction", "0: random player, 1: human tester"),
    "evaluation/held_out_q": ("clipped score", "mean greatest q-value on held-out states"),
    "evaluation/seconds": ("seconds", "wall time that the evaluation took"),
    "learner/loss": ("score squared", "mean loss of the updates since the last report"),
    "learner/td_error": ("score", "mean priority: the size of the error; with C51 its divergence"),
    "learner/policy_change": ("probability", "of a table of chances: the sum of what moved"),
    "learner/gradient_norm": ("1", "mean norm of the gradient before any clipping"),
    "learner/learning_rate": ("1", "step size of the optimiser"),
    "exploration/epsilon": ("probability", "of a random action, in the first environment"),
    "replay/fill": ("fraction", "rows held of the rows there is room for"),
    "speed/steps_per_second": ("1/s", "decisions since the last report, evaluations left out"),
    "speed/frames_per_second": ("1/s", "emulator frames (4 a step on Atari)"),
    "speed/updates_per_second": ("1/s", "updates of the network"),
    "system/memory": ("GB", "resident memory of the process"),
    "input/stack": ("image", "what the first environment's network sees, oldest frame left"),
    "run/config": ("text", "the resolved config"),
}

RECENT_EPISODES = 30
"""Episodes in the mean that the bar shows."""

SHOW_SECONDS = 1
"""Seconds between two views of the bar."""

PACE_VIEWS = 15
"""Views over which the bar's speed is taken: long enough to be steady, short enough to notice when
learning begins."""

LINE_SECONDS = 60
"""Seconds between plain lines, where no terminal shows a bar."""

TEXT_FILES = ("rewards.txt", "evaluations.jsonl", "training.jsonl")
"""What a resumed run first cuts back to where its checkpoint found it."""


class Metrics:
    """Everything a run writes down, apart from its checkpoints."""

    def __init__(self, folder: Path, spec: Spec, num_envs: int, total_steps: int) -> None:
        self._folder = folder
        self._texts = {name: Journal(folder / name) for name in TEXT_FILES}
        self._spec = spec
        self.frames_per_step = 4 if spec.atari else 1
        self._total_steps = total_steps
        self._returns = np.zeros(num_envs)  # of the episodes under way
        self._lengths = np.zeros(num_envs, np.int64)
        self._recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self._since_report: list[float] = []
        self._evaluations = 0
        self.best: float | None = None
        """Mean of the best evaluation so far."""
        self._loss: float | None = None
        self._last_line = time.monotonic()

    def open(self, step: int, updates: int, config_text: str) -> None:
        """Begin to write at ``step``; what TensorBoard holds of later steps is hidden."""
        self._events = EventWriter(self._folder, step)
        self._events.text("run/config", f"```yaml\n{config_text}\n```", step)
        self._bar = tqdm(
            total=self._total_steps,
            initial=step,
            unit="step",
            unit_scale=True,
            dynamic_ncols=True,
            disable=not in_terminal(),
            bar_format="{percentage:3.0f}% {bar:12} {n_fmt}/{total_fmt}{postfix}",
        )
        now = time.monotonic()
        self._mark = now, step, updates
        self._pace = deque([(now, step)], maxlen=PACE_VIEWS)
        self._epsilon: float | None = None  # until the first step

    def count(self, timestep: TimeStep, step: int, epsilon: float) -> None:
        """Take note of what ``step`` brought: rewards, ended episodes, the bar."""
        self._returns += timestep.reward
        self._lengths += ~timestep.first
        for i in np.flatnonzero(timestep.last):
            self._recent.append(float(self._returns[i]))
            self._since_report.append(float(self._returns[i]))
            at = step - len(self._returns) + 1 + int(i)  # a step of its own for each environment
            self._events.scalar("training/return", self._returns[i], at)
            self._events.scalar("training/length", self._lengths[i], at)
        self._returns[timestep.last] = 0
        self._lengths[timestep.last] = 0
        self._bar.n, self._epsilon = step, epsilon
        if time.monotonic() - self._pace[-1][0] >= SHOW_SECONDS:
            self._show()

    def report(self, step: int, epsilon: float, fill: float, learner: LearnerProtocol) -> None:
        """Write the numbers since the last report; the device is waited for here."""
        means = learner.pop_means()
        for name, value in means.items():
            if value is not None:
                self._events.scalar(f"learner/{name}", value, step)
        self._loss = means["loss"]
        began, step_then, updates_then = self._mark
        seconds = max(time.monotonic() - began, 1e-9)
        steps_per_second = (step - step_then) / seconds
        for tag, value in {
            "learner/learning_rate": learner.learning_rate,
            "exploration/epsilon": epsilon,
            "replay/fill": fill,
            "speed/steps_per_second": steps_per_second,
            "speed/frames_per_second": steps_per_second * self.frames_per_step,
            "speed/updates_per_second": (learner.updates - updates_then) / seconds,
            "system/memory": psutil.Process().memory_info().rss / 1e9,
        }.items():
            self._events.scalar(tag, value, step)
        self._mark = time.monotonic(), step, learner.updates
        episodes = self._since_report
        line = {
            "step": step,
            "epsilon": epsilon,
            "episodes": len(episodes),
            "mean_return": float(np.mean(episodes)) if episodes else None,
            **means,
        }
        self._write("training.jsonl", json.dumps(line))
        self._since_report = []

    def log_evaluation(
        self, evaluation: Evaluation, held_out_q: float | None, stack: Array, seconds: float
    ) -> bool:
        """Write an evaluation down; returns whether it is the best so far."""
        self._evaluations += 1
        step, returns = evaluation.step, evaluation.returns
        line = f"{self._evaluations:3d} {step:8d} {evaluation.mean:.1f}"
        self._write("rewards.txt", line)
        record = evaluation.as_json() | {"held_out_q": held_out_q}
        self._write("evaluations.jsonl", json.dumps(record))
        for tag, value in {
            "evaluation/mean": evaluation.mean,
            "evaluation/median": evaluation.median,
            "evaluation/min": min(returns),
            "evaluation/max": max(returns),
            "evaluation/human_normalised": evaluation.human_normalised,
            "evaluation/held_out_q": held_out_q,
            "evaluation/seconds": seconds,
        }.items():
            if value is not None:
                self._events.scalar(tag, value, step)
        if stack.ndim == 4 and stack.dtype == np.uint8:
            side_by_side = np.concatenate(list(stack[0]), axis=1)  # [H, 4 W]
            self._events.image("input/stack", side_by_side, step)
        log.info(
            "step %s: evaluation %d: mean %.1f, median %.1f, min %.1f, max %.1f over %d episodes "
            "(%s, epsilon %g)%s, %.0f s",
            f"{step:,}", self._evaluations, evaluation.mean, evaluation.median,
            min(returns), max(returns), len(returns), evaluation.protocol, evaluation.epsilon,
            "" if held_out_q is None else f", mean greatest q {held_out_q:.3f}", seconds,
        )  # fmt: skip
        better = self.best is None or evaluation.mean > self.best
        if better:
            self.best = evaluation.mean
        return better

    @property
    def evaluations(self) -> int:
        """How many evaluations there have been."""
        return self._evaluations

    def exclude_time(self, seconds: float) -> None:
        """Leave a pause (an evaluation, a checkpoint) out of the speeds."""
        began, step, updates = self._mark
        self._mark = began + seconds, step, updates
        self._pace = deque([(at + seconds, n) for at, n in self._pace], maxlen=PACE_VIEWS)

    def sync(self) -> dict[str, int]:
        """Hand the text files to the disk; returns their lengths in bytes.

        Raises:
            OSError: they cannot be written.
        """
        return {name: journal.sync() for name, journal in self._texts.items()}

    def cut(self, lengths: dict[str, int]) -> None:
        """Take from the text files what was written after the checkpoint that is continued from."""
        for name, journal in self._texts.items():
            journal.cut(lengths.get(name, 0))

    def close(self) -> None:
        """Show the bar a last time."""
        if self._epsilon is not None:
            self._show()
        self._bar.close()

    def state_dict(self) -> State:
        """Episodes under way and what is shown of those that ended."""
        return {
            "returns": self._returns,
            "lengths": self._lengths,
            "recent": list(self._recent),
            "since_report": self._since_report,
            "evaluations": self._evaluations,
            "best": self.best,
        }

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        self._returns, self._lengths = state["returns"], state["lengths"]
        self._recent.extend(state["recent"])
        self._since_report = state["since_report"]
        self._evaluations, self.best = state["evaluations"], state["best"]

    def _write(self, name: str, line: str) -> None:
        self._texts[name].append(f"{line}\n".encode())

    def _show(self) -> None:
        now, step = time.monotonic(), int(self._bar.n)
        self._pace.append((now, step))
        then, step_then = self._pace[0]
        rate = (step - step_then) / max(now - then, 1e-9)
        words = [f"{rate:,.0f} steps/s", f"epsilon {self._epsilon:.3f}"]
        if self._loss is not None:  # before it learns it is faster, and would promise too much
            words.insert(1, f"{_span((self._total_steps - step) / max(rate, 1e-9))} left")
        if self._recent:
            words.append(f"return {np.mean(self._recent):.1f} (last {len(self._recent)})")
        if self._loss is not None:
            words.append(f"loss {self._loss:.4f}")
        words.append(f"{rate * self.frames_per_step:,.0f} frames/s")
        self._bar.set_postfix_str(", ".join(words), refresh=False)
        try:
            self._bar.refresh()
        except OSError:  # the terminal has vanished
            self._bar.disable = True
        if now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            line = f"step {step:,}/{self._total_steps:,}: {', '.join(words)}"
            log.info(line, extra={"only_without_bar": True})


def _span(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes:02d} min"
