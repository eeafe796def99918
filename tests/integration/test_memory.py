"""Memory of a process does not grow while it plays."""

import os
import subprocess
import sys

import pytest

PLAY = """
import numpy as np, psutil, torch
from dqn import envs
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.learning.factory import make_model

config = parse(TrainOptions, ["--game=Breakout", "--config=data_efficient_rainbow"]).settings
process = psutil.Process()
environment = envs.make(config, 100)
environment.reset(1, "evaluation")
model = make_model(config, environment.spec, torch.device("cpu"))
for step in range(300):
    if step == 100:
        before = process.memory_info().rss
    action = np.zeros(100, np.int64)
    with torch.inference_mode():
        states = torch.from_numpy(environment.timestep.stack[:83])
        action[:83] = model.q_values(states).argmax(1).numpy()
    environment.send(action)
    environment.receive()
print(process.memory_info().rss - before)
"""


@pytest.mark.slow
def test_a_long_evaluation_does_not_fill_the_heap_with_holes():
    """100 games, most of them still played. In a training the allocator serves large arrays from
    the heap too, since it has seen many; here the environment variables make it do so."""
    allocator = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31)}
    grown = subprocess.run(
        [sys.executable, "-c", PLAY], env=os.environ | allocator | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert int(grown) < 40e6, f"{grown} bytes in 200 steps"
