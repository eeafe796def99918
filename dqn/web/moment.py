"""One moment of a game as a message: everything the page shows, so that any may be left out."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dqn.evaluation.recorders import as_png
from dqn.types import F32, Array
from dqn.web.game import Game
from dqn.web.keyboard import action_of
from dqn.web.messages import pack
from dqn.web.saliency import Saliency

RED = (255, 40, 40)
"""Color of the places that matter."""


@dataclass
class Controls:
    """What the page has set."""

    paused: bool = False
    speed: float = 1.0
    human: bool = False
    keys: frozenset[str] = frozenset()
    """Those pressed, see ``keyboard``."""
    saliency: bool = False
    obeyed: int = 0
    """Commands so far: the page's own settings hold until it has been obeyed."""
    notice: str = ""
    """Something that the person should know."""


class Moment(NamedTuple):
    """What a page is sent; most of a fast game's are never asked for, so that pictures are
    compressed only then."""

    state: dict[str, Any]
    pictures: list[tuple[str, Array]]

    def packed(self) -> bytes:
        """The binary message."""
        return pack(self.state, [(name, as_png(picture)) for name, picture in self.pictures])


def moment(
    name: str, game: Game, controls: Controls, checkpoints: list[str], saliency: Saliency | None
) -> Moment:
    """The present, for a run's page."""
    environment, estimate = game.environment, game.estimate
    state = {
        "run": name,
        "game": environment.spec.game,
        "actions": environment.action_names,
        "decisions_per_second": environment.decisions_per_second,
        "checkpoint": game.agent.name,
        "trained": game.agent.step,
        "checkpoints": checkpoints,
        "seed": str(game.seed),  # see messages
        "step": game.length,
        "return": _finite(game.total),
        "over": game.over,
        "cut": game.cut,
        "epsilon": game.epsilon,
        "kind": estimate.kind,
        "numbers": [_finite(x) for x in estimate.numbers],
        "choice": game.choice,
        "random": bool(estimate.numbers[game.choice] < estimate.numbers.max()),
        "last": game.last,
        "by_hand": game.decisions_by_hand,
        "agreed": game.agreed,
        "distribution": _distribution(estimate.distribution),
        "paused": controls.paused,
        "speed": controls.speed,
        "human": controls.human,
        "hand": action_of(controls.keys, environment.action_names),
        "saliency": controls.saliency and saliency is not None,
        "has_saliency": saliency is not None,
        "obeyed": controls.obeyed,
        "notice": controls.notice,
    }
    pictures = [("screen", screen) for screen in game.screens]
    if game.stack.ndim == 4 and game.stack.dtype == np.uint8:
        pictures.append(("stack", np.hstack(list(game.stack[0]))))
    else:
        state["observation"] = [_finite(f"{x:.4g}") for x in game.stack[0].ravel()[:64]]
    if controls.saliency and saliency and saliency.map is not None:
        pictures.append(("saliency", overlay(saliency.map)))
    return Moment(state, pictures)


def overlay(saliency: F32) -> Array:
    """``[G, G]`` in 0..1 -> RGBA, opaque where it is 1."""
    picture = np.empty((*saliency.shape, 4), np.uint8)
    picture[..., :3] = RED
    picture[..., 3] = np.round(255 * saliency)
    return picture


def _finite(number: Any) -> float | None:
    """JSON has no other numbers."""
    number = float(number)
    return number if math.isfinite(number) else None


def _distribution(distribution: tuple[F32, F32] | None) -> dict[str, Any] | None:
    if distribution is None:
        return None
    returns, probabilities = distribution
    return {"returns": _short(returns), "probabilities": _short(probabilities)}


def _short(numbers: F32) -> list[list[float | None]]:
    return [[_finite(f"{x:.4g}") for x in row] for row in numbers]
