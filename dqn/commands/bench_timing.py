"""How ``bench`` measures: medians of windows, each part announced as it begins."""

import contextlib
import gc
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Self

import torch
from tqdm import tqdm

from dqn.device import in_terminal
from dqn.run.process import log_to_terminal

log = logging.getLogger("dqn.bench")

WINDOWS = 5


class Announcer:
    """Says what is being measured: one line that is replaced in a terminal, a log line each
    elsewhere. Used as a context manager."""

    def __init__(self) -> None:
        log_to_terminal()
        logging.getLogger("dqn").setLevel(logging.WARNING)  # what a run says of itself is left out
        log.setLevel(logging.INFO)
        self._line = tqdm(bar_format="{desc}", leave=False, disable=not in_terminal())

    def __call__(self, part: str) -> None:
        """``part`` begins."""
        with contextlib.suppress(OSError):  # the terminal was closed
            self._line.set_description_str(f"measuring {part}")
        log.info("measuring %s", part, extra={"only_without_bar": True})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._line.close()


def rate(do: Callable[[], object], seconds: float) -> float:
    """Calls of ``do`` per second: the median of WINDOWS windows, after one for warm-up."""
    return rates([do], seconds)[0]


def rates(works: Sequence[Callable[[], object]], seconds: float) -> list[float]:
    """The same of several works in turns, so that other load affects all of them alike; ``seconds``
    each."""
    counted: list[list[float]] = [[] for _ in works]
    for _ in range(WINDOWS + 1):
        for do, found in zip(works, counted, strict=True):
            calls, began = 0, time.perf_counter()
            while calls == 0 or time.perf_counter() - began < seconds / (WINDOWS + 1):
                do()
                calls += 1
            found.append(calls / (time.perf_counter() - began))
    return [statistics.median(found[1:]) for found in counted]


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def waiting(do: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """``do``, then wait until a GPU has finished it."""

    def do_and_wait() -> None:
        do()
        wait_for(device)

    return do_and_wait


def release_memory(device: torch.device) -> None:
    """Release what the last part left: a replay memory is a reference cycle, and two of them might
    not fit."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
