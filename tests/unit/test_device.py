"""What is known about a GPU, on a machine that has none."""

import torch

from dqn.config import Config
from dqn.device import gpu_versions
from dqn.envs import Spec
from dqn.storage.provenance import make_provenance


def test_the_bits_of_a_gpu_depend_on_its_libraries_and_driver(tmp_path, monkeypatch):
    gpu, driver = torch.device("cuda"), tmp_path / "version"
    monkeypatch.setattr("dqn.device._DRIVER", driver)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.backends.cudnn.version", lambda: 91300)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "a GPU")
    assert gpu_versions(torch.device("cpu")) == {}
    assert gpu_versions(gpu) == {"cuda": "13.0", "cudnn": "91300", "driver": "unknown"}
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06\nGCC 12.3.0\n")
    spec = Spec("CartPole-v1", 2, (4,), "float32", 1, atari=False)
    made = make_provenance(Config(), spec, gpu)
    assert (made.device, made.versions["driver"]) == ("a GPU", "580.65.06")
    assert made.versions.keys() > gpu_versions(gpu).keys()
