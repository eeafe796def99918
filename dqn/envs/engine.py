"""What the two kinds of emulator have in common: N environments, stepped and seeded together."""

from typing import NamedTuple, Protocol

from dqn.types import F32, I64, Array, Bool


class Spec(NamedTuple):
    """What a network and a replay memory need to know of a game."""

    game: str
    """The name its run folder carries."""
    num_actions: int
    frame_shape: tuple[int, ...]
    frame_dtype: str
    """numpy's name of the dtype, ``uint8`` on Atari."""
    stack: int
    """Frames in a stack: 4 on Atari, else 1."""
    atari: bool
    """Frames are 4 a step, rewards want clipping, scores are published."""
    one_hot: bool = False
    """What is seen is one of so many states: a vector with a single 1."""


class Arrival(NamedTuple):
    """What N environments hand over after a step, before anyone stacked or interpreted it."""

    frame: Array
    """``[N, *frame]``, the caller's own copy."""
    reward: F32
    """``[N]`` raw."""
    terminated: Bool
    truncated: Bool
    lives: I64
    """``[N]`` lives left; 0 where the game has none to tell of."""


class Engine(Protocol):
    """N environments that reset themselves: the step after an end ignores its action and opens
    the next episode."""

    spec: Spec
    num_envs: int

    def reset(self, seed: I64) -> Arrival:
        """Seed all ``[N]`` and open their first episodes. What was before is forgotten."""
        ...

    def send(self, action: I64, seed: I64) -> None:
        """Begin a step with ``action [N]``. Where ``seed [N]`` is not negative the environment
        is seeded with it and opens an episode instead, whatever its action."""
        ...

    def receive(self) -> Arrival:
        """Wait for the step begun by ``send``."""
        ...

    def close(self) -> None:
        """Let go of threads and windows."""
        ...
