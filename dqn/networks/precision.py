"""Mixed precision: a network that computes in bfloat16 from float32 weights.

The float32 weights are what is optimized, saved and copied to the target network. A bfloat16 copy
of them, renewed whenever they change, is what forward and backward passes use; it costs one pass
over the weights per update, where casting inside the forward pass would cost one per use. The last
layer of each head, whose outputs are action values, is shared and stays float32.
"""

import copy
from collections.abc import Iterable
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Bfloat16Copy(Generic[M]):
    """A module computing in bfloat16 with the weights of a float32 one, whose buffers and ``kept``
    parameters it shares."""

    def __init__(self, module: M, kept: Iterable[nn.Parameter]) -> None:
        shared = {id(tensor): tensor for tensor in (*kept, *module.buffers())}
        self.module = copy.deepcopy(module, shared)
        """Computes; all other parameters are bfloat16."""
        self._masters: list[torch.Tensor] = []
        self._copies: list[torch.Tensor] = []
        for master, duplicate in zip(module.parameters(), self.module.parameters(), strict=True):
            if master is not duplicate:
                duplicate.data = master.detach().bfloat16()
                self._masters.append(master)
                self._copies.append(duplicate)
        self._gradients = [torch.empty_like(master) for master in self._masters]

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the float32 weights, after they have changed."""
        torch._foreach_copy_(self._copies, self._masters)

    def move_gradients(self) -> None:
        """Move the gradients of a backward pass to the float32 weights."""
        computed = [copied.grad for copied in self._copies if copied.grad is not None]
        torch._foreach_copy_(self._gradients, computed)
        for master, copied, gradient in zip(
            self._masters, self._copies, self._gradients, strict=True
        ):
            master.grad, copied.grad = gradient, None
