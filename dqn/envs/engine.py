"""The interface to an emulator: N environments, stepped and seeded together."""

from typing import NamedTuple, Protocol

from dqn.types import F32, I64, Array, Bool


class Spec(NamedTuple):
    """What a network and a replay memory need to know about a game."""

    game: str
    """Its name, also that of the run's folder."""
    num_actions: int
    frame_shape: tuple[int, ...]
    frame_dtype: str
    """numpy name of the dtype, ``uint8`` on Atari."""
    stack: int
    """Frames per stack: 4 on Atari, else 1."""
    atari: bool
    """Each step is 4 emulator frames, rewards are clipped, published scores exist."""
    one_hot: bool = False
    """Observations are one-hot vectors of a discrete state."""


class EngineStep(NamedTuple):
    """The raw output of N environments after one step, not yet stacked or interpreted."""

    frame: Array
    """``[N, *frame]``, a copy that the engine never writes to again."""
    reward: F32
    """``[N]`` raw."""
    terminated: Bool
    truncated: Bool
    lives: I64
    """``[N]`` lives left; 0 if the game has no lives."""


class Engine(Protocol):
    """N environments that reset themselves: the step after the end of an episode ignores its action
    and starts the next one."""

    spec: Spec
    num_envs: int

    def reset(self, seed: I64) -> EngineStep:
        """Seed all environments with ``seed [N]`` and start their first episodes. Nothing from
        before the reset remains."""
        ...

    def send(self, action: I64, seed: I64) -> None:
        """Start a step with ``action [N]``. An environment with a non-negative ``seed [N]`` ignores
        its action; it is reseeded and starts a new episode."""
        ...

    def receive(self) -> EngineStep:
        """Wait for the step started by ``send``."""
        ...

    def close(self) -> None:
        """Release threads and windows."""
        ...
