"""Distributed replay: K workers play the environments while the learner learns, to the bit.

The order of the calls decides, never the timing. A round is C turns of all N environments. In round
r the workers act with the weights that the learner had after round r - 1 - lag; the learner then
takes the rows of round r, in the order of the workers, and makes the updates that are due between
them exactly as a run in one process does. So the result is a function of the config and the seed,
whatever is killed. Actors and one learner with the replay memory are those of Ape-X (Horgan et
al. 2018, arXiv 1803.00933).
"""

import dataclasses
import functools
import logging
from collections import deque
from collections.abc import Callable

import numpy as np
import torch

from dqn import envs
from dqn.config import Config
from dqn.envs.environment import EngineStep
from dqn.learning.actor import Actor
from dqn.learning.factory import Agent, make_agent_for
from dqn.learning.learner import Learner
from dqn.replay.buffer import Replay
from dqn.run.resume import StoppedEarly
from dqn.scale.rollouts import Rollout, Weights
from dqn.scale.workers import Snapshot, Workers
from dqn.types import F64, I64, Array, State

log = logging.getLogger("dqn")


class RolloutEngine:
    """The engine of N environments that workers have already played: it returns what they saw."""

    def __init__(self, spec: envs.Spec, num_envs: int, workers: Workers) -> None:
        self.spec = spec
        self.num_envs = num_envs
        self.remaining = 0
        """Turns that have been loaded and not received."""
        self._workers = workers

    def load(self, rollout: Rollout) -> None:
        """The turns that come next."""
        self._rollout = rollout
        self.remaining = len(rollout.action)

    @property
    def action(self) -> I64:
        """``[N]`` of the next turn."""
        action: I64 = self._rollout.action[-self.remaining]
        return action

    def reset(self, seed: I64) -> EngineStep:  # noqa: ARG002  the workers derive the same seeds
        return self._workers.reset()

    def send(self, action: I64, seed: I64) -> None:
        """Nothing: the workers have sent the same."""

    def receive(self) -> EngineStep:
        step = EngineStep(*(part[-self.remaining] for part in self._rollout.steps))
        self.remaining -= 1
        return step

    def close(self) -> None:
        self._workers.close()


class DistributedEnvironment(envs.Environment):
    """N environments that workers play: the same time steps, and the same state to save."""

    def _replay(self, state: State) -> EngineStep:
        """The last step, as saved: the workers return to it, and compare, with the actor."""
        timestep = state["timestep"]
        frame, never = timestep["stack"][:, -1], np.zeros(self.num_envs, bool)
        return EngineStep(frame, timestep["reward"], timestep["last"], never, state["lives"])


class DistributedActor:
    """The policy of the workers: returns the actions that they chose, and sends them new weights.

    Its random draws are those of the workers, so that its state is theirs.
    """

    def __init__(
        self,
        config: Config,
        draws: Actor,
        replay: Replay,
        environment: DistributedEnvironment,
        engine: RolloutEngine,
        workers: Workers,
        weights: Callable[[], Weights],
    ) -> None:
        """``draws`` makes the random draws; ``weights`` returns the learner's."""
        self._replay = replay
        self._num_envs = config.num_envs
        self._length = config.distributed.round_length
        self._lag = config.distributed.lag
        self._draws = draws
        self._environment = environment
        self._engine = engine
        self._workers = workers
        self._weights = weights
        self._sent = deque([weights() for _ in range(self._lag + 1)], self._lag + 1)
        """The weights of this round and of those after it, up to the newest that are known."""

    def ready(self) -> bool:
        """Whether the next turn is there: at the beginning of a round, send the workers the newest
        weights and wait for what they played."""
        if self._engine.remaining:
            return True
        sent = self._sent.copy()
        if self._turn % self._length == 0:
            new = 1 if self._turn else self._lag + 1
            sent.extend(self._weights() for _ in range(new))
        self._request_rounds(list(sent))
        try:
            rollout = self._workers.receive(self._snapshot)
        except StoppedEarly:
            return False
        self._engine.load(rollout)
        self._sent = sent
        return True

    def act(self, stack: Array, epsilon: float | F64) -> I64:  # noqa: ARG002  the workers saw it
        """The actions ``[N]`` of the next turn."""
        explore, random = self._draws.draw(self._num_envs, epsilon)
        action = self._engine.action
        assert (action == random)[explore].all(), "a worker drew other random numbers"
        return action

    def begin(self, stack: Array, epsilon: float | F64) -> Callable[[], I64]:
        """They are there already."""
        return functools.partial(self.act, stack, epsilon)

    def state_dict(self) -> State:
        sent = {str(ahead): weights for ahead, weights in enumerate(self._sent)}
        return {"sent": sent, "draws": self._draws.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Restore a ``state_dict``, and with it the workers; those of the environment and the
        replay memory must have been restored."""
        log.info("Restoring the actors' emulators by replaying their recorded actions.")
        self._sent.extend(state["sent"][str(ahead)] for ahead in range(self._lag + 1))
        self._draws.load_state_dict(state["draws"])
        self._workers.restore(self._snapshot())

    @property
    def _turn(self) -> int:
        """The next one."""
        return self._replay.time

    def _request_rounds(self, weights: list[Weights]) -> None:
        """Request all rounds whose weights are known and that were not requested before."""
        this = self._turn // self._length
        for ahead in range(self._workers.outstanding, self._lag + 1):
            begin = max(self._turn, (this + ahead) * self._length)
            turns = (this + ahead + 1) * self._length - begin
            self._workers.request(begin, turns, weights[ahead])

    def _snapshot(self) -> Snapshot:
        return Snapshot(self._turn, self._environment.state_dict(), self._draws.state_dict())


def make_agent(config: Config, device: torch.device, stop: Callable[[], bool]) -> Agent[Learner]:
    """Every part of a run whose environments are played by ``config.actors`` workers; Ray must be
    connected. ``stop`` says whether the run has been asked to stop.

    Raises:
        ConfigError: the cluster has too few CPUs, a worker cannot start, or as
            ``factory.make_agent``.
        StoppedEarly: the run was asked to stop.
    """
    one = envs.make(config, 1)
    one.close()
    workers = Workers(config, stop)
    engine = RolloutEngine(one.spec, config.num_envs, workers)
    environment = DistributedEnvironment(engine, config.env)
    agent = make_agent_for(environment, config, device)
    assert isinstance(agent.actor, Actor)
    online = agent.learner.online

    def weights() -> Weights:
        return {
            name: np.array(value.numpy(force=True), order="C")
            for name, value in online.state_dict().items()
        }

    actor = DistributedActor(
        config, agent.actor, agent.replay, environment, engine, workers, weights
    )
    return dataclasses.replace(agent, actor=actor)
