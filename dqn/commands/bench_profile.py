"""``bench --profile``: the operations that an update spends its time in."""

import os
import time
from contextlib import closing
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from dqn.commands.bench_parts import ROWS, fill
from dqn.commands.bench_table import Figures
from dqn.commands.bench_timing import Announcer, wait_for
from dqn.config import Config
from dqn.learning.cuda_graphs import WARM_UPS
from dqn.learning.factory import make_agent

TOP = 10
MAX_UPDATES = 100  # the profiler keeps every call in memory


def measure_profile(
    config: Config, device: torch.device, seconds: float, announce: Announcer
) -> Figures:
    """The TOP operations of an update with its sampling and priorities: on a GPU kernels, whether
    from a CUDA graph or not. Their times are their own, without the operations that they call."""
    announce("single operations")
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else it logs its own begin and end
    due = max(1, config.num_envs // config.learner.update_period)
    agent = make_agent(config, device)
    with closing(agent.environment):
        agent.environment.reset(config.seed, "bench")
        fill(agent, ROWS, config.seed)
        for _ in range(WARM_UPS + 1):  # a CUDA graph is then captured
            agent.learn(due)
        wait_for(device)
        on_gpu = device.type == "cuda"
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
        updates, began = 0, time.perf_counter()
        with profile(activities=activities) as profiled:
            while not updates or (updates < MAX_UPDATES and time.perf_counter() - began < seconds):
                agent.learn(due)
                updates += due
            wait_for(device)

    def own_seconds(event: Any) -> float:
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        return float(microseconds) / 1e6

    events = [e for e in profiled.key_averages() if e.device_type.name == device.type.upper()]
    events.sort(key=own_seconds, reverse=True)
    total = sum(map(own_seconds, events)) or 1.0  # 0: CUPTI lets nobody see a GPU's kernels
    return {
        "profile": [
            {
                "operation": event.key,
                "seconds_per_update": own_seconds(event) / updates,
                "share": own_seconds(event) / total,
                "calls_per_update": event.count / updates,
            }
            for event in events[:TOP]
        ]
    }
