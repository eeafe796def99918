"""``play RUN``: watch a trained agent play."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path

from dqn import envs
from dqn.commands.evaluate import make_model
from dqn.config import ConfigError
from dqn.config.commands import PlayOptions
from dqn.config.words import counted
from dqn.device import resolve_device, use_precision, use_threads
from dqn.evaluation.episode import PLAY, play_episode
from dqn.evaluation.gif import Gif
from dqn.evaluation.recorders import PngFolder, Recorder, Window
from dqn.evaluation.video import Video
from dqn.report.progress import GamesBar
from dqn.run.process import log_to_terminal
from dqn.seeds import numpy_generator
from dqn.storage.files import why_unwritable
from dqn.storage.saved_run import load_agent


def run(options: PlayOptions) -> int:
    """Play one game and record it in each of the given ways.

    Raises:
        ConfigError: as ``load_agent``, no way to show the game is given, or one is unavailable.
    """
    files, seed = (options.video, options.gif, options.png), options.seed
    log_to_terminal()
    agent = load_agent(make_model, options.run, options.checkpoint, resolve_device(options.device))
    if not (any(files) or options.window):
        raise ConfigError(
            "play needs at least one of --video FILE.mp4, --gif FILE.gif, --png FOLDER, --window"
        )
    config = dataclasses.replace(agent.config, seed=seed)
    use_threads(config.threads)
    use_precision(config.precision)
    environment = envs.ScreenEnvironment(config)
    rate = environment.decisions_per_second
    try:
        policy = agent.model.make_policy(numpy_generator(seed, f"{PLAY} actor"))
        with ExitStack() as stack:
            recorders: list[Recorder] = []
            if options.video:
                recorders.append(stack.enter_context(Video(options.video, rate)))
            if options.gif:
                recorders.append(stack.enter_context(Gif(options.gif, rate)))
            if options.png:
                recorders.append(stack.enter_context(PngFolder(options.png)))
            window = Window(environment.spec.game, rate) if options.window else None
            if window:
                recorders.append(stack.enter_context(window))
            bar = stack.enter_context(GamesBar("playing", 1))
            record = play_episode(
                environment,
                lambda frames: policy.act(frames, config.evaluation.epsilon),
                seed,
                PLAY,
                recorders,
                window.closed if window else lambda: False,
                config.evaluation.max_steps_without_reward,
                bar,
            )
    except OSError as error:
        named = [file for file in files if file and Path(file).name in str(error.filename)]
        file = named[0] if named else error.filename  # rather than the part beside it
        reason = why_unwritable(file, error) if error.strerror else error
        raise ConfigError(f"cannot record the game: {reason}") from None
    finally:
        environment.close()  # after the window, because Gymnasium's renderer quits pygame
    print(
        f"{environment.spec.game}, {agent.name}, step {agent.step:,}: a return of "
        f"{record.return_:g} in {counted(record.length, 'step')}"
        + ", then cut: no reward for too long" * record.cut
        + "".join(f"; wrote {name}" for name in files if name)
    )
    return 0
