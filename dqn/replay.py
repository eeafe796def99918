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

import numpy as np
import torch

from dqn.config import ReplayConfig
from dqn.envs import shape_cartpole
from dqn.frames import make_frames
from dqn.sampler import make_sampler
from dqn.types import I64, Batch, State, TimeStep


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
        self._rings = {
            name: torch.zeros(self.length, num_envs, dtype=dtype, device=self.device)
            for name, dtype in {
                "action": torch.uint8 if num_actions <= 256 else torch.int32,
                "reward": torch.float32,
                "first": torch.bool,
                "last": torch.bool,
                "terminal": torch.bool,
            }.items()
        }
        """Each ``[T, N]``."""
        # The same memory, a row per (time, environment) pair: what a drawn index points into.
        self._flat = {name: rows.flatten() for name, rows in self._rings.items()}
        self.layout = {"frame": (pixels, (num_envs, *frame_shape))} | {
            name: (ring.dtype, (num_envs,)) for name, ring in self._rings.items()
        }
        """Type and shape of what ``rows`` hands over of each moment."""
        self._sampler = make_sampler(config, self.length, num_envs, generator)
        self._back = torch.arange(1 - stack, 1, device=self.device)  # -3, -2, -1, 0
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
        reward = np.clip(timestep.reward, -1, 1) if self._clip_reward else timestep.reward
        slot = self.time % self.length
        self._frames.write(slot, timestep.stack[:, -1])
        for name, values in (
            ("action", action),
            ("reward", reward),
            ("first", timestep.first),
            ("last", timestep.last),
            ("terminal", timestep.terminal),
        ):
            self._rings[name][slot].copy_(torch.from_numpy(values))
        if self.time >= self.length:
            self._close_overwritten()
        if self.time > 0:
            self._open_completed()
        self.time += 1
        self._sampler.anneal(self.time * self.num_envs)

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

    def state_dict(self) -> State:
        """All but the rows themselves, which ``rows`` hands over a piece at a time."""
        return {"time": self.time, "sampler": self._sampler.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """The counterpart of ``state_dict``."""
        self.time = state["time"]
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

    def _close_overwritten(self) -> None:
        """Row ``time - T`` is gone, and so are the starts whose stack shows it."""
        lost = self.time - self.length
        slots = [(lost + j) % self.length for j in range(self._stack)]
        kept = torch.zeros(self._stack, self.num_envs, dtype=torch.bool, device=self.device)
        for j in range(1, self._stack):
            kept[j] = kept[j - 1] | self._rings["first"][slots[j]]  # blank from there on
        self._sampler.close(slots, kept)

    def _open_completed(self) -> None:
        """The new row completes the start n rows before it and, if it is an end, all since."""
        rows, newest = self._rings, self.time % self.length
        ends_here = rows["terminal"][newest] | rows["last"][newest]
        reach = min(self._n_step, self.time)
        slots = [(self.time - j) % self.length for j in range(1, reach + 1)]
        opened = torch.empty(reach, self.num_envs, dtype=torch.bool, device=self.device)
        unbroken = torch.ones_like(ends_here)  # no end between the start and the new row
        for j, slot in enumerate(slots, start=1):
            complete = unbroken if j == self._n_step else unbroken & ends_here
            opened[j - 1] = complete & ~rows["last"][slot]
            unbroken = unbroken & ~(rows["terminal"][slot] | rows["last"][slot])
        self._sampler.open(slots, opened)


class ShapedReplay(Replay):
    """Remembers CartPole's shaped reward in the place of its own."""

    def add(self, timestep: TimeStep, action: I64) -> None:
        """As ``Replay.add``."""
        super().add(shape_cartpole(timestep), action)
