"""Progress of a run or an evaluation: a bar in a terminal, a log line a minute elsewhere."""

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Collection
from typing import Self

import numpy as np
import psutil
import torch
from tqdm import tqdm

from dqn.config.words import counted
from dqn.device import in_terminal

log = logging.getLogger("dqn")

SHOW_SECONDS = 1  # between two refreshes of a bar
LINE_SECONDS = 60  # between two log lines where no terminal shows a bar
PACE_REFRESHES = 15  # that the speed is averaged over
RATE_SECONDS = 5  # after learning began, until its speed is known

SMALL_PRESETS = "configs/quick.yaml and configs/laptop.yaml are made for CPUs"
HINT = f"Full-size presets take days on a CPU; {SMALL_PRESETS}."
BUSY = (
    "Other work uses these cores, and the run's threads wait for each other; with one each it is "
    "faster (--threads 1 --env.threads 1 --env.niceness 0; a run that began with more: --fresh)."
)
BUSY_SHARE = 0.25  # of the cores, that other processes use


class Bar:
    """The bottom line of the terminal, never wider than it: parts that do not fit are left out."""

    def __init__(self, head: str, total: int, initial: int = 0, leave: bool = True) -> None:
        """``head`` is tqdm's bar format of what comes before the parts; it may hold ``{drawn}``,
        the bar itself, which narrow terminals have no room for."""
        self._head = head
        self._tqdm = tqdm(
            total=total, initial=initial, unit_scale=True, dynamic_ncols=True, leave=leave,
            disable=not in_terminal(), bar_format=head.replace("{drawn}", ""),
        )  # fmt: skip
        self._last_line = time.monotonic()
        self._columns = 0  # of the terminal when it was last drawn

    def show(self, done: int, parts: list[str], line: str) -> None:
        """Refresh the bar, or log ``line`` and the parts if a minute has passed without one."""
        self._tqdm.n = done
        if not self._tqdm.disable:
            try:
                columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
                self._tqdm.set_postfix_str("", refresh=False)
                width = min(12, (columns - 60) // 4)
                drawn = f" {{bar:{width}}}" if width > 0 else ""
                self._tqdm.bar_format = self._head.replace("{drawn}", drawn) + "{postfix}"
                if columns < self._columns:  # the old line was wrapped: remove its upper rows
                    sys.stderr.write("\x1b[2K\x1b[A" * ((self._columns - 1) // columns) + "\x1b[2K")
                    self._tqdm.sp = tqdm.status_printer(sys.stderr)  # forgets the length to blank
                self._columns = columns
                room, shown = columns - 1 - len(str(self._tqdm)), 0
                while shown < len(parts) and room >= len(parts[shown]) + 2:
                    room -= len(parts[shown]) + 2
                    shown += 1
                self._tqdm.set_postfix_str(", ".join(parts[:shown]), refresh=False)
                self._tqdm.refresh()
            except OSError:  # the terminal was closed
                self._tqdm.disable = True
        now = time.monotonic()
        if now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            log.info(f"{line}{', '.join(parts)}", extra={"only_without_bar": True})

    def close(self) -> None:
        """Leave the bar on the screen, or remove it."""
        self._tqdm.close()


class ProgressBar:
    """Recent return, speed, time left, loss and epsilon of a run."""

    def __init__(self, step: int, total_steps: int, learning_starts: int, hint: str = "") -> None:
        """``hint`` is logged if, when learning begins, more than a day is left."""
        self._total_steps, self._learning_starts, self._hint = total_steps, learning_starts, hint
        self._bar = Bar("{percentage:3.0f}%{drawn} {n_fmt}/{total_fmt}", total_steps, step)
        self._others = 0.0  # CPU seconds of other processes when learning began
        self._pace = deque([(time.monotonic(), step)], maxlen=PACE_REFRESHES)
        self._learning = step >= learning_starts
        self._rate_before: float | None = None  # until the speed of learning is known
        self._step = step
        self._status: tuple[float, Collection[float], float | None] | None = None

    def update(
        self, step: int, epsilon: float, returns: Collection[float], loss: float | None
    ) -> None:
        """Set what is shown, and refresh the bar when due. ``loss`` is None before the first
        report."""
        self._step, self._status = step, (epsilon, returns, loss)
        now = time.monotonic()
        if not self._learning and step >= self._learning_starts:
            self._learning, self._rate_before = True, self._rate(now)
            self._others = cpu_seconds_of_others()
            self._pace.clear()
            self._pace.append((now, step))
        if now - self._pace[-1][0] >= SHOW_SECONDS:
            self._show()

    def exclude_time(self, seconds: float) -> None:
        """Exclude a pause from the speed."""
        self._pace = deque([(at + seconds, step) for at, step in self._pace], self._pace.maxlen)

    def close(self) -> None:
        """Refresh the bar one last time and leave it on the screen."""
        self._show()
        self._bar.close()

    def _rate(self, now: float) -> float:
        """Steps per second since the oldest refresh that is remembered."""
        then, step = self._pace[0]
        return (self._step - step) / max(now - then, 1e-9)

    def _show(self) -> None:
        if self._status is None:
            return
        epsilon, returns, loss = self._status
        now = time.monotonic()
        rate = self._rate(now)
        left = (self._total_steps - self._step) / max(rate, 1e-9)
        if self._rate_before is not None and now - self._pace[0][0] >= RATE_SECONDS:
            self._announce(rate, self._rate_before, left, now - self._pace[0][0])
            self._rate_before = None
        self._pace.append((now, self._step))
        parts = [f"return {np.mean(list(returns)):.1f}"] if returns else []
        parts.append(f"{rate:,.0f} steps/s")
        if self._learning and self._rate_before is None:  # random play's speed says little of it
            parts.append(f"{duration(left)} left")
        if loss is not None:
            parts.append(f"loss {loss:.4f}")
        parts.append(f"epsilon {epsilon:.3f}")
        self._bar.show(self._step, parts, f"step {self._step:,}/{self._total_steps:,}: ")

    def _announce(self, rate: float, before: float, left: float, seconds: float) -> None:
        """Say what learning costs."""
        began = self._pace[0][1]
        why = ", because it now learns while it plays" if rate < before else ""
        log.info(
            "Learning began at step %s: %s steps/s, %s before%s; %s left.",
            f"{began:,}", f"{rate:,.0f}", f"{before:,.0f}", why, duration(left),
        )  # fmt: skip
        if self._hint and left > 86_400:
            log.info(self._hint)
        others = (cpu_seconds_of_others() - self._others) / seconds / (psutil.cpu_count() or 1)
        if self._hint and others > BUSY_SHARE and torch.get_num_threads() > 1:
            log.info(BUSY)


class GamesBar:
    """The progress of an evaluation's games, or of one that is recorded. Used as a context manager;
    a call sets what is shown (see ``dqn.evaluation.evaluate.Progress``)."""

    def __init__(self, what: str, games: int) -> None:
        self._what, self._games = what, games
        self._bar = Bar(f"{what}{{drawn}} {{n}} of {counted(games, 'game')}", games, leave=False)
        self._shown = time.monotonic()

    def __call__(self, done: int, steps: int, best: float | None) -> None:
        now = time.monotonic()
        if now - self._shown < SHOW_SECONDS:
            return
        self._shown = now
        parts = [counted(steps, "step")]
        if best is not None:
            parts.append(f"{'best ' * (self._games > 1)}return {best:g}")
        self._bar.show(done, parts, f"{self._what}: {done} of {counted(self._games, 'game')}, ")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def duration(seconds: float) -> str:
    """A time in the units a person would use: ``2 d 4 h``, ``3 h 20 min``, ``4 min``, ``40 s``."""
    minutes = round(seconds / 60)
    hours = round(seconds / 3600)
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    if minutes < 60:
        return f"{minutes} min"
    if hours < 24:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def cpu_seconds_of_others() -> float:
    """CPU seconds that all processes but this one have used since the machine started."""
    machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return float(machine.user + machine.nice + machine.system - own.user - own.system)
