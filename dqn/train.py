"""The loop, and how a run begins, pauses and ends."""

import logging
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dqn import envs
from dqn.agent import Agent, make_agent
from dqn.checkpoint import Checkpoints, Damaged, write_model
from dqn.config import Config, ConfigError, differing_fields
from dqn.curves import draw_curves
from dqn.device import resolve_device, use_threads
from dqn.evaluate import evaluate, held_out_states, mean_greatest_q, protocol_name
from dqn.files import replace_file
from dqn.metrics import Metrics, cut_text_files
from dqn.options import as_yaml, load_config
from dqn.render import render_evaluation  # noqa
from dqn.run import Clock, RunFolder, StopSignals, log_to_file
from dqn.schedule import due, linear

log = logging.getLogger("dqn")

SEED_OWNER = "training"
"""Names the seeds of the training's environments."""


class Training:
    """A run under way: the agent, the step counter, and what happens between two steps."""

    def __init__(
        self, config: Config, folder: Path, device: torch.device, stop: StopSignals
    ) -> None:
        self.config = config
        self.folder = folder
        self.device = device
        self.stop = stop
        self.agent: Agent = make_agent(config, device)
        spec = self.agent.environment.spec
        self.metrics = Metrics(folder, spec, config.num_envs, config.total_steps)
        self.checkpoints = Checkpoints(folder, config.keep)
        self.step = 0
        self.evaluated = 0
        """The step of the last evaluation."""
        self._clock = Clock(config.checkpoint_minutes)
        self._held_out: torch.Tensor | None = None

    def loop(self) -> None:
        """Act, add, send, learn, receive, until the run is long enough or told to stop.

        The emulators' threads run between send and receive while the learner learns, so an
        update never sees a row that arrived while it ran: overlapped, and yet deterministic.
        """
        config, metrics = self.config, self.metrics
        environment, replay = self.agent.environment, self.agent.replay
        learner, actor = self.agent.learner, self.agent.actor
        timestep = environment.timestep
        while self.go_on():
            before, after = self.step, self.step + config.num_envs
            action = actor.act(timestep.stack, self.epsilon(before))
            replay.add(timestep, action)
            environment.send(action)
            for _ in range(self.updates_due(before, after)):
                batch = replay.sample(config.learner.batch_size)
                replay.update_priorities(batch.index, learner.update(batch))
            timestep = environment.receive()
            self.step = after
            for _ in range(due(before, after, config.learner.target_period)):
                learner.sync_target()
            metrics.count(timestep, after, self.epsilon(after))
            if due(before, after, config.report_period):
                metrics.report(after, self.epsilon(after), replay.fill, learner)

    def epsilon(self, step: int) -> float:
        """Probability of a random action."""
        exploration = self.config.exploration
        return linear(
            step,
            exploration.epsilon_start,
            exploration.epsilon_end,
            begin=self.config.learning_starts,
            duration=exploration.epsilon_decay_steps,
        )

    def updates_due(self, before: int, after: int) -> int:
        """Updates between two values of the counter: none before ``learning_starts``."""
        starts = self.config.learning_starts
        return due(max(before, starts), max(after, starts), self.config.learner.update_period)

    @property
    def finished(self) -> bool:
        """Whether every step is made and the last network evaluated."""
        return self.step >= self.config.total_steps and self.evaluated == self.step

    def go_on(self) -> bool:
        """Between two steps: evaluate and save if it is time; then whether there is a next one.

        Evaluations come first in the loop and remember the step of the last one, so a run that
        was stopped in the middle of one makes it again when it goes on.
        """
        at_end = self.step >= self.config.total_steps
        if due(self.evaluated, self.step, self.config.evaluate_period) or (
            at_end and not self.finished
        ):
            self.evaluate()
        if self._clock.rings():
            self.save()
        return not at_end and not self.stop()

    def evaluate(self) -> None:
        """Play the evaluation's episodes, write them down, keep the model if it is the best."""
        began = time.monotonic()
        learner = self.agent.learner
        result = evaluate(learner.q_values, self.config, self.device, self.step, stop=self.stop)
        if result is None:
            return
        if self._held_out is None:
            self._held_out = held_out_states(self.config)
        held_out_q = mean_greatest_q(learner.q_values, self._held_out, self.device)
        stack = self.agent.environment.timestep.stack
        if self.metrics.evaluated(result, held_out_q, stack, time.monotonic() - began):
            write_model(
                self.folder / "best", learner.online.state_dict(), self.about() | result.as_json()
            )
        self.evaluated = self.step
        if self.config.render:
            render_evaluation(
                self.folder, self.metrics.evaluations, self.config, self.agent, self.step
            )
        try:
            draw_curves(self.folder, self.title, result.game)
        except OSError as error:
            log.warning("No curves.png this time: %s.", error)
        self.metrics.not_counting(time.monotonic() - began)

    def save(self) -> None:
        """Write a checkpoint of this moment."""
        began = time.monotonic()
        about = self.about() | {"lengths": self.metrics.sync()}
        agent = self.agent
        state = {
            "environment": agent.environment.state_dict(),
            "replay": agent.replay.state_dict(),
            "learner": agent.learner.state_dict(),
            "actor": agent.actor.state_dict(),
            "metrics": self.metrics.state_dict(),
            "evaluated": self.evaluated,
        }
        folder = self.checkpoints.save(self.step, state, agent.replay, about)
        seconds = time.monotonic() - began
        self.metrics.not_counting(seconds)
        log.info("step %s: saved as %s (%.1f s)", f"{self.step:,}", folder.name, seconds)

    def restore(self) -> bool:
        """Go back to the newest whole checkpoint; False if there is none at all.

        Raises:
            ConfigError: there are checkpoints, but none is whole.
        """
        folders = self.checkpoints.newest_first()
        for folder in folders:
            try:
                state, meta = self.checkpoints.load(folder, self.agent.replay)
            except Damaged as damage:
                log.warning("%s; trying the checkpoint before it.", damage)
                continue
            self._check_about(folder, meta)
            agent = self.agent
            agent.environment.load_state_dict(
                state["environment"], self.config.seed, SEED_OWNER, _progress_bar
            )
            agent.replay.load_state_dict(state["replay"])
            agent.learner.load_state_dict(state["learner"])
            agent.actor.load_state_dict(state["actor"])
            self.metrics.load_state_dict(state["metrics"])
            self.step, self.evaluated = meta["step"], state["evaluated"]
            cut_text_files(self.folder, meta["lengths"])
            return True
        if folders:
            raise ConfigError(
                f"no checkpoint in {self.folder} is whole; --fresh moves the run aside"
            )
        cut_text_files(self.folder, {})
        self.agent.environment.reset(self.config.seed, SEED_OWNER)
        return False

    def about(self) -> dict[str, Any]:
        """What a checkpoint belongs to, and what it was made with."""
        spec = self.agent.environment.spec
        return {
            "step": self.step,
            "game": spec.game,
            "protocol": protocol_name(self.config, spec.atari),
            "num_actions": spec.num_actions,
            "stack_shape": [spec.stack, *spec.frame_shape],
            "versions": versions(),
            "device": _device_name(self.device),
            "threads": torch.get_num_threads(),
        }

    @property
    def title(self) -> str:
        """What stands above the run's curves."""
        spec = self.agent.environment.spec
        return f"{spec.game}, {self.folder.name}, protocol {protocol_name(self.config, spec.atari)}"

    def _check_about(self, folder: Path, meta: dict[str, Any]) -> None:
        """Refuse another game's checkpoint; say so if other versions may mean other bits."""
        ours = self.about()
        for key in ("game", "num_actions", "stack_shape"):
            if meta[key] != ours[key]:
                raise ConfigError(
                    f"{folder} is of another game: {key} is {meta[key]}, not {ours[key]}"
                )
        for key in ("versions", "device", "threads"):
            if meta[key] != ours[key]:
                log.warning(
                    "This checkpoint was made with %s %s, now %s: the run goes on, but not to "
                    "the same bits.", key, meta[key], ours[key],
                )  # fmt: skip


def train(config: Config, name: str, fresh: bool) -> int:
    """Train, or continue, the run of a config; returns the exit status.

    Raises:
        ConfigError: what was typed or configured is wrong, or the folder is another run's.
    """
    device = resolve_device(config.device)
    threads = use_threads(config.threads)
    game = envs.display_name(envs.resolve(config.game))
    folder = RunFolder(Path(config.checkpoints_dir) / game / f"{name}-seed{config.seed}")
    try:
        if fresh and not folder.is_empty():
            folder.set_aside()
        _check_identity(config, folder.path)
        with StopSignals() as stop:
            training = Training(config, folder.path, device, stop)
            replace_file(folder.path / "config.yaml", _config_text(config, training).encode())
            log_file = log_to_file(folder.path / "train.log")
            continued = training.restore()
            if continued and training.finished:
                log.info(
                    "%s is finished at step %s; a larger --total-steps extends it.",
                    folder.path, f"{training.step:,}",
                )  # fmt: skip
                return 0
            log.info(
                "%s %s at step %s of %s, on %s, %d threads.",
                "Continuing" if continued else "Starting", folder.path, f"{training.step:,}",
                f"{config.total_steps:,}", _device_name(device), threads,
            )  # fmt: skip
            training.metrics.open(training.step, as_yaml(config))
            try:
                training.loop()
                training.save()
            finally:
                training.metrics.close()
                training.agent.environment.close()
            if stop():
                log.info("Stopped by %s; the same command continues.", stop.received.name)
            else:
                log.info("Done: %s steps.", f"{training.step:,}")
            log.removeHandler(log_file)
            return stop.exit_status
    finally:
        folder.close()


def _check_identity(config: Config, folder: Path) -> None:
    """A run's folder is continued under its own config only."""
    if not (folder / "config.yaml").exists():
        return
    differences = differing_fields(config, load_config(folder / "config.yaml"))
    if differences:
        raise ConfigError(
            f"{folder} belongs to another config ({'; '.join(differences)}): repeat its options, "
            "name another --config or --seed, or move it aside with --fresh"
        )


def _config_text(config: Config, training: Training) -> str:
    about = training.about()
    lines = [f"protocol: {about['protocol']}", f"device: {about['device']}"]
    lines += [f"{package} {number}" for package, number in versions().items()]
    return "".join(f"# {line}\n" for line in lines) + as_yaml(config)


def versions() -> dict[str, str]:
    """What decides a run's bits beside its config and the machine."""
    packages = ("torch", "ale-py", "gymnasium", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _progress_bar(steps: Any) -> Any:
    return tqdm(steps, desc="bringing the emulators back", unit="step", leave=False, disable=None)
