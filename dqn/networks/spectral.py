"""Spectral normalization: Miyato et al. 2018 (arXiv 1802.05957), algorithm 1."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class SpectralConvolution(nn.Conv2d):
    """Convolution whose weight is divided by its largest singular value, see ``normalized``."""

    normalized_weight: torch.Tensor | None = None

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        vector = torch.empty(self.out_channels, device=self.weight.device)
        self.register_buffer("left", vector)  # singular vector, saved with the weights
        self.left: torch.Tensor

    def reset_power_iteration(self, generator: torch.Generator) -> None:
        """Approach the left singular vector in 15 iterations from a random one, as torch does.
        After one the estimate would be a fifth too small, and a target network, which does not
        iterate, would be another function than the online network it copies."""
        with torch.no_grad():
            self.left.normal_(generator=generator)
            for _ in range(15):
                self.left.copy_(_power_iteration(self.weight.flatten(1), self.left)[0])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        assert self.normalized_weight is not None, "only while its weight is normalized"
        return F.conv2d(features, self.normalized_weight, self.bias, self.stride, self.padding)


@contextmanager
def normalized(layers: Sequence[SpectralConvolution]) -> Iterator[None]:
    """Divide the weights by their largest singular values, after one power iteration, which is kept
    if gradients are enabled. Layers of one shape are computed together."""
    for _, group in itertools.groupby(layers, key=lambda layer: layer.weight.shape):
        _normalize(list(group))
    yield
    for layer in layers:
        layer.normalized_weight = None


def _normalize(layers: Sequence[SpectralConvolution]) -> None:
    """Set the normalized weight of layers of one shape."""
    _, inputs, *kernel = layers[0].weight.shape
    # [L, out, rest], with the channels last as in the memory of the weights
    matrices = torch.stack([layer.weight.permute(0, 2, 3, 1).flatten(1) for layer in layers])
    dtype, matrices = matrices.dtype, matrices.float()
    with torch.no_grad():
        old = torch.stack([layer.left for layer in layers])
        left, right = _power_iteration(matrices, old)
    if torch.is_grad_enabled():
        torch._foreach_copy_([layer.left for layer in layers], list(left.unbind()))
    largest = left[:, None] @ (matrices @ right[:, :, None])  # [L, 1, 1]
    weights = (matrices / largest).to(dtype).unflatten(2, (*kernel, inputs)).permute(0, 1, 4, 2, 3)
    for layer, weight in zip(layers, weights.unbind(), strict=True):
        layer.normalized_weight = weight


def _power_iteration(matrix: torch.Tensor, left: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The next left ``[..., out]`` and right ``[..., in]`` vectors of ``matrix [..., out, in]``."""
    right = F.normalize((left.unsqueeze(-2) @ matrix).squeeze(-2), dim=-1)
    return F.normalize((matrix @ right.unsqueeze(-1)).squeeze(-1), dim=-1), right
