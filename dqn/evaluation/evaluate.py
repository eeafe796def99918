"""Fixed-protocol episodes -> scores.

An evaluation is a function of the network, the run's seed and the step: environments and
generators are made afresh for it, so it leaves no trace in the training and can be repeated.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dqn import envs
from dqn.config import Config
from dqn.envs.protocol import protocol_name
from dqn.evaluation import scores
from dqn.learning.actor import MakePolicy
from dqn.learning.interfaces import QValues
from dqn.seeds import numpy_generator
from dqn.types import Array


@dataclass(frozen=True)
class Evaluation:
    """The scores of whole episodes, and under which protocol they were played."""

    game: str
    step: int
    protocol: str
    epsilon: float
    returns: list[float]
    """Raw score of each episode."""
    lengths: list[int]
    """Steps of each episode."""

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def median(self) -> float:
        """Median return."""
        return float(np.median(self.returns))

    @property
    def human_normalised(self) -> float | None:
        """0 as a random player, 1 as a human tester; None where no such scores are published."""
        return scores.human_normalised(self.game, self.mean)

    def as_json(self) -> dict[str, Any]:
        """Every field and the statistics drawn from them; nothing that depends on the clock."""
        return dataclasses.asdict(self) | {
            "mean": self.mean,
            "median": self.median,
            "human_normalised": self.human_normalised,
        }


def evaluate(
    make_policy: MakePolicy,
    config: Config,
    step: int,
    owner: str = "evaluation",
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Play one whole episode in each of ``evaluation.episodes`` environments.

    The first episode of each counts and no other: counting episodes as they end would favour
    the short ones. ``owner`` names the seeds, so that other owners meet other games. Returns None
    if ``stop()`` became true on the way.
    """
    settings, n = config.evaluation, config.evaluation.episodes
    environment = envs.make(config, n)
    generator = numpy_generator(config.seed, f"{owner} actor", step)
    player = make_policy(generator)
    returns, lengths = np.zeros(n, np.float64), np.zeros(n, np.int64)
    try:
        timestep = environment.reset(config.seed, f"{owner} {step}")
        playing = np.ones(n, bool)
        while playing.any():
            if stop():
                return None
            action = np.zeros(n, np.int64)
            action[playing] = player.act(timestep.stack[playing], settings.epsilon)
            environment.send(action)
            timestep = environment.receive()
            returns += timestep.reward * playing
            lengths += playing
            playing &= ~timestep.last
    finally:
        environment.close()
    return Evaluation(
        game=environment.spec.game,
        step=step,
        protocol=protocol_name(config, environment.spec.atari),
        epsilon=settings.epsilon,
        returns=returns.tolist(),
        lengths=lengths.tolist(),
    )


def held_out_states(config: Config) -> torch.Tensor:
    """States that a random player meets, ``[M, S, *frame]``: the same for every run of a seed.

    The mean over them of the greatest q-value shows whether values grow, settle or explode
    (Mnih et al. 2015, figure 2c and d).
    """
    count, apart = config.evaluation.held_out_states, 4
    n = min(count, 8)
    environment = envs.make(config, n)
    generator = numpy_generator(config.seed, "held-out states")
    picked: list[Array] = []
    try:
        timestep = environment.reset(config.seed, "held-out states")
        while n * len(picked) < count:
            for _ in range(apart):
                environment.send(generator.integers(environment.spec.num_actions, size=n))
                timestep = environment.receive()
            picked.append(timestep.stack)
    finally:
        environment.close()
    return torch.from_numpy(np.concatenate(picked)[:count])


def mean_greatest_q(q_values: QValues, states: torch.Tensor, device: torch.device) -> float:
    """Mean over ``states [M, S, *frame]`` of the greatest q-value."""
    with torch.inference_mode():
        best = [q_values(part.to(device)).amax(1).cpu() for part in states.split(64)]
    return float(torch.cat(best).double().mean())
