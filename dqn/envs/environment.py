"""N environments as a stream of TimeSteps that can be saved at any moment and rebuilt.

The wrapper does three things to what an engine hands over: it stacks frames, it says what an end
means (the flags of the row rule), and it seeds each environment anew now and then.

**Why seed anew?** ALE's vector environment cannot be copied, but it can be *replayed*: a seeded
reset forgets all before it, and from there on the recorded actions lead to the same screens, to
the bit. So the actions since then, a byte each, are all that a checkpoint needs, and seeding anew
at the first episode end after ``reseed_steps`` bounds their number.
"""

from collections.abc import Callable, Iterable

import numpy as np

from dqn.envs.engine import Arrival, Engine
from dqn.seeds import environment_seeds
from dqn.types import I64, Array, Bool, State, TimeStep

Progress = Callable[[Iterable[int]], Iterable[int]]
"""Wraps a loop to show how far it is, as tqdm does."""


class Environment:
    """Frame stack, flags, seeds and the record of actions around an engine."""

    timestep: TimeStep
    """The present moment."""

    def __init__(self, engine: Engine, life_loss_is_terminal: bool, reseed_steps: int) -> None:
        self.spec = engine.spec
        self.num_envs = engine.num_envs
        self._engine = engine
        self._life_loss_is_terminal = life_loss_is_terminal
        self._reseed_steps = reseed_steps
        self._action_dtype = np.min_scalar_type(self.spec.num_actions - 1)
        self._sent = False

    def reset(self, seed: int, owner: str) -> TimeStep:
        """Open the first episodes, with seeds that belong to ``owner`` alone."""
        self._root = (seed, owner)
        everyone = np.arange(self.num_envs)
        self._count = np.zeros(self.num_envs, np.int64)  # how often each was seeded anew
        self._seed = environment_seeds(seed, owner, everyone, self._count)
        self._age = np.zeros(self.num_envs, np.int64)  # steps since it was seeded
        self._record = ActionRecord(self.num_envs, self._action_dtype)
        arrival = self._engine.reset(self._seed)
        shape = (self.num_envs, self.spec.stack, *self.spec.frame_shape)
        first = np.ones(self.num_envs, bool)
        self.timestep = TimeStep(
            stack=_push(np.zeros(shape, self.spec.frame_dtype), first, arrival.frame),
            reward=arrival.reward,
            first=first,
            last=np.zeros(self.num_envs, bool),
            terminal=np.zeros(self.num_envs, bool),
        )
        self._lives = arrival.lives
        return self.timestep

    def send(self, action: I64) -> None:
        """Begin a step with ``action [N]``; the emulator's threads run until ``receive``."""
        assert not self._sent, "send twice without receive"
        assert action.shape == (self.num_envs,), action.shape
        assert ((0 <= action) & (action < self.spec.num_actions)).all(), action
        due = self.timestep.last & (self._age >= self._reseed_steps)
        seed = np.full(self.num_envs, -1, np.int64)
        if due.any():
            self._count[due] += 1
            seed[due] = environment_seeds(*self._root, np.flatnonzero(due), self._count[due])
            self._seed = np.where(due, seed, self._seed)
            self._age[due] = 0
        self._record.append(action)
        self._age += 1
        self._record.forget_before(int(self._age.max()))
        self._engine.send(action, seed)
        self._sent = True

    def receive(self) -> TimeStep:
        """Wait for the step and say what it means."""
        assert self._sent, "receive without send"
        self._sent = False
        arrival = self._engine.receive()
        first = self.timestep.last
        self.timestep = TimeStep(
            stack=_push(self.timestep.stack, first, arrival.frame),
            reward=arrival.reward,
            first=first,
            last=arrival.terminated | arrival.truncated,
            terminal=arrival.terminated | (self._life_lost(arrival) & ~first),
        )
        self._lives = arrival.lives
        return self.timestep

    def close(self) -> None:
        """Let go of the engine's threads."""
        self._engine.close()

    def state_dict(self) -> State:
        """The present moment and the way to it: seeds and the actions since. Copies, where the
        steps to come would write on them."""
        assert not self._sent, "a step is under way"
        return {
            "timestep": self.timestep._asdict(),
            "lives": self._lives,
            "count": self._count.copy(),
            "seed": self._seed,
            "age": self._age.copy(),
            "actions": self._record.rows(),
        }

    def load_state_dict(self, state: State, seed: int, owner: str, progress: Progress) -> TimeStep:
        """Play the recorded actions again, and check that they lead where they led.

        Raises:
            ValueError: this is no state of these environments, or they showed something else.
        """
        self._root = (seed, owner)
        self._count, self._age = state["count"].copy(), state["age"].copy()
        self._seed = state["seed"]
        actions: Array = state["actions"]
        if self._age.min() < 0 or self._age.max() != len(actions):
            raise ValueError("the recorded actions are not as many as the steps since a seed")
        if ((actions < 0) | (actions >= self.spec.num_actions)).any():
            raise ValueError("the recorded actions are not this game's")
        if (
            self._count.min() < 0
            or (
                self._seed != environment_seeds(seed, owner, np.arange(self.num_envs), self._count)
            ).any()
        ):
            raise ValueError("the emulators' seeds are not this run's")
        self._record = ActionRecord(self.num_envs, self._action_dtype, actions)
        # All step together, each seeded late enough that they arrive at once. One that was never
        # seeded anew is as old as the run, so its seed is the first reset's.
        arrival = self._engine.reset(self._seed)
        begin = len(actions) - self._age  # [N]
        for t in progress(range(len(actions))):
            seed_now = np.where((begin == t) & (self._count > 0), self._seed, -1)
            self._engine.send(actions[t].astype(np.int64), seed_now)
            arrival = self._engine.receive()
        self.timestep, self._lives = TimeStep(**state["timestep"]), state["lives"]
        pairs = (
            (arrival.frame, self.timestep.stack[:, -1]),
            (arrival.reward, self.timestep.reward),
            (arrival.terminated | arrival.truncated, self.timestep.last),
            (arrival.lives, self._lives),
        )
        if not all(np.array_equal(shown, saved) for shown, saved in pairs):
            raise ValueError("the emulators did not return to the saved screens")
        return self.timestep

    def _life_lost(self, arrival: Arrival) -> Bool:
        if not self._life_loss_is_terminal:
            return np.zeros(self.num_envs, bool)
        return arrival.lives < self._lives


class ActionRecord:
    """The actions of the newest steps, oldest first: ``[L, N]``, memory in proportion to use."""

    def __init__(self, num_envs: int, dtype: np.dtype, rows: Array | None = None) -> None:
        if rows is None:
            rows = np.empty((0, num_envs), dtype)
        self._rows = np.array(rows, dtype)
        self._begin, self._end = 0, len(rows)

    def append(self, action: I64) -> None:
        """Add the newest ``[N]``."""
        if self._end == len(self._rows):
            kept = self.rows()
            self._rows = np.empty((2 * len(kept) + 1024, kept.shape[1]), kept.dtype)
            self._rows[: len(kept)] = kept
            self._begin, self._end = 0, len(kept)
        self._rows[self._end] = action
        self._end += 1

    def forget_before(self, newest: int) -> None:
        """Keep the ``newest`` rows."""
        assert newest <= self._end - self._begin, (newest, self._end - self._begin)
        self._begin = self._end - newest

    def rows(self) -> Array:
        """``[L, N]``."""
        return self._rows[self._begin : self._end]


def _push(stack: Array, first: Bool, frame: Array) -> Array:
    """Drop the oldest frame of ``[N, S, *frame]`` and append the newest, in a new array; where that
    is the ``first [N]`` of an episode the others are blank."""
    pushed = np.empty_like(stack)
    pushed[:, :-1] = stack[:, 1:]
    pushed[first, :-1] = 0
    pushed[:, -1] = frame
    return pushed
