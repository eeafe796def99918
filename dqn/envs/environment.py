"""N environments as a stream of TimeSteps that can be saved at any step and restored.

On top of an engine, Environment stacks the frames, interprets the end of an episode (the flags of
the row rule), and reseeds each environment from time to time.

**Why reseed?** ALE's vector environment cannot be copied, but it can be *replayed*: a seeded reset
discards everything before it, and from there the recorded actions lead to the same screens, bit for
bit. So a checkpoint needs only the actions since then, one byte each, and reseeding at the first
end of an episode after ``reseed_steps`` bounds their number.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import numpy as np

from dqn.config import EnvConfig
from dqn.seeds import environment_seeds
from dqn.types import F32, I64, Array, Bool, State, TimeStep

Progress = Callable[[Iterable[int]], Iterable[int]]
"""Wraps an iterable to display its progress, as tqdm does."""


class Spec(NamedTuple):
    """What a network and a replay memory need to know about a game."""

    game: str
    """Its name: ``SpaceInvaders``, or Gymnasium's id."""
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


class Environment:
    """Adds frame stacks, flags, reseeding and a log of actions to an engine."""

    timestep: TimeStep
    """The current time step."""
    engine_step: EngineStep
    """What the engine returned for it."""

    def __init__(self, engine: Engine, config: EnvConfig) -> None:
        self.spec = engine.spec
        self.num_envs = engine.num_envs
        self._engine = engine
        self._life_loss_is_terminal = config.protocol == "classic"
        self._reseed_steps = config.reseed_steps
        self._action_dtype = np.min_scalar_type(self.spec.num_actions - 1)
        self._sent = False
        self.progress: Progress = iter
        """Displays the progress of ``load_state_dict``, which may take minutes."""

    def reset(self, seed: int, owner: str, first: int = 0) -> TimeStep:
        """Start the first episodes, with seeds that only ``owner`` uses (see seeds.py); ``first``
        is the number of the first of these environments among the owner's."""
        self._root = (seed, owner)
        self._numbers = np.arange(first, first + self.num_envs)
        self._count = np.zeros(self.num_envs, np.int64)  # reseeds of each environment so far
        self._seed = environment_seeds(seed, owner, self._numbers, self._count)
        self._age = np.zeros(self.num_envs, np.int64)  # steps since it was last seeded
        # The actions [N] of the last max(age) steps, end to end in one buffer: small arrays that
        # stay while large ones come and go would leave the heap full of holes.
        self._actions = bytearray()
        shape = (self.num_envs, self.spec.stack, *self.spec.frame_shape)
        blank = np.zeros(shape, self.spec.frame_dtype)
        self.engine_step = self._engine.reset(self._seed)
        self.timestep = self._interpret(
            blank, first=np.ones(self.num_envs, bool), lives=self.engine_step.lives
        )
        return self.timestep

    def send(self, action: I64) -> None:
        """Start a step with ``action [N]``; the emulators run on until ``receive``."""
        assert not self._sent, "send twice without receive"
        assert action.shape == (self.num_envs,), action.shape
        assert ((0 <= action) & (action < self.spec.num_actions)).all(), action
        due = self.timestep.last & (self._age >= self._reseed_steps)
        seed = np.full(self.num_envs, -1, np.int64)
        if due.any():
            self._count[due] += 1
            seed[due] = environment_seeds(*self._root, self._numbers[due], self._count[due])
            self._seed = np.where(due, seed, self._seed)
            self._age[due] = 0
        row = action.astype(self._action_dtype).tobytes()
        self._actions += row
        self._age += 1
        del self._actions[: -int(self._age.max()) * len(row)]
        self._engine.send(action, seed)
        self._sent = True

    def receive(self) -> TimeStep:
        """Wait for the step, and return it."""
        assert self._sent, "receive without send"
        self._sent = False
        lives, before = self.engine_step.lives, self.timestep
        self.engine_step = self._engine.receive()
        self.timestep = self._interpret(before.stack, first=before.last, lives=lives)
        return self.timestep

    def close(self) -> None:
        """Release the engine's threads and windows."""
        self._engine.close()

    def state_dict(self) -> State:
        """The current time step and how to return to it: the seeds and the actions since. Arrays
        that later steps modify are copied."""
        assert not self._sent, "state_dict between send and receive"
        actions = np.frombuffer(self._actions, self._action_dtype).copy()
        return {
            "timestep": self.timestep._asdict(),
            "lives": self.engine_step.lives,
            "count": self._count.copy(),
            "seed": self._seed,
            "age": self._age.copy(),
            "actions": actions.reshape(-1, self.num_envs),
        }

    def load_state_dict(self, state: State) -> None:
        """Replay the recorded actions, and check that they lead to the saved time step. The
        environments must have been reset with the seed and the owner of those that were saved.

        Raises:
            ValueError: the state is invalid here, or the replay led to a different time step.
        """
        self._count, self._age = state["count"].copy(), state["age"].copy()
        self._seed = state["seed"]
        actions: Array = state["actions"]
        if self._age.min() < 0 or self._age.max() != len(actions):
            raise ValueError("the number of recorded actions does not match the environments' ages")
        if ((actions < 0) | (actions >= self.spec.num_actions)).any():
            raise ValueError("the recorded actions are not valid in this game")
        if self._count.min() < 0 or not np.array_equal(
            self._seed, environment_seeds(*self._root, self._numbers, self._count)
        ):
            raise ValueError("the emulators' seeds do not belong to this run")
        self._actions = bytearray(actions.astype(self._action_dtype).tobytes())
        self.engine_step = step = self._replay(state)
        self.timestep = TimeStep(**state["timestep"])
        pairs = (
            (step.frame, self.timestep.stack[:, -1]),
            (step.reward, self.timestep.reward),
            (step.terminated | step.truncated, self.timestep.last),
            (step.lives, state["lives"]),
        )
        if not all(np.array_equal(shown, saved) for shown, saved in pairs):
            raise ValueError("the emulators did not return to the saved screens")

    def _replay(self, state: State) -> EngineStep:
        """Replay the actions of a state; returns the last step. All environments step together,
        each seeded at the step that makes them all finish at once. One that was never reseeded is
        as old as the run: the initial reset seeds it."""
        step, actions = self._engine.reset(self._seed), state["actions"]
        begin = len(actions) - self._age  # [N]
        for t in self.progress(range(len(actions))):
            seed_now = np.where((begin == t) & (self._count > 0), self._seed, -1)
            self._engine.send(actions[t].astype(np.int64), seed_now)
            step = self._engine.receive()
        return step

    def _interpret(self, stack: Array, first: Bool, lives: I64) -> TimeStep:
        """The engine's step after ``stack`` and ``lives [N]``; ``first [N]`` are those that start
        an episode."""
        step = self.engine_step
        stack = np.concatenate((stack[:, 1:], step.frame[:, None]), axis=1)
        stack[first, :-1] = 0
        life_lost = self._life_loss_is_terminal & (step.lives < lives)
        return TimeStep(
            stack=stack,
            reward=step.reward,
            first=first,
            last=step.terminated | step.truncated,
            terminal=step.terminated | (life_lost & ~first),
        )
