"""CUDA graphs for what the training loop repeats: acting, writing time steps, and updates.

An update is about a hundred kernels of a few microseconds each; launching them from Python takes
longer than running them. A captured graph launches the same kernels on the same memory in one call,
so results do not change. Captured code must do everything on the device: no waiting, no
data-dependent control flow, nothing counted in Python.
"""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from dqn.learning.actor import PendingActions
from dqn.learning.interfaces import QValues
from dqn.replay.buffer import Replay
from dqn.types import I64, Array

Work = Callable[[int], None]
"""Does something a number of times; reads and writes tensors whose addresses never change."""

WARM_UPS = 3
"""Eager calls before each capture: libraries initialize themselves, and choose algorithms."""


class CudaGraphed:
    """Runs a piece of work, by one CUDA graph for each number of times. ``generators`` are those
    that the work draws from."""

    def __init__(self, work: Work, generators: Sequence[torch.Generator]) -> None:
        self.work = work
        self._generators = generators
        self._calls: Counter[int] = Counter()
        self._launch: dict[int, Callable[[], None]] = {}
        self._thread = ThreadPoolExecutor(1)  # started when it is first used

    def __call__(self, times: int) -> None:
        """Run the work ``times`` times; returns without waiting for the device."""
        if not times:
            return
        self._calls[times] += 1
        if self._calls[times] <= WARM_UPS:
            with fastest_convolutions():
                on_side_stream(lambda: self.work(times))
            return
        if times not in self._launch:
            with fastest_convolutions():
                self._launch[times] = capture(lambda: self.work(times), self._generators)
        self._launch[times]()

    def begin(self, times: int) -> Callable[[], None]:
        """Launch in a thread, because it takes 2 us for each of thousands of kernels; the returned
        function waits until it is launched, not for the device. What is queued meanwhile may come
        before or after. Warm-ups and captures are not left to the thread."""
        if times not in self._launch:
            self(times)
            return lambda: None
        return self._thread.submit(self._launch[times]).result


class CudaGraphedGreedy:
    """``Greedy`` as a CUDA graph. It reads the stacks from the replay memory on the device, where
    the pending time step has been added, so that each frame is uploaded once."""

    def __init__(
        self, q_values: QValues, replay: Replay, generators: Sequence[torch.Generator]
    ) -> None:
        self._q_values = q_values
        self._replay = replay
        n, device = replay.num_envs, replay.device
        self._action = torch.zeros(n, dtype=torch.int64, device=device)
        self._on_host = torch.zeros(n, dtype=torch.int64, pin_memory=device.type == "cuda")
        self._copied = torch.cuda.Event() if device.type == "cuda" else None
        self._choose = CudaGraphed(lambda _: self._work(), generators)

    def __call__(self, stack: Array) -> PendingActions:
        """Begin to choose for the replay's pending time step, whose ``stack`` this must be."""
        pending = self._replay.pending
        assert pending is not None and stack is pending.stack, (
            "not the replay memory's pending time step"
        )
        self._choose(1)
        self._on_host.copy_(self._action, non_blocking=True)
        if self._copied:
            self._copied.record()
        return self._wait

    def _wait(self) -> I64:
        """Waits for the actions only, not for updates queued after them."""
        if self._copied:
            self._copied.synchronize()
        return self._on_host.numpy().copy()

    @torch.no_grad()
    def _work(self) -> None:
        self._action.copy_(self._q_values(self._replay.current_stacks()).argmax(1))


@contextlib.contextmanager
def fastest_convolutions() -> Iterator[None]:
    """Let cuDNN time its algorithms for each shape it has not met and keep the fastest, unless
    operations must be deterministic: it may be another one in the next process."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def on_side_stream(work: Callable[[], None]) -> None:
    """Run ``work`` on a side stream, in order with the current one, as warm-ups must be."""
    side, current = _side_stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        work()
    current.wait_stream(side)


@functools.cache
def _side_stream() -> torch.cuda.Stream:
    """One for all work on the GPU, because libraries keep a workspace for each stream."""
    return torch.cuda.Stream()


def capture(work: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], None]:
    """Record the kernels of ``work`` without running them; returns the function that launches them.
    Every launch advances the generators as running ``work`` would."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        work()
    return graph.replay
