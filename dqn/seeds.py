"""Random number generators: one per purpose, all derived from the run's seed.

Everything random has an owner with a generator of its own, derived from the seed and the owner's
name. Owners never share a stream, and the streams of neighbouring seeds are independent.
"""

import zlib

import numpy as np
import torch

from dqn.types import I64


def seed_sequence(seed: int, owner: str, *numbers: int) -> np.random.SeedSequence:
    """The entropy of one owner; ``numbers`` distinguish its instances (a step, a count)."""
    return np.random.SeedSequence(entropy=seed, spawn_key=(zlib.crc32(owner.encode()), *numbers))


def numpy_generator(seed: int, owner: str, *numbers: int) -> np.random.Generator:
    """A numpy generator for one owner."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, owner, *numbers)))


def torch_generator(
    seed: int, owner: str, *numbers: int, device: str | torch.device = "cpu"
) -> torch.Generator:
    """A torch generator for one owner, on the device where it is used."""
    word = int(seed_sequence(seed, owner, *numbers).generate_state(1, np.uint64)[0])
    # 63 bits, of which a CPU's generator uses 32
    return torch.Generator(device=device).manual_seed(word >> 1)


def environment_seeds(seed: int, owner: str, environments: I64, counts: I64) -> I64:
    """Emulator seeds ``[N]`` in [0, 2^31) from each environment's index and its number of reseeds.

    ALE takes 32 bits and silently treats a negative seed as "unseeded".
    """
    instances = np.stack((environments, counts), 1).tolist()
    words = [seed_sequence(seed, owner, *numbers).generate_state(1)[0] for numbers in instances]
    return np.array([word >> 1 for word in words], np.int64)
