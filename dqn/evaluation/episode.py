"""Pictures and films of one episode.

An episode is played once, and the screen of each decision goes to any number of sinks.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from dqn.config import Config, ConfigError
from dqn.envs import ScreenEnvironment
from dqn.evaluation.recorders import PngFolder, Sink
from dqn.evaluation.video import Video
from dqn.learning.actor import MakePolicy
from dqn.seeds import numpy_generator
from dqn.types import I64, Array

log = logging.getLogger("dqn")


class EpisodeRecord(NamedTuple):
    """What came of one episode."""

    return_: float
    """Sum of the raw rewards."""
    length: int
    """Steps, and screens handed to each sink: one for each decision, the end apart."""


def never() -> bool:
    """The episode is played to its end."""
    return False


def play_episode(
    environment: ScreenEnvironment,
    choose: Callable[[Array], I64],
    seed: int,
    owner: str,
    sinks: Sequence[Sink],
    stop: Callable[[], bool] = never,
) -> EpisodeRecord:
    """Play one whole episode (the game, not a life) and show each sink what each decision saw, and
    the end.

    The environment is reset here with ``seed`` and ``owner``, so the same two show the same game.
    ``choose`` takes a stack ``[1, S, *frame]`` and returns an action ``[1]``. ``stop`` is asked
    before each decision, and True ends the episode there. What a sink raises ends it too.
    """
    timestep = environment.reset(seed, owner)
    total, length = 0.0, 0
    while not timestep.last[0] and not stop():
        screen = environment.screen()
        for sink in sinks:
            sink.add(screen)
        timestep = environment.step(choose(timestep.stack))
        total += float(timestep.reward[0])
        length += 1
    if timestep.last[0]:
        for sink in sinks:
            sink.end(environment.screen())
    return EpisodeRecord(total, length)


def render_evaluation(
    make_policy: MakePolicy,
    config: Config,
    step: int,
    folder: Path,
    index: int,
    stop: Callable[[], bool] = never,
) -> EpisodeRecord | None:
    """Play an episode into ``folder/eval_001/000000.png ...`` and ``folder/eval_001.mp4``.

    Like an evaluation it is a function of what is learned, the run's seed and the step, and leaves
    no trace in the training. Pictures never cost the training either: where one of the two fails
    (disk full, encoder missing) that is one line in the log, its remains are removed, and the
    other goes on. Returns None if it was stopped or if both failed; then nothing is left of it.
    """
    name = f"eval_{index:03d}"
    try:
        environment = ScreenEnvironment(config)
    except ConfigError as error:
        log.warning("No %s this time: %s.", name, error)
        return None
    player = make_policy(numpy_generator(config.seed, "render actor", step))
    rate = environment.decisions_per_second
    pictures = _Spared(f"{name}/", lambda: PngFolder(folder / name))
    video = _Spared(f"{name}.mp4", lambda: Video(folder / f"{name}.mp4", rate))
    stopped = False

    def over() -> bool:
        nonlocal stopped
        stopped = stopped or stop() or (pictures.failed and video.failed)
        return stopped

    with closing(environment), pictures, video:
        record = play_episode(
            environment,
            lambda stack: player.act(stack, config.evaluation.epsilon),
            config.seed,
            f"render {step}",
            (pictures, video),
            over,
        )
        if stopped:
            pictures.discard()
            video.discard()
    return None if stopped or (pictures.failed and video.failed) else record


class _Spared(Sink):
    """A sink whose failure is a line in the log, after which it takes screens and does nothing."""

    def __init__(self, what: str, make: Callable[[], Sink]) -> None:
        self._what = what
        self._sink: Sink | None = None
        self.failed = False
        with self._spare():
            self._sink = make()

    def add(self, screen: Array) -> None:
        with self._spare():
            if self._sink:
                self._sink.add(screen)

    def end(self, screen: Array) -> None:
        with self._spare():
            if self._sink:
                self._sink.end(screen)

    def close(self) -> None:
        with self._spare():
            if self._sink:
                self._sink.close()

    def discard(self) -> None:
        if self._sink:
            self._sink.discard()
        self._sink = None

    @contextmanager
    def _spare(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ConfigError) as error:
            self.failed = True
            log.warning("No %s this time: %s.", self._what, error)
            self.discard()
