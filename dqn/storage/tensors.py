"""Arrays in .safetensors files. Nothing is ever unpickled."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from dqn.storage.files import AtomicFolder, replace_file, write_synced
from dqn.storage.manifest import CorruptCheckpoint, Manifest, read_file, write_file
from dqn.storage.provenance import Provenance
from dqn.types import Batch

MODEL_FILE = "model.safetensors"

_DTYPES = {
    torch.float16, torch.float32, torch.float64, torch.bool, torch.uint8, torch.uint16,
    torch.uint32, torch.int8, torch.int16, torch.int32, torch.int64,
}  # fmt: skip


def read_tensors(folder: Path, manifest: Manifest, name: str) -> dict[str, torch.Tensor]:
    """The arrays in a .safetensors file of a checkpoint.

    Raises:
        CorruptCheckpoint: it is missing, altered, or not valid.
    """
    return parse_tensors(f"{folder.name}/{name}", read_file(folder, manifest, name))


def parse_tensors(what: str, data: bytes) -> dict[str, torch.Tensor]:
    """The arrays in the bytes of a .safetensors file. All floats must be finite, except in
    observations, which are the environment's.

    Raises:
        CorruptCheckpoint: the bytes are not valid.
    """
    try:
        tensors = safetensors.torch.load(data)
    except Exception as error:  # the library raises many kinds on malformed bytes
        raise CorruptCheckpoint(f"{what} is not a valid safetensors file ({error})") from None
    for key, value in tensors.items():
        if value.dtype not in _DTYPES:
            raise CorruptCheckpoint(f"{what}: {key} has dtype {value.dtype}, which is never saved")
        observed = key in ("frame", "environment/timestep/stack")
        if not observed and value.is_floating_point() and not value.isfinite().all():
            raise CorruptCheckpoint(f"{what}: {key} holds numbers that are not finite")
        if value.dtype == torch.bool and (value.view(torch.uint8) > 1).any():
            raise CorruptCheckpoint(f"{what}: {key} holds bytes that are neither true nor false")
    return tensors


def write_model(
    folder: Path,
    model: dict[str, torch.Tensor],
    step: int,
    provenance: Provenance,
    evaluation: dict[str, Any],
) -> None:
    """Replace ``folder`` by one with a model and its manifest."""
    data = safetensors.torch.save(_on_cpu(model))
    with AtomicFolder(folder) as part:
        files = {MODEL_FILE: write_file(part, MODEL_FILE, data)}
        manifest = Manifest(step, provenance, files, {}, {}, evaluation)
        write_synced(part / "meta.json", manifest.to_bytes())


def write_batch(path: Path, batch: Batch) -> None:
    """Write a batch, to find out what was wrong with it."""
    replace_file(path, safetensors.torch.save(_on_cpu(batch._asdict())))


def _on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
