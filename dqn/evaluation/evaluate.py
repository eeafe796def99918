"""Scores of whole episodes under a fixed protocol.

An evaluation depends only on the weights, the run's seed and the step: it has its own environments
and generators, so it does not affect training and can be repeated.
"""

import dataclasses
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dqn import envs
from dqn.config import Config
from dqn.config.words import counted
from dqn.envs.names import protocol_name
from dqn.evaluation import scores
from dqn.evaluation.stuck import StuckGames
from dqn.learning.interfaces import MakePolicy, QValues
from dqn.seeds import numpy_generator
from dqn.types import I64, Array

Progress = Callable[[int, int, float | None], None]
"""Called after every step with the number of finished games, the steps of all games, and the best
return of the finished ones; of a single recorded game, its return so far."""


def ignore_progress(done: int, steps: int, best: float | None) -> None:
    """A Progress that does nothing."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of whole episodes and the protocol they were played under."""

    game: str
    step: int
    protocol: str
    epsilon: float
    returns: list[float]
    """Raw score of each episode."""
    lengths: list[int]
    """Steps of each episode."""
    cut: int
    """Number of episodes that were stuck and cut off."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def median(self) -> float:
        return float(np.median(self.returns))

    @property
    def human_normalised(self) -> float | None:
        """The mean, scaled to 0 for random play and 1 for a human; None if not published."""
        return scores.human_normalised(self.game, self.mean)

    def as_json(self) -> dict[str, Any]:
        """Every field and statistic; nothing that depends on the clock. ``cut`` only if any was."""
        fields = dataclasses.asdict(self)
        if not self.cut:
            del fields["cut"]
        return fields | {
            "mean": self.mean,
            "median": self.median,
            "human_normalised": self.human_normalised,
        }


def evaluate(
    make_policy: MakePolicy,
    config: Config,
    step: int,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = ignore_progress,
    owner: str = "evaluation",
) -> Evaluation | None:
    """Play one whole episode in each of ``evaluation.episodes`` environments.

    Only the first episode of each counts: counting episodes as they end would favor short ones.
    One that is stuck (``evaluation.max_steps_without_reward``) is cut off and keeps its return.
    ``owner`` names the seeds; another owner gets other games. Returns None if ``stop()`` became
    true before the end.
    """
    settings, n = config.evaluation, config.evaluation.episodes
    policy = make_policy(numpy_generator(config.seed, f"{owner} actor", step))
    returns, lengths = np.zeros(n), np.zeros(n, np.int64)
    limit, cut = settings.max_steps_without_reward, 0
    stuck_games = StuckGames(limit, n)
    with closing(envs.make(config, n)) as environment:
        timestep = environment.reset(config.seed, f"{owner} {step}")
        playing = np.ones(n, bool)
        while playing.any():
            if stop():
                return None
            action = np.zeros(n, np.int64)
            action[playing] = policy.act(timestep.stack[playing], settings.epsilon)
            environment.send(action)
            timestep = environment.receive()
            returns += timestep.reward * playing
            lengths += playing
            playing &= ~timestep.last
            stuck = playing & stuck_games.after(timestep)
            cut += int(stuck.sum())
            playing &= ~stuck
            done = ~playing
            progress(int(done.sum()), int(lengths.sum()), max(returns[done], default=None))
    game, protocol = environment.spec.game, protocol_name(config, environment.spec.atari)
    if cut:
        protocol += f", stuck games cut after {counted(limit or 0, 'step')} without reward"
    played = returns.tolist(), lengths.tolist()
    return Evaluation(game, step, protocol, settings.epsilon, *played, cut)


def held_out_states(config: Config) -> torch.Tensor:
    """States visited by random play, ``[M, S, *frame]``, the same for every run with that seed.

    Their mean max Q shows whether values grow, settle or diverge (Mnih et al. 2015, figure 2).
    """
    generator = numpy_generator(config.seed, "held-out states")

    def choose(environment: envs.Environment) -> I64:
        return generator.integers(environment.spec.num_actions, size=environment.num_envs)

    return _visited(config, config.evaluation.held_out_states, 4, "held-out states", choose)


def played_states(make_policy: MakePolicy, config: Config, count: int, owner: str) -> torch.Tensor:
    """``count`` states that the policy meets early in up to 8 games, under the
    protocol of evaluations: ``[M, S, *frame]``. ``owner`` names the seeds."""
    policy = make_policy(numpy_generator(config.seed, f"{owner} actor"))

    def choose(environment: envs.Environment) -> I64:
        return policy.act(environment.timestep.stack, config.evaluation.epsilon)

    return _visited(config, count, 16, owner, choose)


def _visited(
    config: Config,
    count: int,
    spacing: int,
    owner: str,
    choose: Callable[[envs.Environment], I64],
) -> torch.Tensor:
    """Every ``spacing``-th state of up to 8 environments, ``count`` in all."""
    n = min(count, 8)
    stacks: list[Array] = []
    with closing(envs.make(config, n)) as environment:
        environment.reset(config.seed, owner)
        while n * len(stacks) < count:
            for _ in range(spacing):
                environment.send(choose(environment))
                timestep = environment.receive()
            stacks.append(timestep.stack)
    return torch.from_numpy(np.concatenate(stacks)[:count])


def mean_max_q(q_values: QValues, states: torch.Tensor, device: torch.device) -> float:
    """Mean over ``states [M, S, *frame]`` of the largest Q-value."""
    with torch.inference_mode():
        best = [q_values(part.to(device)).amax(1).cpu() for part in states.split(64)]
    return float(torch.cat(best).double().mean())
