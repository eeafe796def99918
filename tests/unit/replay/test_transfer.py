"""What is sent arrives, all of it and nothing else, and only when it is sent."""

import numpy as np
import pytest
import torch

from dqn.replay.transfer import StagingBuffer, numpy_view_or_tensor

CPU = torch.device("cpu")
LAYOUT = {
    "slot": (torch.int64, (1,)),
    "frame": (torch.uint8, (1, 3, 5, 7)),  # 105 bytes: the next one begins at 112
    "reward": (torch.float32, (1, 3)),
    "opened": (torch.bool, (0, 3)),
    "kept": (torch.bool, (2, 3)),
}


def random_arrays(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    types = {"slot": "i8", "frame": "u1", "reward": "f4", "opened": "?", "kept": "?"}
    return {
        name: random.integers(0, 250, shape).astype(types[name])
        for name, (_, shape) in LAYOUT.items()
    }


@pytest.mark.parametrize("apart", [False, True])
def test_what_is_sent_arrives(apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if apart:
        monkeypatch.setattr("dqn.replay.transfer._NUMPY", set())
    parcel = StagingBuffer(LAYOUT, CPU)
    there = dict(parcel.device)
    assert {isinstance(part, torch.Tensor) for part in there.values()} == {apart}
    for seed in range(3):
        arrays = random_arrays(seed)
        before = {name: np.asarray(part).copy() for name, part in there.items()}
        for name, array in parcel.host().items():
            assert array.dtype == arrays[name].dtype and array.shape == arrays[name].shape
            array[...] = arrays[name]
        if apart:  # nothing moves by itself
            assert all(np.array_equal(part, before[name]) for name, part in there.items())
        parcel.upload()
        assert all(np.array_equal(part, arrays[name]) for name, part in there.items())
    assert all(parcel.device[name] is part for name, part in there.items()), "they stay"


def test_on_the_cpu_numpy_holds_the_same_memory() -> None:
    tensor = torch.zeros(3)
    held = numpy_view_or_tensor(tensor)
    held[[0, 2]] += 1
    assert isinstance(held, np.ndarray) and tensor.tolist() == [1, 0, 1]
