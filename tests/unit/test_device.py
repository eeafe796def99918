"""Threads and cores, and what is known about a GPU on a machine that has none."""

import os
from unittest.mock import Mock

import torch

from dqn.config import Config
from dqn.device import cores, gpu_versions, use_deterministic_operations, use_threads
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


def test_threads_0_are_all_cores_and_denormals_are_flushed(monkeypatch):
    monkeypatch.setattr("dqn.device.cores", lambda: 3)
    for typed, threads in ((0, 3), (2, 2)):
        assert use_threads(typed) == torch.get_num_threads() == threads
    assert float(torch.full((), 1e-38) * 0.1) == 0


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(77)), raising=False)
    assert cores() == 77


def test_deterministic_operations_are_torchs_on_a_gpu(monkeypatch):
    use = Mock()
    monkeypatch.setattr(torch, "use_deterministic_algorithms", use)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    use_deterministic_operations(torch.device("cpu"))
    use.assert_not_called()
    use_deterministic_operations(torch.device("cuda"))
    use.assert_called_once_with(True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert not torch.utils.deterministic.fill_uninitialized_memory
