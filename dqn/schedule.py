"""Time and chance: what is due when, and who draws which random numbers.

Cadences and schedules are arithmetic on the step counter. Nothing "advances", so nothing needs
saving, and no schedule reads ``total_steps``, so an extended run equals a long one.

Every random draw has an owner with a generator of its own, derived from the run's one seed and the
owner's name. Owners never share a stream, and runs with neighbouring seeds have nothing in common.
"""

import zlib

import numpy as np
import torch

from dqn.types import F64, I64


def due(before: int, after: int, period: int) -> int:
    """How many multiples of ``period`` lie in ``(before, after]``.

    Stays right when the counter jumps by N environments at a time: ``due(6, 14, 4) == 2``.
    """
    assert 0 <= before <= after and period >= 1, (before, after, period)
    return after // period - before // period


def linear(step: int, start: float, end: float, begin: int, duration: int) -> float:
    """``start`` until ``begin``, then straight to ``end`` over ``duration`` steps, then ``end``."""
    if duration == 0:
        return start if step < begin else end
    progress = min(max((step - begin) / duration, 0.0), 1.0)
    return start + progress * (end - start)


def spread_epsilon(epsilon: float, num_envs: int, spread: float) -> F64:
    """Epsilon of each environment ``[N]``, the first one's as given and the last one's to the power
    ``1 + spread``: Horgan et al. 2018 (arXiv 1803.00933), section 4.1, where spread is alpha."""
    return np.float64(epsilon) ** (1 + spread * np.arange(num_envs) / max(num_envs - 1, 1))


def seed_sequence(seed: int, owner: str, *numbers: int) -> np.random.SeedSequence:
    """The entropy of one named owner; ``numbers`` tell apart its instances (a step, a count)."""
    return np.random.SeedSequence(entropy=seed, spawn_key=(zlib.crc32(owner.encode()), *numbers))


def numpy_generator(seed: int, owner: str, *numbers: int) -> np.random.Generator:
    """A numpy generator for one named owner."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, owner, *numbers)))


def torch_generator(
    seed: int, owner: str, *numbers: int, device: str | torch.device = "cpu"
) -> torch.Generator:
    """A torch generator for one named owner, on the device where it draws."""
    word = int(seed_sequence(seed, owner, *numbers).generate_state(1, np.uint64)[0])
    return torch.Generator(device=device).manual_seed(word >> 1)  # torch wants a signed 64-bit seed


def environment_seeds(seed: int, owner: str, environments: I64, counts: I64) -> I64:
    """Emulator seeds ``[N]`` in [0, 2^31): one for each environment and how often it was seeded.

    ALE takes 32 bits and reads a negative one as "unseeded", silently.
    """
    return np.array(
        [
            seed_sequence(seed, owner, int(environment), int(count)).generate_state(1)[0] >> 1
            for environment, count in zip(environments, counts, strict=True)
        ],
        dtype=np.int64,
    )
