"""``play RUN``: watch a trained network."""

import dataclasses
from contextlib import ExitStack
from pathlib import Path

from dqn import envs
from dqn.config import ConfigError
from dqn.config.validation import validate
from dqn.device import resolve_device, use_threads
from dqn.evaluation.episode import play_episode
from dqn.evaluation.recorders import PngFolder, Sink, Window
from dqn.evaluation.video import Gif, Video
from dqn.learning.interfaces import MakeModel
from dqn.seeds import numpy_generator
from dqn.storage.saved_run import load_agent, run_config


def play_run(
    make_model: MakeModel,
    run: str,
    which: str,
    seed: int,
    device_name: str,
    *,
    video: str | None,
    gif: str | None,
    png: str | None,
    window: bool,
) -> int:
    """Play one game with a saved network and show it wherever was asked for. ``make_model`` is
    that of the run's method.

    Raises:
        ConfigError: as ``load_agent``, nothing to show it on, or no way to.
    """
    if not (video or gif or png or window):
        raise ConfigError("play shows a game with --video FILE, --gif FILE, --png FOLDER, --window")
    device = resolve_device(device_name)
    config = run_config(Path(run))
    validate(dataclasses.replace(config, seed=seed))
    agent = load_agent(make_model, run, which, device)
    use_threads(config.threads)
    environment = envs.ScreenEnvironment(config)
    player = agent.model.make_policy(numpy_generator(seed, "play command actor"))
    rate = environment.decisions_per_second
    try:
        with ExitStack() as stack:
            sinks: list[Sink] = []
            if video:
                sinks.append(stack.enter_context(Video(video, rate)))
            if gif:
                sinks.append(stack.enter_context(Gif(gif, rate)))
            if png:
                sinks.append(stack.enter_context(PngFolder(png)))
            shown = Window(environment.spec.game, rate) if window else None
            if shown:
                sinks.append(stack.enter_context(shown))
            record = play_episode(
                environment,
                lambda frames: player.act(frames, config.evaluation.epsilon),
                seed,
                "play command",
                sinks,
                stop=shown.closed if shown else lambda: False,
            )
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.strerror else error
        raise ConfigError(f"cannot write the pictures: {reason}") from None
    finally:
        environment.close()  # after the window: Gymnasium's own drawing ends pygame as a whole
    print(
        f"{environment.spec.game}, {agent.name}, step {agent.step:,}: a return of "
        f"{record.return_:g} in {record.length:,} steps"
        + "".join(f"; {name} is written" for name in (video, gif, png) if name)
    )
    return 0
