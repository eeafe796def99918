"""``evaluate RUN``: score a trained agent on new games."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from dqn import envs
from dqn.config import Config, ConfigError
from dqn.config.commands import EvaluateOptions
from dqn.config.words import counted
from dqn.device import resolve_device, resolve_precision, use_precision, use_threads
from dqn.evaluation import scores
from dqn.evaluation.evaluate import evaluate
from dqn.learning import factory
from dqn.learning.interfaces import Model
from dqn.report.progress import GamesBar
from dqn.run.process import log_to_terminal
from dqn.storage.files import replace_file, why_unwritable
from dqn.storage.saved_run import load_agent
from dqn.tabular import agent as tabular


def run(options: EvaluateOptions) -> int:
    """Play whole games under the run's own protocol and print the scores.

    Raises:
        ConfigError: as ``load_agent``, or the JSON file cannot be written.
    """
    folder, seed = options.run, options.seed
    log_to_terminal()
    device = resolve_device(options.device)
    agent = load_agent(make_model, folder, options.checkpoint, device)
    settings, precision = agent.config.evaluation, agent.config.precision
    if precision == "tf32" and resolve_precision("auto", device) != "tf32":
        precision = "float32"  # which this device computes instead, and the scores say so
    if options.episodes is not None:
        settings = dataclasses.replace(settings, episodes=options.episodes)
    if options.epsilon is not None:
        settings = dataclasses.replace(settings, epsilon=options.epsilon)
    config = dataclasses.replace(agent.config, seed=seed, evaluation=settings, precision=precision)
    if options.json:
        check_writable(Path(options.json))  # now rather than after the games
    use_threads(config.threads)
    use_precision(config.precision)
    make_policy, owner = agent.model.make_policy, "evaluate command"
    with GamesBar("evaluation", settings.episodes) as bar:
        result = evaluate(make_policy, config, agent.step, progress=bar, owner=owner)
    assert result is not None, "it cannot be stopped"
    returns, interval = result.returns, ""
    if len(returns) > 1:
        _, low, high = scores.mean_interval(returns)
        interval = f" (95% interval {low:.1f} to {high:.1f})"
    print(
        f"{result.game}, {folder}, {agent.name}, step {agent.step:,}: mean {result.mean:.1f}"
        f"{interval}, median {result.median:.1f}, min {min(returns):.1f}, max {max(returns):.1f} "
        f"over {counted(len(returns), 'episode')}; protocol {result.protocol}, "
        f"epsilon {result.epsilon:g}, seed {seed}"
    )
    if result.cut:
        limit = counted(settings.max_steps_without_reward or 0, "step")
        print(f"{counted(result.cut, 'game')} cut off after {limit} without reward")
    if result.human_normalised is not None:
        print(f"human-normalised {100 * result.human_normalised:.1f}% (0: random, 100: human)")
    if options.json:
        source = {"run": folder, "checkpoint": agent.name, "seed": seed}
        write_json(Path(options.json), source | result.as_json())
        print(f"wrote {options.json}")
    return 0


def make_model(config: Config, spec: envs.Spec, device: torch.device) -> Model:
    """The untrained model of a config, whatever its method."""
    make = factory.make_model if config.method == "dqn" else tabular.make_model
    return make(config, spec, device)


def check_writable(file: Path) -> None:
    """Check that a file can be written, whose folder is made.

    Raises:
        ConfigError: it cannot.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        is_new = not file.exists()
        file.open("a").close()
        if is_new:
            file.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write {why_unwritable(file, error)}") from None


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, which appears whole or not at all unless it is a device or a link.

    Raises:
        ConfigError: it cannot be written.
    """
    data = (json.dumps(content, indent=1) + "\n").encode()
    try:
        if file.is_symlink() or (file.exists() and not file.is_file()):  # /dev/stdout
            file.write_bytes(data)
        else:
            replace_file(file, data)
    except OSError as error:
        raise ConfigError(f"cannot write {why_unwritable(file, error)}") from None
