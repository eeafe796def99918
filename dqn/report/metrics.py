"""Metrics of a run: TensorBoard (and what mirrors it), rewards.txt, the two .jsonl files and the
progress bar.

TAGS lists every metric. In the training loop the device is synchronized only here, when a report
is due.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psutil
import torch

from dqn.config import MAY_CHANGE_ON_RESUME, Config, flatten
from dqn.config.words import counted
from dqn.envs import Spec
from dqn.envs.atari import FRAME_SKIP
from dqn.evaluation.evaluate import Evaluation
from dqn.learning.interfaces import LearnerProtocol
from dqn.report.boards import Board, Boards
from dqn.report.progress import HINT, ProgressBar
from dqn.report.tensorboard import EventWriter, has_point
from dqn.report.wandb_run import WandbRun
from dqn.storage.files import Journal
from dqn.types import Array, State, TimeStep

log = logging.getLogger("dqn")

TAGS: dict[str, tuple[str, str]] = {
    "episode/return": ("score", "raw score of a finished training episode (a whole game)"),
    "episode/steps": ("steps", "length of a finished training episode"),
    "evaluation/mean": ("score", "mean return of an evaluation's episodes"),
    "evaluation/median": ("score", "median return of an evaluation's episodes"),
    "evaluation/return_max": ("score", "highest return of an evaluation's episodes"),
    "evaluation/return_min": ("score", "lowest return of an evaluation's episodes"),
    "evaluation/score_human_normalised": ("1", "mean return; 0: random play, 1: human tester"),
    "evaluation/seconds": ("seconds", "wall time of the evaluation"),
    "evaluation/film": ("GIF", "an episode recorded by --render, at most its first minute"),
    "exploration/epsilon": ("probability", "epsilon of the first environment"),
    "input/stack": ("image", "network input of the first environment, oldest frame left"),
    "learner/gradient_norm": ("1", "mean gradient norm before clipping"),
    "learner/held_out_q": ("clipped score", "mean max Q on the held-out states"),
    "learner/learning_rate": ("1", "learning rate of the optimizer"),
    "learner/loss": ("score squared", "mean loss of the updates since the last report"),
    "learner/policy_change": ("probability", "tabular policies: total absolute change"),
    "learner/td_error": (
        "score",
        "mean priority: absolute TD error; C51: KL divergence; QR-DQN, IQN: over quantile pairs",
    ),
    "replay/fill": ("fraction", "rows in the replay memory divided by its capacity"),
    "run/config": ("text", "the resolved config"),
    "speed/frames_per_second": ("1/s", "emulator frames (4 per step on Atari)"),
    "speed/steps_per_second": ("1/s", "steps since the last report, evaluations excluded"),
    "speed/updates_per_second": ("1/s", "updates of the network"),
    "system/memory": ("GB", "resident memory of the process"),
}
"""Unit and meaning of every tag in TensorBoard, which sorts them: the scores come first."""

LAYOUT = {
    "score of evaluations": ["evaluation/mean"],
    "score of training episodes": ["episode/return"],
    "q-values on held-out states": ["learner/held_out_q"],
    "loss": ["learner/loss"],
    "steps per second": ["speed/steps_per_second"],
}
"""The charts of TensorBoard's page Custom Scalars, and their tags."""

RECENT_EPISODES = 30  # averaged in the progress bar
TEXT_FILES = ("rewards.txt", "evaluations.jsonl", "training.jsonl")
"""Files that are truncated to their length at the checkpoint when a run is resumed."""


class Metrics:
    """Everything a run records apart from its checkpoints."""

    def __init__(self, folder: Path, spec: Spec, config: Config, device: torch.device) -> None:
        num_envs = config.num_envs
        self._folder = folder
        self._config = config
        self._journals = {name: Journal(folder / name) for name in TEXT_FILES}
        self._frames_per_step = FRAME_SKIP if spec.atari else 1
        self._total_steps = config.total_steps
        self._learning_starts = config.learning_starts if config.method != "random" else 0
        self._hint = HINT if spec.atari and device.type == "cpu" else ""
        self._returns = np.zeros(num_envs)  # of the unfinished episodes
        self._lengths = np.zeros(num_envs, np.int64)
        self._recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self._since_report: list[float] = []
        self.evaluations = 0
        """Number of evaluations so far."""
        self.best: float | None = None
        """Mean of the best evaluation so far."""
        self._loss: float | None = None

    def open(self, step: int, updates: int, config_text: str) -> None:
        """Start recording at ``step``; TensorBoard hides what it holds of later steps.

        Raises:
            ConfigError: a run of Weights & Biases was asked for and cannot be started.
        """
        boards: list[Board] = []
        if self._config.wandb:
            boards.append(WandbRun(self._folder, self._config.wandb, self._config))
        descriptions = {tag: f"{meaning} ({unit})" for tag, (unit, meaning) in TAGS.items()}
        events = EventWriter(self._folder, step, descriptions)
        events.layout(LAYOUT, step)
        settings = flatten(self._config).items()
        identity = {name: value for name, value in settings if name not in MAY_CHANGE_ON_RESUME}
        events.settings(identity, step)
        self._events = Boards(*boards, events)
        self._events.text("run/config", f"```yaml\n{config_text}\n```", step)
        self._progress = ProgressBar(step, self._total_steps, self._learning_starts, self._hint)
        self._last_report = time.monotonic(), step, updates
        self._resumed_at = step

    def count(self, timestep: TimeStep, step: int, epsilon: float) -> None:
        """Count a step's rewards and finished episodes; update the progress bar."""
        self._returns += timestep.reward
        self._lengths += ~timestep.first
        for i in np.flatnonzero(timestep.last):
            self._recent.append(float(self._returns[i]))
            self._since_report.append(float(self._returns[i]))
            at = step - len(self._returns) + 1 + int(i)  # a step of its own for each environment
            self._events.scalar("episode/return", self._returns[i], at)
            self._events.scalar("episode/steps", self._lengths[i], at)
        self._returns[timestep.last] = 0
        self._lengths[timestep.last] = 0
        self._progress.update(step, epsilon, self._recent, self._loss)

    def report(self, step: int, epsilon: float, fill: float, learner: LearnerProtocol) -> None:
        """Record the metrics since the last report; synchronizes the device."""
        means = learner.pop_means()
        self._loss = means["loss"]
        then, step_then, updates_then = self._last_report
        seconds = max(time.monotonic() - then, 1e-9)
        rate = (step - step_then) / seconds
        scalars = {f"learner/{name}": value for name, value in means.items()} | {
            "learner/learning_rate": learner.learning_rate,
            "exploration/epsilon": epsilon,
            "replay/fill": fill,
            "speed/steps_per_second": rate,
            "speed/frames_per_second": rate * self._frames_per_step,
            "speed/updates_per_second": (learner.updates - updates_then) / seconds,
            "system/memory": psutil.Process().memory_info().rss / 1e9,
        }
        self._scalars(scalars, step)
        self._last_report = time.monotonic(), step, learner.updates
        episodes, self._since_report = self._since_report, []
        mean_return = float(np.mean(episodes)) if episodes else None
        line = {"step": step, "epsilon": epsilon, "episodes": len(episodes)}
        self._write("training.jsonl", json.dumps(line | {"mean_return": mean_return} | means))

    def log_evaluation(
        self, evaluation: Evaluation, held_out_q: float | None, stack: Array, seconds: float
    ) -> bool:
        """Record an evaluation; returns whether none so far was better."""
        self.evaluations += 1
        step, returns = evaluation.step, evaluation.returns
        self._write("rewards.txt", f"{self.evaluations:3d} {step:8d} {evaluation.mean:.1f}")
        record = evaluation.as_json() | {"held_out_q": held_out_q}
        self._write("evaluations.jsonl", json.dumps(record))
        scalars = {
            "evaluation/mean": evaluation.mean,
            "evaluation/median": evaluation.median,
            "evaluation/return_max": max(returns),
            "evaluation/return_min": min(returns),
            "evaluation/score_human_normalised": evaluation.human_normalised,
            "evaluation/seconds": seconds,
            "learner/held_out_q": held_out_q,
        }
        # A run killed after an evaluation and before a checkpoint repeats it, with the same scores.
        if step != self._resumed_at or not has_point(self._folder, "evaluation/mean", step):
            self._scalars(scalars, step)
        if stack.ndim == 4 and stack.dtype == np.uint8:
            framed = np.pad(stack[0], ((0, 0), (0, 0), (0, 2)), constant_values=255)
            self._events.image("input/stack", np.hstack(list(framed)), step)  # [H, 4 (W + 2)]
        log.info(
            "step %s: evaluation %d: mean %.1f, median %.1f, min %.1f, max %.1f over %s%s "
            "(%s, epsilon %g)%s, %.0f s",
            f"{step:,}", self.evaluations, evaluation.mean, evaluation.median,
            min(returns), max(returns), counted(len(returns), "episode"),
            f", {evaluation.cut} of them stuck and cut off" * bool(evaluation.cut),
            evaluation.protocol, evaluation.epsilon,
            "" if held_out_q is None else f", mean max Q {held_out_q:.3f}", seconds,
        )  # fmt: skip
        # At a ceiling, as CartPole's 500, the latest of equals has learned the most.
        is_best = self.best is None or evaluation.mean >= self.best
        if is_best:
            self.best = evaluation.mean
        return is_best

    def film(self, pictures: Path, frames_per_second: int, step: int) -> None:
        """Show the pictures of an evaluation's episode, a folder of PNGs, in TensorBoard."""
        self._events.film("evaluation/film", pictures, frames_per_second, step)

    def exclude_time(self, seconds: float) -> None:
        """Exclude a pause (an evaluation, a checkpoint) from the speeds."""
        then, step, updates = self._last_report
        self._last_report = then + seconds, step, updates
        self._progress.exclude_time(seconds)

    def sync(self) -> dict[str, int]:
        """Sync the text files to disk; returns their lengths in bytes.

        Raises:
            OSError: they cannot be written.
        """
        return {name: journal.sync() for name, journal in self._journals.items()}

    def cut(self, lengths: dict[str, int]) -> None:
        """Truncate the text files to ``lengths``, as they were at the resumed checkpoint."""
        for name, journal in self._journals.items():
            journal.cut(lengths.get(name, 0))

    def close(self) -> None:
        """Close the progress bar, and wait for what is still to be written or sent."""
        self._progress.close()
        self._events.close()

    def state_dict(self) -> State:
        """Unfinished episodes and what is shown of the finished ones."""
        return {
            "returns": self._returns,
            "lengths": self._lengths,
            "recent": list(self._recent),
            "since_report": self._since_report,
            "evaluations": self.evaluations,
            "best": self.best,
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what ``state_dict`` returned."""
        self._returns, self._lengths = state["returns"], state["lengths"]
        self._recent.extend(state["recent"])
        self._since_report = state["since_report"]
        self.evaluations, self.best = state["evaluations"], state["best"]

    def _write(self, name: str, line: str) -> None:
        self._journals[name].append(f"{line}\n".encode())

    def _scalars(self, scalars: Mapping[str, float | None], step: int) -> None:
        for tag, value in scalars.items():
            if value is not None:
                self._events.scalar(tag, value, step)
