"""ONNX files: a Q-network with its preprocessing, for programs without torch.

Needs packages of its own (requirements-export.txt), which are imported inside functions.
"""

import copy
import logging
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dqn.config import ConfigError
from dqn.learning.actor import QModel
from dqn.types import F32

OPSET = 18
"""Version of the operators: of 2022, which every current runtime has."""

INPUT, OUTPUT = "stack", "q_values"

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_installed() -> None:
    """Raises ConfigError if a package is missing."""
    if not all(map(find_spec, NEEDED)):
        raise ConfigError("export needs ONNX; type `pip install -r requirements-export.txt`")


def write_onnx(file: Path, model: QModel, example: torch.Tensor, about: Mapping[str, str]) -> None:
    """Write the q-values of a model on the CPU as a function of its stacks.

    The file's input is ``stack [N, S, *frame]`` of the dtype of ``example``, two such stacks, for
    any N; its output ``q_values [N, A]``, float32. ``about`` becomes its metadata.

    Raises:
        OSError: the file cannot be written.
    """
    import onnx

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about itself
        program = torch.onnx.export(
            _Portable(model).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    assert program is not None, "it exports with dynamo"
    proto = program.model_proto
    onnx.helper.set_model_props(proto, dict(about))
    onnx.checker.check_model(proto, full_check=True)
    file.write_bytes(proto.SerializeToString())


def run_onnx(file: Path, states: torch.Tensor) -> F32:
    """What onnxruntime computes on the CPU: ``states [M, S, *frame]`` -> q-values ``[M, A]``."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    parts: list[Any] = [
        session.run([OUTPUT], {INPUT: part.numpy()})[0] for part in states.split(64)
    ]
    return np.concatenate(parts)


class _Portable(nn.Module):
    """The q-values of a model in operations that ONNX has."""

    def __init__(self, model: QModel) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.network)
        self._values = model.values
        layers = self.network.torso
        for i, layer in enumerate(layers):
            if isinstance(layer, nn.AdaptiveMaxPool2d):
                assert isinstance(layer.output_size, int), layer.output_size
                layers[i] = MaxOfRegions(layer.output_size)

    def forward(self, stack: torch.Tensor) -> torch.Tensor:
        # As float32 already: the network itself reorders bytes as words, which ONNX cannot.
        state = stack.float() / 255 if stack.dtype == torch.uint8 else stack
        return self._values.q(self.network(state))


class MaxOfRegions(nn.Module):
    """``nn.AdaptiveMaxPool2d``, which ONNX lacks, for an output of ``side`` x ``side``."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self._side = side

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """``[B, C, H, W]`` -> ``[B, C, side, side]``."""
        for axis in (2, 3):
            size = features.shape[axis]
            regions = [
                features.narrow(axis, begin, end - begin).amax(axis)
                for begin, end in (
                    (i * size // self._side, -(-(i + 1) * size // self._side))
                    for i in range(self._side)
                )
            ]
            features = torch.stack(regions, axis)
        return features
