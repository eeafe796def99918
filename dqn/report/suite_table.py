"""The live table of a suite's runs: their states, and how far each is by the files in its folder.

In a terminal the table is drawn again in place; elsewhere each change is a line.
"""

import json
import logging
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dqn.config.words import printable
from dqn.device import in_terminal

log = logging.getLogger("dqn")

TAIL_BYTES = 65_536
HEADINGS = ("run", "state", "step", "steps/s", "evaluation", "node", "attempts")


def last_record(file: Path) -> dict[str, Any]:
    """The last whole line of a .jsonl file that another process appends to; empty if there is
    none."""
    try:
        with open(file, "rb") as opened:
            opened.seek(max(0, file.stat().st_size - TAIL_BYTES))
            lines = opened.read().rpartition(b"\n")[0].splitlines()
        record = json.loads(lines[-1])
    except (OSError, ValueError, IndexError):
        return {}
    return record if isinstance(record, dict) else {}


@dataclass
class Progress:
    """Step, speed and last evaluation of a run, read from its folder."""

    folder: Path
    step: int = 0
    evaluation: float | None = None
    speed: float | None = None
    """Steps per second between the last two reports."""
    _reported: float = 0.0  # when training.jsonl was last written
    _evaluated: float = 0.0
    _since: tuple[float, int] | None = None  # time and step of this attempt's last report

    def restart(self) -> None:
        """Forget the speed: a new attempt begins."""
        self._since = self.speed = None

    def read(self) -> bool:
        """Read what is new; returns whether there is a new evaluation."""
        reported = _written(self.folder / "training.jsonl")
        if reported != self._reported:
            step = int(last_record(self.folder / "training.jsonl").get("step", 0))
            time, reached = self._since or (reported, step)
            known = reported > time and step > reached  # not cut back to a checkpoint
            self.speed = (step - reached) / (reported - time) if known else None
            self.step, self._reported, self._since = step, reported, (reported, step)
        evaluated = _written(self.folder / "evaluations.jsonl")
        if evaluated == self._evaluated:
            return False
        record = last_record(self.folder / "evaluations.jsonl")
        self._evaluated, before = evaluated, self.evaluation
        self.evaluation = record.get("mean")
        self.step = max(self.step, int(record.get("step", 0)))
        return self.evaluation is not None and before != self.evaluation


def _written(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


class SuiteTable:
    """The table of all runs."""

    def __init__(self, names: list[str], folders: list[Path], steps: list[int]) -> None:
        """``steps`` are the lengths of the runs."""
        self._progress = [Progress(folder) for folder in folders]
        for progress in self._progress:
            progress.read()  # of an earlier command
        self._names, self._steps = names, steps
        self._cells = [("waiting", "", 0)] * len(names)  # state, node, attempts
        self._drawn = 0  # lines

    def set(self, index: int, state: str, node: str, attempts: int, reason: str) -> None:
        """Set a run's state, and say what changed."""
        self._cells[index] = (state, node, attempts)
        if state == "running":
            self._progress[index].restart()
        words = [f"{self._names[index]}: {state}"]
        words += [f"on {node}"] if state == "running" else []
        words += [f"attempt {attempts}"] if attempts > 1 and state == "running" else []
        words += [printable(reason)] if reason and state in ("waiting", "failed") else []
        self._say(", ".join(words), quiet=not reason)

    def refresh(self) -> None:
        """Read what is new, and draw."""
        for i, progress in enumerate(self._progress):
            if progress.read() and self._cells[i][0] != "waiting":
                step, mean = f"{progress.step:,}", progress.evaluation
                self._say(f"{self._names[i]}: evaluation at step {step}: {mean:.1f}", quiet=True)
        if in_terminal():
            self._erase()
            lines = self.lines(*_terminal_size())
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            sys.stderr.flush()
            self._drawn = len(lines)

    def lines(self, columns: int, rows: int) -> list[str]:
        """The table, not larger than the terminal: runs that are under way come first if it is too
        long, and the last line counts the states."""
        order = list(range(len(self._names)))
        if len(order) + 3 > rows:
            urgency = {"running": 0, "failed": 1, "waiting": 2, "stopped": 3, "finished": 4}
            order = sorted(order, key=lambda i: urgency[self._cells[i][0]])[: max(1, rows - 3)]
        table = [HEADINGS, *(self._row(i) for i in order)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        counts = Counter(state for state, _, _ in self._cells)
        lines = ["  ".join(map(_pad, row, widths, range(len(row)))).rstrip() for row in table]
        lines.append(", ".join(f"{count} {state}" for state, count in counts.items()))
        return [line[: columns - 1] for line in lines]

    def _row(self, i: int) -> tuple[str, ...]:
        (state, node, attempts), progress = self._cells[i], self._progress[i]
        moving = state == "running" and progress.speed is not None
        return (
            self._names[i],
            state,
            f"{progress.step:,}/{self._steps[i]:,}",
            f"{progress.speed:,.0f}" if moving else "-",
            "-" if progress.evaluation is None else f"{progress.evaluation:.1f}",
            node or "-",
            str(attempts),
        )

    def _say(self, text: str, quiet: bool) -> None:
        """Log a line above the table; with ``quiet`` only where no terminal shows the table."""
        if quiet and in_terminal():
            return
        self._erase()
        log.info(text)

    def _erase(self) -> None:
        if self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0


def _pad(text: str, width: int, column: int) -> str:
    return text.ljust(width) if HEADINGS[column] in ("run", "state", "node") else text.rjust(width)


def _terminal_size() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24
