"""Devices, CPU threads and the terminal of the machine we run on."""

import logging
import os
import re
import sys
from pathlib import Path

import psutil
import torch

from dqn.config import ConfigError
from dqn.config.fields import Precision

log = logging.getLogger("dqn")

_DRIVER = Path("/proc/driver/nvidia/version")
_CGROUP = Path("/sys/fs/cgroup")  # in a container its own, version 2


def resolve_device(name: str, field: str = "device") -> torch.device:
    """The torch device for ``auto``, ``cpu`` or ``cuda``; ``field`` is the setting it comes from.

    Raises:
        ConfigError: cuda was requested but torch cannot use it.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError(f"{field} is cuda, but {_why_no_cuda()}; use --{field} cpu or auto")
    if name == "auto" and not available and _gpu_present():
        log.warning("This machine has a GPU, but %s. Running on the CPU.", _why_no_cuda())
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def cores() -> int:
    """Number of CPU cores available to this process, also in a container with cgroup v2."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1  # macOS
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or no limit, which is "max"
        return count


def free_memory() -> int:
    """Bytes that this process can still allocate, also in a container with cgroup v2."""
    free = psutil.virtual_memory().available
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        stat = (_CGROUP / "memory.stat").read_text()
    except (OSError, ValueError):  # as above
        return free
    cache = re.search(r"^inactive_file (\d+)", stat, re.MULTILINE)  # used, but dropped first
    return max(0, min(free, limit - used + int(cache[1] if cache else 0)))


def in_terminal() -> bool:
    """Whether stderr is a terminal, which can show a progress bar."""
    return sys.stderr is not None and sys.stderr.isatty()


def use_threads(threads: int) -> int:
    """Set the number of CPU threads torch uses (0: one per core), and return it.

    Also flushes denormals (below 1e-38) to zero: multiplying by one costs a hundred cycles, and an
    optimizer's squares of small gradients are full of them.
    """
    count = threads or cores()
    torch.set_flush_denormal(True)
    torch.set_num_threads(count)
    return count


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """``float32``, ``tf32`` or ``bfloat16``, as a config asks for it.

    Raises:
        ConfigError: the device has no such arithmetic.
    """
    on_gpu = device.type == "cuda"
    if precision == "tf32" and not on_gpu:
        raise ConfigError("precision tf32 exists on GPUs only, but device is cpu; use float32")
    if precision == "bfloat16" and not _multiplies_bfloat16(device):
        what = "GPU" if on_gpu else "CPU"
        raise ConfigError(f"precision is bfloat16, which this {what} cannot compute; use float32")
    if precision != "auto":
        return precision
    has_tf32 = on_gpu and torch.cuda.get_device_capability(device) >= (8, 0)
    return "tf32" if has_tf32 else "float32"


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if not torch.backends.mkldnn.is_available():  # and has no such operation
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


def use_precision(precision: Precision) -> None:
    """Let a GPU multiply float32 numbers as TF32 (10 bits of the mantissa) or in full."""
    kind = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = kind
    torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]


def use_deterministic_operations(device: torch.device) -> None:
    """Make a GPU reproduce the same bits; torch raises an error for operations that cannot."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first matmul
        torch.use_deterministic_algorithms(True)
        # Otherwise torch fills new memory with NaN, and the whole replay is resident at once.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def gpu_versions(device: torch.device) -> dict[str, str]:
    """The versions of a GPU's libraries and driver, on which its bits depend; none on the CPU."""
    if device.type != "cuda":
        return {}
    try:
        number = re.search(r"\d+\.\d+(\.\d+)?", _DRIVER.read_text())
    except OSError:  # as under WSL
        number = None
    return {
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "driver": number[0] if number else "unknown",
    }


def _gpu_present() -> bool:
    return _DRIVER.exists() or Path("/dev/nvidiactl").exists()


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return "this build of torch has no CUDA support (pip list shows which one is installed)"
    if not _gpu_present():
        return "no NVIDIA driver was found (in a container: was it started with --gpus all?)"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides it"
    return f"torch {torch.__version__} cannot use it (is the driver older than its CUDA?)"
