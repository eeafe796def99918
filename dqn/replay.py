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

from dqn import parcel
from dqn.config import ReplayConfig
from dqn.envs import shape_cartpole
from dqn.frames import make_frames
from dqn.parcel import Parcel
from dqn.sampler import make_sampler
from dqn.types import I64, Batch, Bool, State, TimeStep

FLAGS = ("first", "last", "terminal")
FIRST, LAST, TERMINAL = range(3)


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
        flags = torch.zeros(len(FLAGS), self.length, num_envs, dtype=torch.bool, device=self.device)
        action = torch.uint8 if num_actions <= 256 else torch.int32
        self._rings = {
            "action": torch.zeros(self.length, num_envs, dtype=action, device=self.device),
            "reward": torch.zeros(self.length, num_envs, device=self.device),
        } | dict(zip(FLAGS, flags, strict=True))
        """Each ``[T, N]``."""
        self._write = {name: parcel.at_hand(ring) for name, ring in self._rings.items()}
        self._write["flags"] = parcel.at_hand(flags)
        # What flags decide is decided without waiting for a device.
        self._flags = flags.cpu().numpy()  # [3, T, N]; on the CPU the same memory
        # The same memory, a row per (time, environment) pair: what a drawn index points into.
        self._flat = {name: rows.flatten() for name, rows in self._rings.items()}
        self.layout = {"frame": (pixels, (num_envs, *frame_shape))} | {
            name: (ring.dtype, (num_envs,)) for name, ring in self._rings.items()
        }
        """Type and shape of what ``rows`` hands over of each moment."""
        self._moment = Parcel(
            {
                "slot": (torch.int64, (1,)),
                "frame": (pixels, (1, num_envs, *frame_shape)),
                "reward": (torch.float32, (1, num_envs)),
                "flags": (torch.bool, (len(FLAGS), 1, num_envs)),
                "closing": (torch.int64, (stack,)),
                "kept": (torch.bool, (stack, num_envs)),
                "opening": (torch.int64, (n_step,)),
                "opened": (torch.bool, (n_step, num_envs)),
            },
            self.device,
        )
        self._action = Parcel({"action": (action, (num_envs,))}, self.device)
        self._take_in: Callable[[], None] = self._write_moment
        self._shown = False  # whether row ``time`` is there, all but its action
        self._sampler = make_sampler(config, self.length, num_envs, generator)
        self._back = torch.arange(1 - stack, 1, device=self.device)  # -3, -2, -1, 0
        self._everyone = torch.arange(num_envs, device=self.device)
        self._ahead = torch.arange(1, n_step + 1, device=self.device)
        powers = config.gamma ** np.arange(n_step + 1, dtype=np.float64)
        self._gamma = torch.from_numpy(powers).float().to(self.device)  # gamma^0 .. gamma^n

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
        self._action.open()["action"][...] = action
        self._action.send()
        self._write["action"][self.time % self.length] = self._action.there["action"]
        self._shown = False
        self.time += 1
        self._sampler.anneal(self.time * self.num_envs)

    def show(self, timestep: TimeStep) -> None:
        """Write row ``time``, all but its action; a second time at one moment it does nothing."""
        if self._shown:
            return
        self._shown = True
        slot = self.time % self.length
        for ring, name in zip(self._flags, FLAGS, strict=True):
            ring[slot] = getattr(timestep, name)
        moment = self._moment.open()
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
        self._moment.send()
        self._take_in()

    def newest(self) -> torch.Tensor:
        """The stacks ``[N, S, *frame]`` of the moment that was shown last."""
        slot = torch.as_tensor(self._moment.there["slot"])
        return self._stacks(slot.expand(self.num_envs), self._everyone)

    def take_in_by(self, launcher: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """From now on a moment that was sent is taken in by what this makes of the work."""
        self._take_in = launcher(self._write_moment)

    def sample(self, batch_size: int) -> Batch:
        """Draw ``batch_size`` transitions from all that are whole, as the sampler does."""
        index, weight = self._sampler.draw(batch_size)
        slot, env = index // self.num_envs, index % self.num_envs
        ahead = self._flat_index(slot[:, None] + self._ahead, env)  # [B, n]
        terminal = self._flat["terminal"][ahead]
        ends = terminal | self._flat["last"][ahead]
        # counted[:, j]: no end lies before row t+1+j, so its reward belongs to the return
        counted = torch.ones_like(ends)
        counted[:, 1:] = ends[:, :-1].cumsum(1) == 0
        steps = counted.sum(1)  # [B] k of the row rule
        # chosen, not multiplied by 0: a reward that does not count may be infinite
        reward = torch.where(counted, self._flat["reward"][ahead] * self._gamma[:-1], 0).sum(1)
        beyond = ~terminal.gather(1, steps[:, None] - 1).squeeze(1)
        both = self._stacks(torch.cat([slot, slot + steps]), torch.cat([env, env]))
        state, next_state = both.chunk(2)
        return Batch(
            state=state,
            action=self._flat["action"][index].long(),
            reward=reward,
            discount=self._gamma[steps] * beyond,
            next_state=next_state,
            weight=weight,
            index=index,
        )

    def update_priorities(self, index: torch.Tensor, priority: torch.Tensor) -> None:
        """Tell the sampler what the learner made of the rows ``index [B]``."""
        self._sampler.update_priorities(index, priority)

    def rows(self, begin: int, end: int) -> dict[str, torch.Tensor]:
        """Rows ``begin .. end-1`` in time, all held: ``[end - begin, N, ...]`` each, on the CPU."""
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
        for known, name in zip(self._flags, FLAGS, strict=True):
            known[slots] = rows[name]

    def state_dict(self) -> State:
        """All but the rows themselves, which ``rows`` hands over a piece at a time."""
        return {"time": self.time, "sampler": self._sampler.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        self.time, self._shown = state["time"], False
        self._sampler.load_state_dict(state["sampler"])
        self._sampler.anneal(self.time * self.num_envs)

    def _flat_index(self, time: torch.Tensor, env: torch.Tensor) -> torch.Tensor:
        return (time % self.length) * self.num_envs + env[:, None]

    def _stacks(self, time: torch.Tensor, env: torch.Tensor) -> torch.Tensor:
        """The stacks seen at ``time [B]``: ``[B, S, *frame]``, oldest first."""
        index = self._flat_index(time[:, None] + self._back, env)  # [B, S]
        # A frame is shown unless an episode opened after it: no first row among the newer ones.
        first = self._flat["first"][index]  # [B, S]
        shown = torch.ones_like(first)
        shown[:, :-1] = first[:, 1:].flip(1).cumsum(1).flip(1) == 0
        index = torch.where(shown, index, self.length * self.num_envs)  # the blank row
        frames = self._frames.read(index.flatten())
        return frames.view(*index.shape, *frames.shape[1:])

    def _write_moment(self) -> None:
        """Put what has arrived in its place. Where that is comes with it, so that a captured graph
        need not know."""
        moment = self._moment.there
        slot = moment["slot"]
        self._frames.write(slot, moment["frame"])
        self._write["reward"][slot] = moment["reward"]
        self._write["flags"][:, slot] = moment["flags"]
        self._sampler.close(moment["closing"], moment["kept"])
        self._sampler.open(moment["opening"], moment["opened"])

    def _not_overwritten(self, slots: I64) -> Bool:
        """Row ``time - T`` is gone, and so are the starts among the rows ``slots [S]`` since whose
        stack shows it: all before the first that opens an episode. Which are kept: ``[S, N]``."""
        kept = np.ones((len(slots), self.num_envs), bool)
        if self.time >= self.length:
            kept[0] = False
            np.logical_or.accumulate(self._flags[FIRST, slots[1:]], out=kept[1:])
        return kept

    def _completed(self, slots: I64) -> Bool:
        """The new row completes the start n rows before it and, if it is an end, all since. Of the
        rows ``slots [n]``, newest first, those that now may be drawn: ``[n, N]``."""
        last, terminal = self._flags[LAST], self._flags[TERMINAL]
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


class ShapedReplay(Replay):
    """Remembers CartPole's shaped reward in the place of its own."""

    def show(self, timestep: TimeStep) -> None:
        """As ``Replay.show``."""
        super().show(shape_cartpole(timestep))
