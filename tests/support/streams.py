"""Playing environments in tests: random actions, streams of time steps, comparisons."""

from collections.abc import Iterable, Iterator

import numpy as np

from dqn.envs import Environment
from dqn.types import I64, TimeStep


def random_actions(environment: Environment, steps: int, seed: int = 0) -> Iterator[I64]:
    generator = np.random.default_rng(seed)
    for _ in range(steps):
        yield generator.integers(0, environment.spec.num_actions, environment.num_envs)


def play(environment: Environment, actions: Iterable[I64]) -> list[TimeStep]:
    stream = []
    for action in actions:
        environment.send(action)
        stream.append(environment.receive())
    return stream


def play_from_reset(environment: Environment, steps: int, seed: int = 1) -> list[TimeStep]:
    """The stream of a new environment with random actions, which is closed at the end."""
    stream = [environment.reset(seed, "x"), *play(environment, random_actions(environment, steps))]
    environment.close()
    return stream


def assert_same_stream(ours: list[TimeStep], theirs: list[TimeStep]) -> None:
    for t, steps in enumerate(zip(ours, theirs, strict=True)):
        for name, mine, other in zip(TimeStep._fields, *steps, strict=True):
            assert mine.dtype == other.dtype, (t, name)
            np.testing.assert_array_equal(mine, other, err_msg=f"step {t}: {name}")
