"""Play one episode and record its screens."""

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from dqn.config import Config, ConfigError
from dqn.envs import ScreenEnvironment
from dqn.evaluation.evaluate import Progress, ignore_progress
from dqn.evaluation.recorders import PNG_LIMIT, PngFolder, Recorder
from dqn.evaluation.stuck import StuckGames
from dqn.evaluation.video import Video
from dqn.learning.interfaces import MakePolicy
from dqn.seeds import numpy_generator
from dqn.types import I64, Array

log = logging.getLogger("dqn")

PLAY = "play command"
"""Owner of the seeds of ``play`` and ``watch``, which with equal ones show the same game."""


class EpisodeRecord(NamedTuple):
    """Result of one episode."""

    return_: float
    """Sum of the raw rewards."""
    length: int
    """Number of decisions, and so of screens recorded before the final one."""
    finished: bool
    """Whether the episode was played to its end, or cut."""
    cut: bool
    """Whether it was stuck and cut off."""
    frames_per_second: int
    """Decisions per second at the game's own pace."""


def play_episode(
    environment: ScreenEnvironment,
    choose: Callable[[Array], I64],
    seed: int,
    owner: str,
    recorders: Sequence[Recorder],
    stop: Callable[[], bool] = lambda: False,
    limit: int | None = None,
    progress: Progress = ignore_progress,
) -> EpisodeRecord:
    """Play one episode (a whole game, not a life) and record the screen before each decision, then
    the final screen.

    The environment is reset with ``seed`` and ``owner``: the same two give the same game.
    ``choose`` maps a stack ``[1, S, *frame]`` to an action ``[1]``. ``stop`` is asked before each
    decision; True ends the episode early. An episode that goes ``limit`` steps without a reward is
    cut. Exceptions of a recorder propagate.
    """
    timestep = environment.reset(seed, owner)
    total, length, cut = 0.0, 0, False
    stuck_games = StuckGames(limit, 1)
    while not timestep.last[0] and not cut and not stop():
        screen = environment.screen()
        for recorder in recorders:
            recorder.add(screen)
        timestep = environment.step(choose(timestep.stack))
        total += float(timestep.reward[0])
        length += 1
        cut = bool(stuck_games.after(timestep)[0])
        progress(0, length, total)
    finished = bool(timestep.last[0]) or cut
    if finished:
        for recorder in recorders:
            recorder.end(environment.screen())
    return EpisodeRecord(total, length, finished, cut, environment.decisions_per_second)


def render_evaluation(
    make_policy: MakePolicy,
    config: Config,
    step: int,
    folder: Path,
    index: int,
    stop: Callable[[], bool] = lambda: False,
    progress: Progress = ignore_progress,
) -> EpisodeRecord | None:
    """Record an episode as ``folder/eval_001/000000.png ...`` and ``folder/eval_001.mp4``.

    Like an evaluation, it depends only on the weights, the run's seed and the step, and does not
    affect training. If one of the two recordings fails (disk full, encoder missing), a warning is
    logged and the other continues. Returns None if the episode was stopped, or both recordings or
    the renderer failed; nothing is left on disk then.
    """
    name = f"eval_{index:03d}"
    try:
        return _render(make_policy, config, step, folder / name, stop, progress)
    except Exception as error:  # whatever a game's renderer raises
        reason = error if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
        log.warning("Cannot record %s: %s.", name, reason)
        return None


def _render(
    make_policy: MakePolicy,
    config: Config,
    step: int,
    path: Path,
    stop: Callable[[], bool],
    progress: Progress,
) -> EpisodeRecord | None:
    environment = ScreenEnvironment(config)
    policy = make_policy(numpy_generator(config.seed, "render actor", step))
    rate = environment.decisions_per_second
    pictures = BestEffort(f"{path.name}/", lambda: PngFolder(path, PNG_LIMIT))
    video = BestEffort(f"{path.name}.mp4", lambda: Video(path.with_suffix(".mp4"), rate))
    with closing(environment), pictures, video:
        record = play_episode(
            environment,
            lambda stack: policy.act(stack, config.evaluation.epsilon),
            config.seed,
            f"render {step}",
            (pictures, video),
            lambda: stop() or (pictures.failed and video.failed),
            config.evaluation.max_steps_without_reward,
            progress,
        )
        if not record.finished:
            pictures.discard()
            video.discard()
    return None if not record.finished or (pictures.failed and video.failed) else record


class BestEffort(Recorder):
    """Wraps a recorder that may fail: its first error is logged, and later screens are ignored."""

    def __init__(self, name: str, make: Callable[[], Recorder]) -> None:
        self._name = name
        self._recorder: Recorder | None = None
        self.failed = False
        try:
            self._recorder = make()
        except (OSError, ConfigError) as error:
            self._fail(error)

    def add(self, screen: Array) -> None:
        self._attempt(lambda recorder: recorder.add(screen))

    def end(self, screen: Array) -> None:
        self._attempt(lambda recorder: recorder.end(screen))

    def close(self) -> None:
        self._attempt(lambda recorder: recorder.close())

    def discard(self) -> None:
        if self._recorder:
            self._recorder.discard()
        self._recorder = None

    def _attempt(self, call: Callable[[Recorder], None]) -> None:
        if self._recorder:
            try:
                call(self._recorder)
            except (OSError, ConfigError) as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.failed = True
        log.warning("Cannot record %s: %s.", self._name, error)
        self.discard()
