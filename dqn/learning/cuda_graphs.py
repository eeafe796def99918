"""What the loop repeats, launched at once: on a GPU acting, remembering and updates as CUDA graphs.

An update is some hundred kernels of a few microseconds, and asking for each from Python takes
longer than running it. A captured graph is the same kernels in the same order on the same memory,
asked for once; so the numbers stay the same too. What is captured must therefore do all it does on
the device: no waiting, no choice that hangs on a number, nothing counted in Python.
"""

from collections.abc import Callable, Sequence

import torch

from dqn.replay.buffer import Replay
from dqn.types import I64, Array, TimeStep

Work = Callable[[], None]
"""What is repeated: it reads and writes tensors that stay where they are."""

Generators = Sequence[torch.Generator]
"""Those on the device that the work draws from."""

WARM_UPS = 3
"""Calls made as they are before one is captured, as libraries set themselves up at first use."""


class Eager:
    """A piece of work, any number of times, asked for one after the other."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __call__(self, times: int) -> None:
        """Do it so many times."""
        for _ in range(times):
            self._work()


class CudaGraphed:
    """The same, all times at once: a CUDA graph for each number of times that is asked for."""

    def __init__(self, work: Work, generators: Generators) -> None:
        self._plain = Eager(work)
        self._generators = generators
        self._calls = 0
        self._launch: dict[int, Work] = {}

    def __call__(self, times: int) -> None:
        """Do it so many times; the device may still be at it afterwards."""
        if not times:
            return
        self._calls += 1
        if self._calls <= WARM_UPS:
            on_side_stream(lambda: self._plain(times))
            return
        if times not in self._launch:
            self._launch[times] = capture(lambda: self._plain(times), self._generators)
        self._launch[times]()


class CudaGraphedGreedy:
    """The greedy actions of N environments, by a captured graph, on the stacks that the replay
    memory holds: so each frame is sent to the device once."""

    def __init__(
        self,
        q_values: Callable[[torch.Tensor], torch.Tensor],
        replay: Replay,
        present: Callable[[], TimeStep],
        generators: Generators,
    ) -> None:
        """``present`` hands over what the environments show at this moment."""
        self._q_values = q_values
        self._replay = replay
        self._present = present
        self._action = torch.zeros(replay.num_envs, dtype=torch.int64, device=replay.device)
        self._leaving = torch.zeros(
            replay.num_envs, dtype=torch.int64, pin_memory=self._action.is_cuda
        )
        self._choose = CudaGraphed(self._work, generators)

    def __call__(self, stack: Array) -> I64:
        """Actions ``[N]`` on the present ``stack [N, S, *frame]``: here the loop waits for the
        device."""
        timestep = self._present()
        assert stack is timestep.stack, "stacks of another moment"
        self._replay.show(timestep)
        self._choose(1)
        self._leaving.copy_(self._action, non_blocking=True)
        wait_for(self._action.device)
        return self._leaving.numpy().copy()

    @torch.no_grad()
    def _work(self) -> None:
        self._action.copy_(self._q_values(self._replay.current_stacks()).argmax(1))


def on_side_stream(work: Work) -> None:
    """Do it on a stream of its own, as all before a capture has to be, in turn with the others."""
    stream, present = torch.cuda.Stream(), torch.cuda.current_stream()
    stream.wait_stream(present)
    with torch.cuda.stream(stream):
        work()
    present.wait_stream(stream)


def capture(work: Work, generators: Generators) -> Work:
    """What launches the kernels of ``work``, which is recorded here and not done. The generators
    move on with each launch as they would have without."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
