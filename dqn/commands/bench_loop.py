"""The training loop as it learns: its speed, and where the time of an iteration goes."""

import contextlib
import dataclasses
import functools
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from dqn.commands.bench_table import Figures
from dqn.commands.bench_timing import WINDOWS, Announcer, wait_for
from dqn.config import Config
from dqn.learning.actor import StochasticPolicy
from dqn.learning.cuda_graphs import WARM_UPS
from dqn.learning.factory import Agent, make_agent
from dqn.learning.learner import Learner
from dqn.run.loop import loop
from dqn.run.session import Session

RunFor = Callable[[float], tuple[int, float]]
"""Runs the loop for so many seconds, one iteration at least; returns the steps made and the seconds
taken."""


def at_full_speed(config: Config, learning_starts: int) -> Config:
    """A config that trains forever, explores as it would at its end, never pauses, and mirrors
    nothing."""
    end = config.exploration.epsilon_end
    return dataclasses.replace(
        config,
        total_steps=sys.maxsize,
        wandb=None,
        learning_starts=learning_starts,
        evaluate_period=sys.maxsize,
        checkpoint_minutes=1e9,
        exploration=dataclasses.replace(config.exploration, epsilon_start=end),
    )


@contextlib.contextmanager
def learning_loop(
    config: Config, agent: Agent[Learner], device: torch.device, warm_up: float
) -> Iterator[tuple[Session, RunFor]]:
    """A session of ``agent`` that learns, and a function that runs its loop; it has run for
    ``warm_up`` seconds, or until updates are made, by CUDA graphs if that is how."""
    config = at_full_speed(config, learning_starts=config.num_envs * (config.replay.n_step + 1))
    first, deadline = 0, 0.0

    def is_over() -> bool:
        return session.step > first and time.perf_counter() > deadline

    def run_for(seconds: float) -> tuple[int, float]:
        nonlocal first, deadline
        first, began = session.step, time.perf_counter()
        deadline = began + seconds
        loop(session)
        wait_for(device)
        return session.step - first, time.perf_counter() - began

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dqn-bench-")))
        with contextlib.redirect_stderr(io.StringIO()):  # no terminal: no bar of its own
            session = stack.enter_context(Session(config, agent, folder, device, is_over))
        iterations = config.replay.n_step + 2 + WARM_UPS * (device.type == "cuda")
        while session.step < iterations * config.num_envs:
            run_for(warm_up)
        yield session, run_for


def measure_loop(
    config: Config, device: torch.device, seconds: float, announce: Announcer
) -> Figures:
    """Speed of the whole loop while it learns, and of a checkpoint of the rows since the last."""
    announce("the training loop")
    agent = make_agent(config, device)
    with learning_loop(config, agent, device, warm_up=seconds / 2) as (session, run_for):
        session.save(quiet=True)
        rates = [steps / took for steps, took in (run_for(seconds / 2) for _ in range(WINDOWS))]
        began = time.perf_counter()
        session.save(quiet=True)
        saving = time.perf_counter() - began
    return {"training_steps_per_second": statistics.median(rates), "checkpoint_seconds": saving}


def measure_shares(
    config: Config, device: torch.device, seconds: float, announce: Announcer
) -> Figures:
    """What each part takes of an iteration of the loop, in seconds, and what is left of it."""
    announce("the parts inside the loop")
    stopwatch = Stopwatch(make_agent(config, device), device)
    with learning_loop(config, stopwatch.agent, device, seconds / 4) as (_, run_for):
        stopwatch.reset()
        steps, took = run_for(seconds)
    iterations = steps / config.num_envs
    parts = {part: total / iterations for part, total in stopwatch.seconds.items()}
    parts["the rest"] = took / iterations - sum(parts.values())
    return {"in_the_loop": parts}


class Stopwatch:
    """Measures an agent's parts as the loop calls them, by wrapping their methods.

    On a GPU every part is waited for, so that its time is its own; what lies inside a CUDA graph is
    measured by events that the graph records.
    """

    def __init__(self, agent: Agent[Learner], device: torch.device) -> None:
        self._device = device
        self._learn = agent.learn
        self._captured: list[tuple[str, Any, Any]] = []
        """Part, begin and end of what the call in progress captures."""
        self._graphs: dict[int, list[tuple[str, Any, Any]]] = {}
        """The same of each graph, by its number of updates."""
        methods: tuple[tuple[str, object, tuple[str, ...]], ...] = (
            ("emulators", agent.environment, ("send", "receive")),
            ("acting", agent.actor, ("act",)),
            ("replay write", agent.replay, ("add_timestep", "add_action")),
            ("sampling", agent.replay, ("sample",)),
            ("learning", agent.learner, ("update",)),
            ("priorities", agent.replay, ("update_priorities",)),
            ("target sync", agent.learner, ("sync_target",)),
        )
        self.seconds = {part: 0.0 for part, _, _ in methods}
        """Total of each part since ``reset``."""
        for part, owner, names in methods:
            for name in names:
                setattr(owner, name, self._timed(part, getattr(owner, name)))
        # one part after the other, as ``begin`` does where no GPU is given work in advance
        actor: Any = agent.actor
        actor.begin = functools.partial(StochasticPolicy.begin, actor)
        self.agent = dataclasses.replace(agent, learn=self._timed_learn)
        """The agent whose parts are measured."""

    def reset(self) -> None:
        """Start again from zero."""
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    def _timed(self, part: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            if self._device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                began, ended = (torch.cuda.Event(enable_timing=True, external=True) for _ in "ab")
                began.record()
                result = do(*arguments)
                ended.record()
                self._captured.append((part, began, ended))
                return result
            start = time.perf_counter()
            result = do(*arguments)
            wait_for(self._device)
            self.seconds[part] += time.perf_counter() - start
            return result

        return timed

    def _timed_learn(self, updates: int) -> None:
        self._captured = []
        self._learn(updates)
        wait_for(self._device)
        if self._captured:
            self._graphs[updates] = self._captured
        for part, began, ended in self._graphs.get(updates, []):
            self.seconds[part] += began.elapsed_time(ended) / 1000
