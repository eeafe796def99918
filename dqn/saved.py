"""A finished or still running run, read from outside: its config and one of its networks.

Readers need no lock. A running run may delete the checkpoint that is being read; then the next
newest is taken.
"""

import dataclasses
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from dqn import envs, scores
from dqn.action_values import Expected
from dqn.actor import Actor
from dqn.agent import make_q_network
from dqn.checkpoint import Checkpoints, Damaged, read_meta, read_verified
from dqn.config import Config, ConfigError
from dqn.device import resolve_device
from dqn.evaluate import QValues, evaluate
from dqn.films import Gif, Video
from dqn.networks import QNetwork
from dqn.options import load_config
from dqn.render import play_episode
from dqn.schedule import numpy_generator
from dqn.sinks import PngFolder, Sink, Window


@dataclass(frozen=True)
class SavedAgent:
    """A network as it was at some step, and the config it was trained under."""

    config: Config
    name: str
    """Which one it is: ``best``, ``step_000250000``."""
    step: int
    q_values: QValues


def evaluate_run(
    run: str, which: str, episodes: int | None, seed: int, device_name: str, json_file: str | None
) -> int:
    """Score a saved network on whole games of its own protocol, and print the scores.

    Raises:
        ConfigError: as ``load_agent``, or the JSON file cannot be written.
    """
    device = resolve_device(device_name)
    agent = load_agent(run, which, device)
    settings = agent.config.evaluation
    config = dataclasses.replace(
        agent.config,
        seed=seed,
        evaluation=dataclasses.replace(settings, episodes=episodes or settings.episodes),
    )
    result = evaluate(agent.q_values, config, device, agent.step, owner="evaluate command")
    assert result is not None, "nobody stops it"
    mean, low, high = scores.mean_interval(result.returns)
    print(
        f"{result.game}, {run}, {agent.name}, step {agent.step:,}: mean {mean:.1f} "
        f"(95% interval {low:.1f} to {high:.1f}), median {result.median:.1f}, "
        f"min {min(result.returns):.1f}, max {max(result.returns):.1f} over "
        f"{len(result.returns)} episodes; protocol {result.protocol}, epsilon {result.epsilon:g}, "
        f"seed {seed}"
    )
    if result.human_normalised is not None:
        print(f"human-normalised {100 * result.human_normalised:.1f}% (0: random, 100: human)")
    if json_file:
        try:
            Path(json_file).write_text(json.dumps(result.as_json(), indent=1) + "\n")
        except OSError as error:
            raise ConfigError(f"cannot write {json_file}: {error.strerror}") from None
    return 0


def play_run(
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
    """Play one game with a saved network and show it wherever was asked for.

    Raises:
        ConfigError: as ``load_agent``, nothing to show it on, or no way to.
    """
    if not (video or gif or png or window):
        raise ConfigError("play shows a game with --video FILE, --gif FILE, --png FOLDER, --window")
    device = resolve_device(device_name)
    agent = load_agent(run, which, device)
    config = agent.config
    environment = envs.ScreenEnvironment(config)
    generator = numpy_generator(seed, "play command actor")
    actor = Actor(agent.q_values, environment.spec.num_actions, generator, device)
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
                lambda frames: actor.act(frames, config.evaluation.epsilon),
                seed,
                "play command",
                sinks,
                stop=shown.closed if shown else lambda: False,
            )
    except OSError as error:
        raise ConfigError(f"cannot write the pictures: {error}") from None
    finally:
        environment.close()  # after the window: Gymnasium's own drawing ends pygame as a whole
    print(
        f"{environment.spec.game}, {agent.name}, step {agent.step:,}: a return of "
        f"{record.return_:g} in {record.length:,} steps"
    )
    return 0


def load_agent(run: str, which: str, device: torch.device) -> SavedAgent:
    """Load ``latest``, ``best`` or a step's network from a run's folder.

    A shipped agent has ``best`` alone, which is then the latest too.

    Raises:
        ConfigError: no run there, no such checkpoint, or it is damaged or of another game.
    """
    folder = Path(run)
    config = run_config(folder)
    spec = _spec(config)
    candidates = _candidates(folder, which)
    problem = "it has no checkpoint yet"
    for candidate in candidates:
        try:
            meta = read_meta(candidate)
            tensors = safetensors.torch.load(read_verified(candidate, meta, "model.safetensors"))
        except Damaged as damage:
            problem = str(damage)
            continue
        network, values = make_q_network(config, spec)
        expected = network.state_dict()
        shapes = {name: list(value.shape) for name, value in tensors.items()}
        if meta.get("game") != spec.game or shapes != {
            k: list(v.shape) for k, v in expected.items()
        }:
            raise ConfigError(
                f"{candidate} does not fit {folder}/config.yaml: it is of {meta.get('game')} "
                f"with {meta.get('num_actions')} actions"
            )
        network.load_state_dict(tensors)
        return SavedAgent(config, candidate.name, meta["step"], _q_values(network, values, device))
    raise ConfigError(f"no whole checkpoint ({which}) in {folder}: {problem}")


def _q_values(network: QNetwork, values: Expected, device: torch.device) -> QValues:
    network.place(device).requires_grad_(False)
    return lambda state: values.q(network(state))


def run_config(folder: Path) -> Config:
    """The config of a run's folder.

    Raises:
        ConfigError: there is no run there.
    """
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder} is no run's folder: it has no config.yaml")
    return load_config(folder / "config.yaml")


def _spec(config: Config) -> envs.Spec:
    environment = envs.make(config, 1)
    environment.close()
    return environment.spec


def _candidates(folder: Path, which: str) -> list[Path]:
    checkpoints = Checkpoints(folder, "all").newest_first()
    if which == "latest":
        return checkpoints or [folder / "best"]
    if which == "best":
        return [folder / "best"]
    if not which.isdigit():
        raise ConfigError(f"--checkpoint must be latest, best or a step, not {which!r}")
    named = [path for path in checkpoints if int(path.name[5:]) == int(which)]
    if not named:
        held = ", ".join(f"{int(path.name[5:]):,}" for path in checkpoints) or "none"
        raise ConfigError(f"no checkpoint of step {int(which):,} in {folder}; there are: {held}")
    return named
