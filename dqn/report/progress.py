"""Training progress: a bar in a terminal, a log line a minute elsewhere."""

import logging
import time
from collections import deque
from collections.abc import Collection

import numpy as np
from tqdm import tqdm

from dqn.device import in_terminal

log = logging.getLogger("dqn")

SHOW_SECONDS = 1  # between two refreshes of the bar
LINE_SECONDS = 60  # between two log lines where no terminal shows a bar
PACE_REFRESHES = 15  # that the speed is averaged over: steady, yet quick to notice learning began


class ProgressBar:
    """Steps, speed, time left, epsilon, recent returns and loss of a run."""

    def __init__(self, step: int, total_steps: int, frames_per_step: int) -> None:
        self._total_steps = total_steps
        self._frames_per_step = frames_per_step
        self._bar = tqdm(
            total=total_steps, initial=step, unit_scale=True, dynamic_ncols=True,
            disable=not in_terminal(),
            bar_format="{percentage:3.0f}% {bar:12} {n_fmt}/{total_fmt}{postfix}",
        )  # fmt: skip
        now = time.monotonic()
        self._pace = deque([(now, step)], maxlen=PACE_REFRESHES)
        self._last_line = now
        self._status: tuple[float, Collection[float], float | None] | None = None

    def update(
        self, step: int, epsilon: float, returns: Collection[float], loss: float | None
    ) -> None:
        """Set what is shown, and refresh the bar when due. ``loss`` is None before learning
        begins."""
        self._bar.n, self._status = step, (epsilon, returns, loss)
        if time.monotonic() - self._pace[-1][0] >= SHOW_SECONDS:
            self._show()

    def exclude_time(self, seconds: float) -> None:
        """Exclude a pause from the speed."""
        self._pace = deque([(at + seconds, step) for at, step in self._pace], self._pace.maxlen)

    def close(self) -> None:
        """Refresh the bar one last time and leave it on the screen."""
        self._show()
        self._bar.close()

    def _show(self) -> None:
        if self._status is None:
            return
        epsilon, returns, loss = self._status
        now, step = time.monotonic(), int(self._bar.n)
        self._pace.append((now, step))
        then, step_then = self._pace[0]
        rate = (step - step_then) / max(now - then, 1e-9)
        parts = [f"{rate:,.0f} steps/s"]
        if loss is not None:  # until learning begins, the speed says little about the rest
            parts.append(f"{_duration((self._total_steps - step) / max(rate, 1e-9))} left")
        parts.append(f"epsilon {epsilon:.3f}")
        if returns:
            parts.append(f"return {np.mean(list(returns)):.1f} (last {len(returns)})")
        if loss is not None:
            parts.append(f"loss {loss:.4f}")
        parts.append(f"{rate * self._frames_per_step:,.0f} frames/s")
        status = ", ".join(parts)
        self._bar.set_postfix_str(status, refresh=False)
        try:
            self._bar.refresh()
        except OSError:  # the terminal was closed
            self._bar.disable = True
        if now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            line = f"step {step:,}/{self._total_steps:,}: {status}"
            log.info(line, extra={"only_without_bar": True})


def _duration(seconds: float) -> str:
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours} h {minutes:02d} min"
