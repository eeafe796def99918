"""Choosing actions: epsilon-greedy on the network's q-values."""

from collections.abc import Callable

import numpy as np
import torch

from dqn.types import F64, I64, Array, State


class Actor:
    """Epsilon-greedy in N environments at once, with a generator of its own."""

    def __init__(
        self,
        q_values: Callable[[torch.Tensor], torch.Tensor],
        num_actions: int,
        generator: np.random.Generator,
        device: torch.device,
    ) -> None:
        self._q_values = q_values
        self._num_actions = num_actions
        self._generator = generator
        self._device = device

    def act(self, stack: Array, epsilon: float | F64) -> I64:
        """Actions ``[N]`` on ``stack [N, S, *frame]``, each random with probability ``epsilon``,
        one for all or ``[N]``.

        The draws do not depend on the network, and no network runs where all are random.
        """
        n = len(stack)
        explore = self._generator.random(n) < epsilon
        action = self._generator.integers(self._num_actions, size=n)
        if not explore.all():
            state = torch.from_numpy(stack).to(self._device)
            with torch.inference_mode():
                greedy = self._q_values(state).argmax(1).cpu().numpy()  # [N]
            action = np.where(explore, action, greedy)
        return action

    def state_dict(self) -> State:
        """The generator's state."""
        return {"generator": self._generator.bit_generator.state}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        self._generator.bit_generator.state = state["generator"]
