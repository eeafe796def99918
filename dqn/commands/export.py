"""``export RUN FILE.onnx``: a trained network for programs without torch."""

import dataclasses
import logging
import sys

import numpy as np
import torch

import dqn
from dqn import envs
from dqn.commands.evaluate import make_model
from dqn.config import Config, ConfigError
from dqn.config.commands import ExportOptions
from dqn.config.words import counted
from dqn.device import use_threads
from dqn.envs.atari import atari_settings
from dqn.envs.names import action_names, protocol_name
from dqn.evaluation.evaluate import played_states
from dqn.evaluation.recorders import new_file
from dqn.learning.actor import QModel
from dqn.learning.interfaces import Model
from dqn.run.process import log_to_terminal
from dqn.storage.files import why_unwritable
from dqn.storage.onnx_file import OPSET, check_installed, run_onnx, write_onnx
from dqn.storage.saved_run import SavedAgent, load_agent
from dqn.types import F32

log = logging.getLogger("dqn")

STATES = 200
"""States on which the file is compared with the network."""

TOLERANCE = 1e-5
"""Largest difference between two q-values that rounding explains, relative to the largest q-value
(absolute if that is below 1)."""


def run(options: ExportOptions) -> int:
    """Write the network, run the file on states of the game, and keep it if it computes the same.

    Raises:
        ConfigError: as ``load_agent``, the agent has no Q-network, a package is missing, or the
            file cannot be written.
    """
    check_installed()
    log_to_terminal()
    agent = load_agent(make_float32, options.run, options.checkpoint, torch.device("cpu"))
    model, config = agent.model, agent.config
    if not isinstance(model, QModel):
        raise ConfigError(
            f"{options.run} has no Q-network to export: its method is {config.method}, not dqn"
        )
    use_threads(config.threads)
    try:
        file = new_file(options.file)
        try:
            log.info("Playing until there are %s states to compare.", STATES)
            states = played_states(model.make_policy, config, STATES, "export command")
            write_onnx(file.part, model, states[:2], describe(agent))
            sentence, same = compare(q_values(model, states), run_onnx(file.part, states))
            size = file.part.stat().st_size
            if same:
                file.commit()
        finally:
            file.discard()
    except OSError as error:
        raise ConfigError(f"cannot write {why_unwritable(options.file, error)}") from None
    if not same:
        print(f"error: {options.file} is not written: {sentence}", file=sys.stderr)
        return 1
    print(
        f"{options.run}, {agent.name}, step {agent.step:,}: {size / 1e6:.1f} MB in {options.file}"
    )
    print(sentence)
    if config.precision not in ("auto", "float32"):
        print(f"It computes in float32; the run did in {config.precision}, with the same weights.")
    return 0


def make_float32(config: Config, spec: envs.Spec, device: torch.device) -> Model:
    """The untrained model of a config, computing in float32 whatever the run's precision."""
    return make_model(dataclasses.replace(config, precision="float32"), spec, device)


def describe(agent: SavedAgent) -> dict[str, str]:
    """The file's metadata: what a program that plays with it needs to know."""
    spec, config = agent.spec, dataclasses.replace(agent.config, precision="float32")
    rom = envs.atari_rom(spec.game)
    return {
        "game": spec.game,
        "environment": spec.game,
        "protocol": protocol_name(config, spec.atari),
        "epsilon": f"{config.evaluation.epsilon:g}",
        "stack_shape": ",".join(map(str, (spec.stack, *spec.frame_shape))),
        "num_actions": str(spec.num_actions),
        "actions": ",".join(action_names(spec.game, spec.num_actions)),
        "opset": str(OPSET),
        "step": str(agent.step),
        "program": f"dqn {dqn.__version__}",
    } | (atari_settings(rom, config.env) if rom else {})


def q_values(model: QModel, states: torch.Tensor) -> F32:
    """What torch computes: ``states [M, S, *frame]`` -> ``[M, A]``."""
    with torch.inference_mode():
        return torch.cat([model.q_values(part) for part in states.split(64)]).numpy()


def compare(ours: F32, theirs: F32) -> tuple[str, bool]:
    """What two computations of the q-values ``[M, A]`` have in common, in a sentence, and whether
    they are the same but for rounding."""
    difference = float(np.abs(ours - theirs).max())
    others = int((ours.argmax(1) != theirs.argmax(1)).sum())
    actions = f"other greedy actions in {others:,}" if others else "the same greedy actions"
    sentence = (
        f"onnxruntime and torch in {counted(len(ours), 'state')} of the game: largest difference "
        f"{difference:.1e} in values up to {np.abs(ours).max():.3g}, {actions}"
    )
    return sentence, difference <= TOLERANCE * max(1.0, float(np.abs(ours).max()))
