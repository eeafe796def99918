"""The replay memory: a ring buffer of single frames, from which stacks and returns are built.

**The row rule.** Row t holds the frame seen at t, the action chosen at t, and the reward and flags
*on arrival* at t. A sample from t sums the rewards of t+1 .. t+k, where k is the first of: n, a
terminal row, a last row; it bootstraps from row t+k with ``discount``. ``last`` rows are never
starts; a ``first`` row blanks the older frames of its stack. A row is a start once row t+k exists,
and until a frame of its stack is overwritten.

N-step returns, time-outs, lost lives and wrap-around are handled here and nowhere else: a learner
receives a reward and a discount. With one frame per row a million Atari rows take 7.06 GB; whole
stacks would take 28 GB, and pairs of stacks 56 GB.
"""

from collections.abc import Callable

import numpy as np
import torch

from dqn.config import ReplayConfig
from dqn.replay.arrays import AnyArray, PlainFrames, StagingBuffer, numpy_view_or_tensor, where
from dqn.replay.compressed import CompressedFrames
from dqn.replay.prioritized import PrioritizedSampler
from dqn.replay.sampler import FLAGS, Sampler, UniformSampler, ValidStarts
from dqn.types import F32, I64, Batch, State, TimeStep


class Replay:
    """Ring buffer ``[T, N]`` of rows, T = capacity // N, on one device."""

    def __init__(
        self,
        config: ReplayConfig,
        num_envs: int,
        frame_shape: tuple[int, ...],
        frame_dtype: str,
        stack: int,
        num_actions: int,
        reward: Callable[[TimeStep], F32],
        generator: torch.Generator,
    ) -> None:
        """``reward`` computes the reward to store ``[N]``, e.g. clipped; ``generator`` draws the
        batches, and its device holds the rows."""
        self.length = config.capacity // num_envs
        self.num_envs = num_envs
        self.time = 0
        """Complete rows written so far, per environment; row ``time - 1`` is the newest."""
        self.pending: TimeStep | None = None
        """The time step of row ``time`` until its action is added."""
        n_step = config.n_step
        assert self.length > n_step + stack, (self.length, n_step, stack)
        self.device = generator.device
        self._reward = reward
        pixels = torch.from_numpy(np.empty(0, frame_dtype)).dtype
        frames: type[PlainFrames] | type[CompressedFrames]
        frames = PlainFrames if config.storage == "plain" else CompressedFrames
        self._frames = frames((self.length, num_envs, *frame_shape), pixels, self.device)
        rows = self._num_rows = self.length * num_envs  # the blank row follows
        flags = torch.zeros(len(FLAGS), rows, dtype=torch.bool, device=self.device)
        action = torch.uint8 if num_actions <= 256 else torch.int32
        flat = {
            "action": torch.zeros(rows, dtype=action, device=self.device),
            "reward": torch.zeros(rows + 1, device=self.device),  # the blank row included
        } | dict(zip(FLAGS, flags, strict=True))
        # Three views of the same memory: _flat, by row index (slot * N + environment), to sample
        # from; _rings, [T, N], for checkpoints; _written, [T, N], for new rows.
        self._flat = {name: numpy_view_or_tensor(part) for name, part in flat.items()}
        self._rings = {name: part[:rows].view(self.length, num_envs) for name, part in flat.items()}
        self._written = {
            name: numpy_view_or_tensor(self._rings[name]) for name in ("action", "reward")
        }
        self._written["flags"] = numpy_view_or_tensor(flags.view(-1, self.length, num_envs))
        self._starts = ValidStarts(self.length, num_envs, n_step, stack)
        self.layout = {"frame": (pixels, (num_envs, *frame_shape))} | {
            name: (ring.dtype, (num_envs,)) for name, ring in self._rings.items()
        }
        """Dtype and shape of one time row in ``rows``, by name."""
        self._staged = StagingBuffer(
            {
                "slot": (torch.int64, (1,)),
                "frame": (pixels, (1, num_envs, *frame_shape)),
                "reward": (torch.float32, (1, num_envs)),
                "flags": (torch.bool, (len(FLAGS), 1, num_envs)),
                "stack_slots": (torch.int64, (stack,)),
                "keep": (torch.bool, (stack, num_envs)),
                "start_slots": (torch.int64, (n_step,)),
                "enable": (torch.bool, (n_step, num_envs)),
            },
            self.device,
        )
        self._staged_action = StagingBuffer({"action": (action, (num_envs,))}, self.device)
        self._write: Callable[[], None] = self._write_staged
        self._sampler: Sampler = UniformSampler(self.length, num_envs, generator)
        if config.sampler == "prioritized":
            self._sampler = PrioritizedSampler(self.length, num_envs, generator, config)

        def constant(values: list[int] | list[list[int]] | list[float]) -> AnyArray:
            return numpy_view_or_tensor(torch.tensor(values, device=self.device))

        # Offsets of row indices: from one time step to the next it is ``num_envs``.
        self._all_envs = constant(list(range(num_envs)))
        self._ago = constant([num_envs * k for k in range(stack)])
        self._oldest_first = constant(list(range(stack))[::-1])
        self._ahead = constant([num_envs * k for k in range(1, n_step + 1)])
        self._here_and_next = constant([[0], [num_envs]])
        self._gamma = constant([config.gamma**k for k in range(n_step + 1)])  # gamma^0 .. gamma^n

    def __len__(self) -> int:
        """Rows held, over all environments."""
        return min(self.time, self.length) * self.num_envs

    @property
    def fill(self) -> float:
        """Fraction of the capacity in use."""
        return min(self.time, self.length) / self.length

    def add_timestep(self, timestep: TimeStep) -> None:
        """Write row ``time``, all but its action; ``current_stacks`` then shows it."""
        assert self.pending is None, "the previous time step has no action yet"
        self.pending = timestep
        slot = self.time % self.length
        self._starts.flags[:, slot] = timestep.first, timestep.last, timestep.terminal
        staged = self._staged.host()
        staged["slot"][0] = slot
        staged["frame"][0] = timestep.stack[:, -1]
        staged["reward"][0] = self._reward(timestep)
        staged["flags"][:, 0] = self._starts.flags[:, slot]
        staged["stack_slots"][...], staged["keep"][...] = self._starts.kept(self.time)
        staged["start_slots"][...], staged["enable"][...] = self._starts.completed(self.time)
        self._staged.upload()
        self._write()
        self._sampler.set_beta((self.time + 1) * self.num_envs)

    def add_action(self, action: I64) -> None:
        """Complete row ``time`` with the action ``[N]`` chosen on the pending time step."""
        assert self.pending is not None, "there is no time step to act on"
        self._staged_action.host()["action"][...] = action
        self._staged_action.upload()
        self._written["action"][self.time % self.length] = self._staged_action.device["action"]
        self.pending = None
        self.time += 1

    def add(self, timestep: TimeStep, action: I64) -> None:
        """Write a complete row."""
        self.add_timestep(timestep)
        self.add_action(action)

    def current_stacks(self) -> torch.Tensor:
        """Stacks ``[N, S, *frame]`` of the time step added last, read from the ring."""
        return self._stacks(self._staged.device["slot"] * self.num_envs + self._all_envs)

    def wrap_write(self, wrap: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """Replace the function that writes an uploaded time step by ``wrap`` of it."""
        self._write = wrap(self._write_staged)

    def sample(self, batch_size: int) -> Batch:
        """Draw a batch of transitions with the sampler's probabilities."""
        index, weight = self._sampler.draw(batch_size)
        flat = self._flat
        ahead = (index[:, None] + self._ahead) % self._num_rows  # [B, n]
        terminal = flat["terminal"][ahead]
        ends = terminal | flat["last"][ahead]
        counted = _up_to_first(ends)
        steps = counted.sum(1)  # [B], the row rule's k
        # Rewards past k are read from the blank row: 0 times a reward that is inf would be nan.
        gained = flat["reward"][where(counted, ahead, self._num_rows)] * self._gamma[:-1]
        discount = self._gamma[steps] * ~(terminal & counted).any(1)
        state, next_state = self._stacks(index + self._here_and_next * steps)
        return Batch(
            state=state,
            action=torch.as_tensor(flat["action"][index]).long(),
            reward=torch.as_tensor(gained.sum(1)),
            discount=torch.as_tensor(discount),
            next_state=next_state,
            weight=weight,
            index=torch.as_tensor(index),
        )

    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Set the priorities ``[B]`` of the rows ``index [B]``."""
        self._sampler.update_priorities(index, priority)

    def rows(self, begin: int, end: int) -> dict[str, torch.Tensor]:
        """Rows ``begin .. end-1`` in time, all held: ``[end - begin, N, ...]`` each, on the CPU."""
        assert self.pending is None, "the newest row has no action yet"
        assert max(0, self.time - self.length) <= begin <= end <= self.time, (begin, end, self.time)
        slots = torch.arange(begin, end) % self.length
        rings = {name: ring[slots].cpu() for name, ring in self._rings.items()}
        return {"frame": self._frames.save(slots)} | rings

    def load_rows(self, begin: int, rows: dict[str, torch.Tensor]) -> None:
        """Restore what ``rows`` returned."""
        slots = torch.arange(begin, begin + len(rows["frame"])) % self.length
        self._frames.load(slots, rows["frame"])
        for name, ring in self._rings.items():
            ring[slots] = rows[name].to(self.device)
        for flags, name in zip(self._starts.flags, FLAGS, strict=True):
            flags[slots.numpy()] = rows[name].numpy()

    def state_dict(self) -> State:
        """Everything except the rows, which ``rows`` returns in pieces."""
        assert self.pending is None, "the newest row has no action yet"
        return {"time": self.time, "sampler": self._sampler.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Restore a ``state_dict``; the rows are restored by ``load_rows``.

        Raises:
            ValueError: rows could be drawn that were never written, or that nothing follows.
        """
        mass, time = state["sampler"]["mass"], state["time"]
        if mass[min(time, self.length) :].any() or (time and mass[(time - 1) % self.length].any()):
            raise ValueError("the sampler could draw rows that cannot start a transition")
        self.time, self.pending = time, None
        self._sampler.load_state_dict(state["sampler"])
        self._sampler.set_beta(self.time * self.num_envs)

    def _stacks(self, index: AnyArray) -> torch.Tensor:
        """Stacks seen at the rows ``index [..., B]``: ``[..., B, S, *frame]``."""
        row = (index[..., None] - self._ago) % self._num_rows  # [..., B, S], newest first
        shown = _up_to_first(self._flat["first"][row])
        row = where(shown, row, self._num_rows)[..., self._oldest_first]
        frames = self._frames.read(torch.as_tensor(row).flatten())
        return frames.view(*row.shape, *frames.shape[1:])

    def _write_staged(self) -> None:
        """Write the uploaded time step. Its slot is read from the upload, never from Python, so
        this can be captured in a CUDA graph."""
        staged = self._staged.device
        slot = staged["slot"]
        self._frames.write(slot, staged["frame"])
        self._written["reward"][slot] = staged["reward"]
        self._written["flags"][:, slot] = staged["flags"]
        self._sampler.disable(staged["stack_slots"], staged["keep"])
        self._sampler.enable(staged["start_slots"], staged["enable"])


def _up_to_first(flags: AnyArray) -> AnyArray:
    """True up to and including the first set flag along the last dimension."""
    return flags.cumsum(-1) == flags
