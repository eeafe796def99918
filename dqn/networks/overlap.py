"""Layers whose weights get their gradients beside the backward pass, on a GPU.

At batch 32 a kernel of a small network occupies a fraction of an H100. The backward pass itself
needs only the gradients of features; those of weights are computed on side streams meanwhile. They
are set, not accumulated, so a layer is used once in a backward pass, and are there after ``join``.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

_STREAMS = 4

Rearrange = Callable[[torch.Tensor], torch.Tensor]


class _SideStreams:
    """Side streams, used in turn. Tensors they read are kept until ``join``, so that the allocator
    does not reuse them."""

    def __init__(self) -> None:
        self._streams = [torch.cuda.Stream() for _ in range(_STREAMS)]
        self._used = 0
        self._read: list[torch.Tensor] = []

    def run(self, work: Callable[[], None], *read: torch.Tensor) -> None:
        """Start ``work``, which reads tensors of the current stream."""
        stream = self._streams[self._used % _STREAMS]
        self._used += 1
        self._read += read
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()

    def join(self) -> None:
        """Let the current stream wait for all of them."""
        for stream in self._streams[: self._used]:
            torch.cuda.current_stream().wait_stream(stream)
        self._used = 0
        self._read.clear()


_side_streams = functools.cache(_SideStreams)


def join() -> None:
    """Wait, on the GPU, for gradients that are still being computed."""
    if _side_streams.cache_info().currsize:
        _side_streams().join()


def linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """``F.linear`` with the parameters of a layer."""
    apply: Any = _Linear.apply
    output: torch.Tensor = apply(inputs, weight, bias)
    return output


def convolution(
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    stride: tuple[int, ...],
    arrange: Rearrange,
    restore: Rearrange,
) -> torch.Tensor:
    """``F.conv2d`` without padding, with the parameters of a layer: the weight as ``arrange``
    returns it, which ``restore`` undoes."""
    apply: Any = _Convolution.apply
    output: torch.Tensor = apply(inputs, weight, bias, stride, arrange, restore)
    return output


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs)
        ctx.parameters = weight, bias
        return F.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        (inputs,), (weight, bias) = ctx.saved_tensors, ctx.parameters

        def of_weight() -> None:
            _set_gradient(weight, gradient.t() @ inputs)

        def of_bias() -> None:
            _set_gradient(bias, gradient.sum(0))

        _beside(of_weight, gradient, inputs)
        _beside(of_bias, gradient)
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, None


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        stride: tuple[int, ...],
        arrange: Rearrange,
        restore: Rearrange,
    ) -> torch.Tensor:
        arranged = arrange(weight)
        ctx.save_for_backward(inputs, arranged)
        ctx.parameters, ctx.stride, ctx.restore = (weight, bias), stride, restore
        return F.conv2d(inputs, arranged, bias, stride)

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, None, None, None, None]:
        (inputs, arranged), (weight, bias) = ctx.saved_tensors, ctx.parameters
        gradient = gradient.contiguous(memory_format=torch.channels_last)

        def gradients(*wanted: bool) -> Any:
            return torch.ops.aten.convolution_backward(
                gradient, inputs, arranged, None, ctx.stride, [0, 0], [1, 1], False, [0, 0], 1,
                [*wanted, False],
            )  # fmt: skip

        def of_weight() -> None:
            _set_gradient(weight, ctx.restore(gradients(False, True)[1]))

        def of_bias() -> None:
            _set_gradient(bias, gradient.sum((0, 2, 3)))

        _beside(of_weight, gradient, inputs, arranged)
        _beside(of_bias, gradient)
        of_inputs = gradients(True, False)[0] if ctx.needs_input_grad[0] else None
        return of_inputs, None, None, None, None, None


def _set_gradient(parameter: torch.Tensor, gradient: torch.Tensor) -> None:
    assert parameter.grad is None, "the layer was used twice, or gradients were not reset"
    parameter.grad = gradient


def _beside(work: Callable[[], None], *read: torch.Tensor) -> None:
    if read[0].is_cuda:
        _side_streams().run(work, *read)
    else:
        work()
