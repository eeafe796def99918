"""What the machine has: devices, cores, a terminal; and a word when a GPU stands idle."""

import logging
import os
import sys
from pathlib import Path

import torch

from dqn.config import ConfigError

log = logging.getLogger("dqn")


def resolve_device(name: str, field: str = "device") -> torch.device:
    """The device called ``auto``, ``cpu`` or ``cuda`` in a field of the config.

    Raises:
        ConfigError: cuda was asked for and torch cannot use one.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError(f"{field} is cuda, but {_why_no_cuda()}; use --{field} cpu or auto")
    if name == "auto" and not available and _gpu_present():
        log.warning("A GPU is present, but %s: running on the CPU.", _why_no_cuda())
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def in_terminal() -> bool:
    """Whether somebody may be watching a bar on stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


def use_threads(threads: int) -> int:
    """Give torch so many CPU threads (0: one for each core); returns how many that is.

    They take numbers below 1e-38 for 0: an ordinary multiplication by one costs a hundred cycles,
    and an optimiser's squares of small gradients are full of them.
    """
    count = threads or cores()
    torch.set_flush_denormal(True)
    torch.set_num_threads(count)
    return count


def use_deterministic_operations(device: torch.device) -> None:
    """From now on a GPU gives equal bits each time, or an error where torch knows no way to."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first product
        torch.use_deterministic_algorithms(True)
        # Else torch writes NaN into all new memory: the replay's would be resident at once.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _gpu_present() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return "this build of torch has no CUDA in it (pip list shows which one is installed)"
    if not _gpu_present():
        return "there is no NVIDIA driver here (in a container: was it started with --gpus all?)"
    return f"torch {torch.__version__} cannot use it (is the driver older than its CUDA?)"
