"""Each part of the training loop by itself, at the precision and on the path that the loop uses."""

import itertools
import math
from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from dqn.commands.bench_table import Figures
from dqn.commands.bench_timing import Announcer, rate, waiting
from dqn.config import Config
from dqn.envs.atari import FRAME_SKIP
from dqn.learning.cuda_graphs import CudaGraphed
from dqn.learning.factory import Agent, batches_together, make_agent
from dqn.learning.learner import Learner
from dqn.seeds import numpy_generator

ROWS = 10_000  # of random play in the replay memory when it is measured, if it can hold them
UNMARKED_VIEW = "aten._unsafe_view.default"  # is a view, though its schema does not say so


class OperationCount(TorchDispatchMode):
    """Counts the operations that torch executes: aten's below autograd, views aside."""

    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.total += not func.is_view and str(func) != UNMARKED_VIEW
        return func(*args, **(kwargs or {}))


def measure_parts(
    config: Config, device: torch.device, seconds: float, announce: Announcer
) -> Figures:
    """Speed of each part alone, and of a plain matrix product. ``alone`` is what each takes of an
    iteration of the loop, in seconds; a part inside a CUDA graph has no such time."""
    n, batch_size, period = config.num_envs, config.learner.batch_size, config.learner.update_period
    agent = make_agent(config, device)
    replay, learner = agent.replay, agent.learner

    def measured(part: str, do: Callable[[], object], seconds: float = seconds) -> float:
        announce(part)
        return rate(waiting(do, device), seconds)

    with closing(agent.environment):
        spec = agent.environment.spec
        agent.environment.reset(config.seed, "bench")
        emulator = measured("the emulators", random_player(agent, config.seed, add=False))
        fill(agent, ROWS, config.seed)
        timestep = agent.environment.timestep
        replay.add_timestep(timestep)
        acting = measured("acting", lambda: agent.actor.act(timestep.stack, 0.0))
        action = agent.actor.act(timestep.stack, 0.0)
        replay.add_action(action)
        few = seconds / 4  # these are short: it is enough
        writes = measured("writing to the replay memory", lambda: replay.add(timestep, action), few)
        syncs = measured("target syncs", learner.sync_target, few)
        alone = {
            "emulators": 1 / emulator,
            "acting": 1 / acting,
            "replay write": 1 / writes,
            "target sync": n / config.learner.target_period / syncs,
        }
        figures: Figures = {}
        due = max(1, n // period)
        steps = min(due, batches_together(config))  # that the loop makes at once
        batches = itertools.cycle([replay.sample(steps * batch_size) for _ in range(8)])
        if isinstance(agent.learn, CudaGraphed):  # the loop's graph; it samples too
            updates = due * measured("learning", lambda: agent.learn(due))
        else:
            draws = steps * measured("sampling", lambda: replay.sample(steps * batch_size))
            updates = steps * measured("learning", lambda: learner.update(next(batches), steps))
            batch = next(batches)
            index, priority = batch.index, learner.update(batch, steps)
            priorities = steps * measured(
                "priorities", lambda: replay.update_priorities(index, priority), few
            )
            figures = {"sampled_batches_per_second": draws}
            rates = {"sampling": draws, "learning": updates, "priorities": priorities}
            alone |= {part: n / period / rate for part, rate in rates.items()}
        with FlopCounterMode(display=False) as updating:
            learner.update(next(batches), steps)
        with FlopCounterMode(display=False) as choosing, torch.no_grad():
            learner.online(torch.from_numpy(timestep.stack).to(device))
        with OperationCount() as operations:  # type: ignore[no-untyped-call]
            learn = agent.learn
            (learn.work if isinstance(learn, CudaGraphed) else learn)(due)
    update_flop = updating.get_total_flops() / steps
    step_flop = update_flop / period + choosing.get_total_flops() / n
    dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    left = torch.ones(2048, 2048, dtype=dtype, device=device)
    products = 2 * 2048**3 * measured("a matrix product", lambda: left @ left)
    return figures | {
        "game": spec.game,
        "frames_per_step": FRAME_SKIP if spec.atari else 1,
        "emulator_steps_per_second": n * emulator,
        "acting_steps_per_second": n * acting,
        "replay_write_steps_per_second": n * writes,
        "learner_updates_per_second": updates,
        # of a whole turn; on the CPU NumPy does most of the sampling, which is not counted
        "operations_per_update": operations.total / due,
        "learner_gflop_per_update": update_flop / 1e9,
        "machine_gflop_per_second": products / 1e9,
        "learner_share_of_machine": update_flop * updates / products,
        "arithmetic_limit_steps_per_second": products / step_flop,
        "bytes_per_transition": bytes_per_transition(agent),
        "alone": alone,
    }


def bytes_per_transition(agent: Agent[Learner]) -> int:
    """Of uncompressed rows."""
    layout = agent.replay.layout.values()
    row: int = sum(dtype.itemsize * math.prod(shape) for dtype, shape in layout)
    return row // agent.replay.num_envs


def random_player(agent: Agent[Learner], seed: int, add: bool) -> Callable[[], object]:
    """A function that steps every environment at random; ``add``: into the replay memory too."""
    environment = agent.environment
    generator = numpy_generator(seed, "bench")

    def step() -> None:
        action = generator.integers(environment.spec.num_actions, size=environment.num_envs)
        if add:
            agent.replay.add(environment.timestep, action)
        environment.send(action)
        environment.receive()

    return step


def fill(agent: Agent[Learner], rows: int, seed: int) -> None:
    """Play at random until the replay memory has ``rows`` rows, or as many as it holds."""
    rows = min(rows, agent.replay.length * agent.replay.num_envs)
    step = random_player(agent, seed, add=True)
    while len(agent.replay) < rows - rows % agent.environment.num_envs:
        step()
