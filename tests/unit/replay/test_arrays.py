"""An upload copies all of the host arrays, and nothing is copied before it."""

import numpy as np
import pytest
import torch

from dqn.replay.arrays import StagingBuffer, numpy_view_or_tensor

CPU = torch.device("cpu")
LAYOUT = {
    "slot": (torch.int64, (1,)),
    "frame": (torch.uint8, (1, 3, 5, 7)),  # 105 bytes, so the next one starts at 112
    "reward": (torch.float32, (1, 3)),
    "enable": (torch.bool, (0, 3)),
    "keep": (torch.bool, (2, 3)),
}


def random_arrays(seed: int) -> dict[str, np.ndarray]:
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randint(250, shape, generator=random).to(dtype).numpy()
        for name, (dtype, shape) in LAYOUT.items()
    }


@pytest.mark.parametrize("separate", [False, True])
def test_an_upload_copies_everything(separate, monkeypatch):
    if separate:
        monkeypatch.setattr("dqn.replay.arrays._NUMPY", set())
    staging = StagingBuffer(LAYOUT, CPU)
    device = dict(staging.device)
    assert {isinstance(part, torch.Tensor) for part in device.values()} == {separate}
    for seed in range(3):
        arrays = random_arrays(seed)
        before = {name: np.asarray(part).copy() for name, part in device.items()}
        for name, array in staging.host().items():
            assert array.dtype == arrays[name].dtype and array.shape == arrays[name].shape
            array[...] = arrays[name]
        if separate:  # nothing is copied yet
            assert all(np.array_equal(part, before[name]) for name, part in device.items())
        staging.upload()
        assert all(np.array_equal(part, arrays[name]) for name, part in device.items())
    assert all(staging.device[name] is part for name, part in device.items()), (
        "addresses must not change"
    )


def test_on_the_cpu_numpy_views_the_same_memory():
    tensor = torch.zeros(3)
    view = numpy_view_or_tensor(tensor)
    view[[0, 2]] += 1
    assert isinstance(view, np.ndarray) and tensor.tolist() == [1, 0, 1]
