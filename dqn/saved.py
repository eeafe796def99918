"""A finished or still running run, read from outside: its config and one of its networks.

Readers need no lock. A running run may delete the checkpoint that is being read; then the next
newest is taken.
"""

import dataclasses
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from dqn import envs, scores
from dqn.about import in_words
from dqn.checkpoint import Checkpoints
from dqn.config import Config, ConfigError
from dqn.device import resolve_device, use_threads
from dqn.evaluate import evaluate
from dqn.films import Gif, Video
from dqn.method import MakeModel, Model
from dqn.options import load_config
from dqn.render import play_episode
from dqn.sealed import Damaged, read_meta, read_tensors
from dqn.seeds import numpy_generator
from dqn.sinks import PngFolder, Sink, Window
from dqn.validation import validate
from dqn.yaml_files import NUMBER, number


@dataclass(frozen=True)
class SavedAgent:
    """A network or table as it was at some step, and the config it was trained under."""

    config: Config
    name: str
    """Which one it is: ``best``, ``step_000250000``."""
    step: int
    model: Model


def evaluate_run(
    make_model: MakeModel,
    run: str,
    which: str,
    episodes: int | None,
    seed: int,
    device_name: str,
    json_file: str | None,
) -> int:
    """Score a saved network on whole games of its own protocol, and print the scores.
    ``make_model`` is that of the run's method.

    Raises:
        ConfigError: as ``load_agent``, or the JSON file cannot be written.
    """
    device = resolve_device(device_name)
    config = run_config(Path(run))
    settings = config.evaluation
    if episodes is not None:
        settings = dataclasses.replace(settings, episodes=episodes)
    config = dataclasses.replace(config, seed=seed, evaluation=settings)
    validate(config)
    agent = load_agent(make_model, run, which, device)
    if json_file:
        write_report(
            Path(json_file), ""
        )  # what cannot be written is known before anything is played
    use_threads(config.threads)
    result = evaluate(agent.model.player, config, agent.step, owner="evaluate command")
    assert result is not None, "nobody stops it"
    print(
        f"{result.game}, {run}, {agent.name}, step {agent.step:,}: mean {result.mean:.1f}"
        f"{_interval(result.returns)}, median {result.median:.1f}, "
        f"min {min(result.returns):.1f}, max {max(result.returns):.1f} over "
        f"{len(result.returns)} episodes; protocol {result.protocol}, epsilon {result.epsilon:g}, "
        f"seed {seed}"
    )
    if result.human_normalised is not None:
        print(f"human-normalised {100 * result.human_normalised:.1f}% (0: random, 100: human)")
    if json_file:
        source = {"run": run, "checkpoint": agent.name, "seed": seed}
        write_report(Path(json_file), json.dumps(source | result.as_json(), indent=1) + "\n")
    return 0


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
    player = agent.model.player(numpy_generator(seed, "play command actor"))
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


def _interval(returns: Sequence[float]) -> str:
    if len(returns) < 2:
        return ""
    _, low, high = scores.mean_interval(returns)
    return f" (95% interval {low:.1f} to {high:.1f})"


def load_agent(make_model: MakeModel, run: str, which: str, device: torch.device) -> SavedAgent:
    """Load ``latest``, ``best`` or a step's network from a run's folder.

    A shipped agent has ``best`` alone, which is then the latest too.

    Raises:
        ConfigError: no run there, no such checkpoint, or it is damaged or of another game.
    """
    folder = Path(run)
    config = run_config(folder)
    spec = _spec(config)
    problems: list[str] = []
    for candidate in _candidates_of_running_run(folder, which):
        try:
            meta = read_meta(candidate)
            tensors = read_tensors(candidate, meta, "model.safetensors")
        except Damaged as damage:
            problems.append(str(damage))
            continue
        model = make_model(config, spec, device)
        if meta["game"] != spec.game or meta["num_actions"] != spec.num_actions:
            raise ConfigError(
                f"{candidate} does not fit {folder}/config.yaml: it is of "
                f"{in_words(meta['game'])} with {meta['num_actions']} actions"
            )
        if _shapes(tensors) != _shapes(model.state_dict()):
            raise ConfigError(
                f"{candidate} does not fit {folder}/config.yaml: its network has other layers, or "
                "the program that saved it kept them in another way"
            )
        model.load_state_dict(tensors)
        for problem in dict.fromkeys(problems):
            print(f"warning: {problem}: taking {candidate.name}", file=sys.stderr)
        return SavedAgent(config, candidate.name, meta["step"], model)
    if not problems:
        raise ConfigError(f"{folder} has no checkpoint ({which}) yet")
    raise ConfigError(f"no checkpoint in {folder} is whole: {'; '.join(dict.fromkeys(problems))}")


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, torch.Size]]:
    return {name: (value.dtype, value.shape) for name, value in tensors.items()}


def write_report(file: Path, text: str) -> None:
    """Replace a file's text; an empty text only tries whether it could be.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        with open(file, "w" if text else "a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}; name another file") from None


def run_config(folder: Path) -> Config:
    """The config of a run's folder.

    Raises:
        ConfigError: there is no run there.
    """
    try:
        found = (folder / "config.yaml").is_file()
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror}") from None
    if not found:
        raise ConfigError(f"{folder} is no run's folder: it has no config.yaml")
    return load_config(folder / "config.yaml")


def _spec(config: Config) -> envs.Spec:
    environment = envs.make(config, 1)
    environment.close()
    return environment.spec


def _candidates_of_running_run(folder: Path, which: str) -> Iterator[Path]:
    """What was listed may be deleted or replaced before it is read; then there are newer ones."""
    for moment in range(3):
        time.sleep(0.1 * moment)
        yield from _candidates(folder, which)


def _candidates(folder: Path, which: str) -> list[Path]:
    checkpoints = Checkpoints(folder, "all").newest_first()
    best = [folder / "best"] if (folder / "best").exists() else []
    if which == "latest":
        return checkpoints or best
    if which == "best":
        return best
    step = _step(which)
    named = [path for path in checkpoints if int(path.name[5:]) == step]
    if not named:
        steps = [f"{int(path.name[5:])}" for path in checkpoints]
        held = ", ".join(steps + [path.name for path in best]) or "none"
        raise ConfigError(f"no checkpoint of step {step} in {folder}; there are: {held}")
    return named


def _step(which: str) -> int:
    """``250000``, ``250_000``, ``2.5e5`` or ``step_000250000``."""
    text = which.removeprefix("step_")
    value = number(text) if NUMBER.fullmatch(text) else None
    if isinstance(value, int):
        return value
    if not re.fullmatch(r"\d[\d_]*", text):
        raise ConfigError(f"--checkpoint must be latest, best or a step, not {which}")
    return int(text.replace("_", ""))
