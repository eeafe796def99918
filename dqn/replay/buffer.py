"""The replay memory: a ring of single frames, from which stacks and n-step returns are made.

**The row rule.** Row t holds the frame seen at t, the action chosen at t, and the reward and flags
*on arrival* at t. A sample from t sums the rewards of t+1 .. t+k, where k is the first of: n, a
terminal row, a last row; it bootstraps from row t+k with ``discount``. ``last`` rows are never
starts; a ``first`` row blanks the older frames of its stack. A row is a start once row t+k exists,
and until a frame of its stack is overwritten.

That is the whole story of n-step returns, time-outs, lost lives and wrap-around. A learner sees a
reward and a discount, and need not hear of gamma, n, ends or lives. One frame a row: a million
Atari rows take 7.06 GB, where whole stacks would take 28 and pairs of stacks 56.
"""

from collections.abc import Callable

import numpy as np
import torch

from dqn.config import ReplayConfig
from dqn.envs import shape_cartpole
from dqn.replay.frames import make_frames
from dqn.replay.sampler import make_sampler
from dqn.replay.transfer import AnyArray, StagingBuffer, numpy_view_or_tensor
from dqn.types import I64, Array, Batch, Bool, State, TimeStep

_FLAGS = ("first", "last", "terminal")
_FIRST, _LAST, _TERMINAL = range(3)


class Replay:
    """Ring ``[T, N]`` of rows, T = capacity // N, on one device."""

    def __init__(
        self,
        config: ReplayConfig,
        num_envs: int,
        frame_shape: tuple[int, ...],
        frame_dtype: str,
        stack: int,
        num_actions: int,
        clip_reward: bool,
        generator: torch.Generator,
    ) -> None:
        """``generator`` draws the batches, and its device holds the rows."""
        self.length = config.capacity // num_envs
        self.num_envs = num_envs
        self.time = 0
        """Rows written so far, per environment; row ``time - 1`` is the newest."""
        n_step = config.n_step
        assert self.length > n_step + stack, (self.length, n_step, stack)
        self.device = generator.device
        self._stack, self._n_step, self._clip_reward = stack, n_step, clip_reward
        pixels = torch.from_numpy(np.empty(0, frame_dtype)).dtype
        self._frames = make_frames(
            config.storage, self.length, num_envs, frame_shape, pixels, self.device
        )
        rows = self.length * num_envs
        flags = torch.zeros(len(_FLAGS), rows, dtype=torch.bool, device=self.device)
        action = torch.uint8 if num_actions <= 256 else torch.int32
        # A row per (time, environment) pair: what a drawn index points into.
        flat = {
            "action": torch.zeros(rows, dtype=action, device=self.device),
            "reward": torch.zeros(rows + 1, device=self.device),  # the blank one too
        } | dict(zip(_FLAGS, flags, strict=True))
        # The same memory for each of its users: batches are read from _flat, moments written to
        # _written, pieces of a checkpoint cut from _rings, [T, N] each.
        self._flat: dict[str, AnyArray] = {
            name: numpy_view_or_tensor(part) for name, part in flat.items()
        }
        self._rings = {name: part[:rows].view(self.length, num_envs) for name, part in flat.items()}
        self._written = {
            name: numpy_view_or_tensor(self._rings[name]) for name in ("action", "reward")
        }
        self._written["flags"] = numpy_view_or_tensor(flags.view(-1, self.length, num_envs))
        # A copy of the flags, to decide what they open and close without waiting for a device.
        self._flags = np.zeros((len(_FLAGS), self.length, num_envs), bool)
        self.layout = {"frame": (pixels, (num_envs, *frame_shape))} | {
            name: (ring.dtype, (num_envs,)) for name, ring in self._rings.items()
        }
        """Type and shape of what ``rows`` hands over of each moment."""
        self._moment = StagingBuffer(
            {
                "slot": (torch.int64, (1,)),
                "frame": (pixels, (1, num_envs, *frame_shape)),
                "reward": (torch.float32, (1, num_envs)),
                "flags": (torch.bool, (len(_FLAGS), 1, num_envs)),
                "closing": (torch.int64, (stack,)),
                "kept": (torch.bool, (stack, num_envs)),
                "opening": (torch.int64, (n_step,)),
                "opened": (torch.bool, (n_step, num_envs)),
            },
            self.device,
        )
        self._action = StagingBuffer({"action": (action, (num_envs,))}, self.device)
        self._put_moment: Callable[[], None] = self._write_moment
        self._shown: Array | None = None  # the stack of row ``time`` while it has no action yet
        self._sampler = make_sampler(config, self.length, num_envs, generator)

        def small(values: list[int] | list[list[int]] | list[float]) -> AnyArray:
            return numpy_view_or_tensor(torch.tensor(values, device=self.device))

        self._everyone = small(list(range(num_envs)))
        self._ago = small(list(range(stack)))  # 0, 1, 2, 3
        self._oldest_first = small(list(range(stack))[::-1])
        self._ahead = small(list(range(1, n_step + 1)))
        self._now_and_then = small([[0], [1]])
        self._gamma = small([config.gamma**k for k in range(n_step + 1)])  # gamma^0 .. gamma^n

    def __len__(self) -> int:
        """Rows held, over all environments."""
        return min(self.time, self.length) * self.num_envs

    @property
    def fill(self) -> float:
        """Rows held of the rows there is room for."""
        return min(self.time, self.length) / self.length

    def add(self, timestep: TimeStep, action: I64) -> None:
        """Write row ``time``: what was seen at this moment and the action ``[N]`` chosen on it."""
        self.show(timestep)
        self._action.host()["action"][...] = action
        self._action.upload()
        self._written["action"][self.time % self.length] = self._action.device["action"]
        self._shown = None
        self.time += 1
        self._sampler.set_beta(self.time * self.num_envs)

    def show(self, timestep: TimeStep) -> None:
        """Write row ``time``, all but its action; a second time at one moment it does nothing."""
        if self._shown is not None:
            assert timestep.stack is self._shown, "another moment, and this one has no action yet"
            return
        self._shown = timestep.stack
        slot = self.time % self.length
        for ring, name in zip(self._flags, _FLAGS, strict=True):
            ring[slot] = getattr(timestep, name)
        moment = self._moment.host()
        moment["slot"][0] = slot
        moment["frame"][0] = timestep.stack[:, -1]
        moment["reward"][0] = timestep.reward
        if self._clip_reward:
            moment["reward"].clip(-1, 1, out=moment["reward"])
        moment["flags"][:, 0] = self._flags[:, slot]
        moment["closing"][...] = (slot + np.arange(self._stack)) % self.length
        moment["kept"][...] = self._not_overwritten(moment["closing"])
        moment["opening"][...] = (slot - 1 - np.arange(self._n_step)) % self.length
        moment["opened"][...] = self._completed(moment["opening"])
        self._moment.upload()
        self._put_moment()

    def current_stacks(self) -> torch.Tensor:
        """The stacks ``[N, S, *frame]`` of the moment that was shown last."""
        return self._stacks(self._moment.device["slot"], self._everyone)

    def wrap_write(self, make: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """From now on ``make(work)`` is called in the place of ``work``, which puts a moment that
        was sent where it belongs."""
        self._put_moment = make(self._write_moment)

    def sample(self, batch_size: int) -> Batch:
        """Draw ``batch_size`` transitions from all that are whole, as the sampler does."""
        index, weight = self._sampler.draw(batch_size)
        rows = self._flat
        slot, env = index // self.num_envs, index % self.num_envs
        ahead = self._row(slot[:, None] + self._ahead, env[:, None])  # [B, n]
        terminal = rows["terminal"][ahead]
        ends = terminal | rows["last"][ahead]
        counted = _none_before(ends)
        steps = counted.sum(1)  # [B] k of the row rule
        # A reward that does not count is looked up where there is 0: times 0 it may be infinite.
        gained = rows["reward"][self._or_blank(ahead, counted)] * self._gamma[:-1]
        discount = self._gamma[steps] * ~(terminal & counted).any(1)
        state, next_state = self._stacks(slot + self._now_and_then * steps, env)
        return Batch(
            state=state,
            action=torch.as_tensor(rows["action"][index]).long(),
            reward=torch.as_tensor(gained.sum(1)),
            discount=torch.as_tensor(discount),
            next_state=next_state,
            weight=weight,
            index=torch.as_tensor(index),
        )

    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Tell the sampler what the learner made of the rows ``index [B]``."""
        self._sampler.update_priorities(index, priority)

    def rows(self, begin: int, end: int) -> dict[str, torch.Tensor]:
        """Rows ``begin .. end-1`` in time, all held: ``[end - begin, N, ...]`` each, on the CPU."""
        assert self._shown is None, "the newest row has no action yet"
        assert max(0, self.time - self.length) <= begin <= end <= self.time, (begin, end, self.time)
        slots = torch.arange(begin, end) % self.length
        where = slots.to(self.device)
        rings = {name: ring[where].cpu() for name, ring in self._rings.items()}
        return {"frame": self._frames.save(slots)} | rings

    def load_rows(self, begin: int, rows: dict[str, torch.Tensor]) -> None:
        """The counterpart of ``rows``."""
        slots = torch.arange(begin, begin + len(rows["frame"])) % self.length
        self._frames.load(slots, rows["frame"])
        for name, ring in self._rings.items():
            ring[slots.to(self.device)] = rows[name].to(self.device)
        for flags, name in zip(self._flags, _FLAGS, strict=True):
            flags[slots.numpy()] = rows[name].numpy()

    def state_dict(self) -> State:
        """All but the rows themselves, which ``rows`` hands over a piece at a time."""
        assert self._shown is None, "the newest row has no action yet"
        return {"time": self.time, "sampler": self._sampler.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        self.time, self._shown = state["time"], None
        self._sampler.load_state_dict(state["sampler"])
        self._sampler.set_beta(self.time * self.num_envs)

    def _row(self, time: AnyArray, env: AnyArray) -> AnyArray:
        return time % self.length * self.num_envs + env

    def _or_blank(self, row: AnyArray, wanted: AnyArray) -> AnyArray:
        """The rows ``wanted``, and the blank one, which is the last, in the place of the others."""
        blank = self.length * self.num_envs
        return blank + (row - blank) * wanted

    def _stacks(self, time: AnyArray, env: AnyArray) -> torch.Tensor:
        """The stacks seen at ``time [..., B]`` in ``env [B]``: ``[..., B, S, *frame]``."""
        row = self._row(time[..., None] - self._ago, env[:, None])  # [..., B, S], newest first
        # A frame is shown unless an episode opened after it.
        shown = _none_before(self._flat["first"][row])
        row = self._or_blank(row, shown)[..., self._oldest_first]
        frames = self._frames.read(torch.as_tensor(row).flatten())
        return frames.view(*row.shape, *frames.shape[1:])

    def _write_moment(self) -> None:
        """Put what has arrived in its place. Where that is comes with it, so that a captured graph
        need not know."""
        moment = self._moment.device
        slot = moment["slot"]
        self._frames.write(slot, moment["frame"])
        self._written["reward"][slot] = moment["reward"]
        self._written["flags"][:, slot] = moment["flags"]
        self._sampler.disable(moment["closing"], moment["kept"])
        self._sampler.enable(moment["opening"], moment["opened"])

    def _not_overwritten(self, slots: I64) -> Bool:
        """Row ``time - T`` is gone, and so are the starts among the rows ``slots [S]`` since whose
        stack shows it: all before the first that opens an episode. Which are kept: ``[S, N]``."""
        kept = np.ones((len(slots), self.num_envs), bool)
        if self.time >= self.length:
            kept[0] = False
            np.logical_or.accumulate(self._flags[_FIRST, slots[1:]], out=kept[1:])
        return kept

    def _completed(self, slots: I64) -> Bool:
        """The new row completes the start n rows before it and, if it is an end, all since. Of the
        rows ``slots [n]``, newest first, those that now may be drawn: ``[n, N]``."""
        last, terminal = self._flags[_LAST], self._flags[_TERMINAL]
        newest = self.time % self.length
        completes = np.zeros((len(slots), self.num_envs), bool)
        completes[-1] = True
        completes |= last[newest] | terminal[newest]
        # no end between the start and the new row
        ends = last[slots] | terminal[slots]
        completes[1:] &= ~np.logical_or.accumulate(ends[:-1])
        completes &= ~last[slots]
        completes[self.time :] = False  # there were not so many rows
        return completes


def _none_before(flags: AnyArray) -> AnyArray:
    """Where along the last side no earlier one of ``flags`` is set."""
    return flags.cumsum(-1) == flags


class ShapedReplay(Replay):
    """Remembers CartPole's shaped reward in the place of its own."""

    def show(self, timestep: TimeStep) -> None:
        """As ``Replay.show``."""
        super().show(shape_cartpole(timestep))
