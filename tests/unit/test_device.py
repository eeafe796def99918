"""Threads and cores, and what is known about a GPU on a machine that has none."""

import os
from types import SimpleNamespace
from unittest.mock import Mock

import torch

from dqn.config import Config
from dqn.device import (
    cores,
    free_memory,
    gpu_versions,
    resolve_device,
    use_deterministic_operations,
    use_threads,
)
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


def test_cores_are_those_that_this_process_may_use(tmp_path, monkeypatch):
    """By its affinity, and in a container by its quota of microseconds."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(77)), raising=False)
    monkeypatch.setattr("dqn.device._CGROUP", tmp_path)
    assert cores() == 77
    for quota, count in (
        ("max 100000", 77), ("250000 100000", 2), ("50000 100000", 1), ("9900000 100000", 77),
    ):  # fmt: skip
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
        assert cores() == count, quota


def test_free_memory_is_what_the_limit_of_a_container_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=900))
    monkeypatch.setattr("dqn.device._CGROUP", tmp_path)
    assert free_memory() == 900
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.stat").write_text("anon 200\ninactive_file 50\nactive_file 50\n")
    for limit, free in (("max", 900), ("1000", 750), ("2000", 900), ("200", 0)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert free_memory() == free, limit


def test_a_hidden_gpu_is_not_blamed_on_its_driver(monkeypatch, caplog):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("dqn.device._gpu_present", lambda: True)
    for visible, why in (("", "CUDA_VISIBLE_DEVICES hides it"), ("0", "is the driver older")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert resolve_device("auto").type == "cpu"
        assert why in caplog.messages[-1]


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
