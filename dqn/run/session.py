"""A run under way: its agent, its step counter, and all that happens between two steps.

Evaluations, pictures and checkpoints change nothing in the training: whatever they draw comes from
generators of their own, made afresh.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dqn.config import Config, ConfigError
from dqn.envs.protocol import protocol_name
from dqn.evaluation.episode import render_evaluation
from dqn.evaluation.evaluate import evaluate, held_out_states, mean_max_q
from dqn.learning.interfaces import Agent, LearnerProtocol
from dqn.report.curves import draw_curves
from dqn.report.metrics import Metrics
from dqn.run.process import Clock
from dqn.schedule import due, epsilon
from dqn.storage.checkpoint import Checkpoints
from dqn.storage.manifest import (
    CorruptCheckpoint,
    check_about,
    device_name,
    in_words,
    make_about,
    read_meta,
    versions,
    warn_of_differences,
    write_batch,
    write_model,
)

log = logging.getLogger("dqn")

SEED_OWNER = "training"
"""Names the seeds of the training's environments."""


class RunStopped(Exception):
    """A run cannot go on; the message says why, and what is safe on disk."""


class StoppedEarly(Exception):
    """The run was told to end before it went on; nothing was changed."""


class Session:
    """Everything of a run that remembers, and the pauses in its loop.

    ``stop`` says whether the run has been told to end; it is asked between steps and during
    evaluations.
    """

    def __init__(
        self,
        config: Config,
        agent: Agent[LearnerProtocol],
        folder: Path,
        device: torch.device,
        stop: Callable[[], bool],
    ) -> None:
        self.config = config
        self.agent = agent
        self.step = 0
        spec = self.agent.environment.spec
        self._about = make_about(config, spec, device)
        self.metrics = Metrics(folder, spec, config.num_envs, config.total_steps)
        self._folder = folder
        self._device = device
        self._stop = stop
        self._evaluated = 0  # the step of the last evaluation
        self._converged = False  # by the checkpoint that is continued from
        self._checkpoints = Checkpoints(folder, config.keep_checkpoints)
        self._clock = Clock(config.checkpoint_minutes)
        self._failed_saves = 0  # in a row
        self._best: tuple[dict[str, torch.Tensor], dict[str, Any]] | None = None  # not on disk yet

    @property
    def about(self) -> dict[str, Any]:
        """What this moment's checkpoint belongs to, and what it is made with."""
        return {"step": self.step, **self._about}

    @functools.cached_property
    def _held_out(self) -> torch.Tensor:
        """States that a random player meets, ``[M, S, *frame]``."""
        return held_out_states(self.config)

    @property
    def finished(self) -> bool:
        """Whether every step is made, or nothing is left to learn, and the last network
        evaluated."""
        return self._at_end and self._evaluated == self.step

    @property
    def _at_end(self) -> bool:
        converged = self._converged or self.agent.learner.converged
        return self.step >= self.config.total_steps or converged

    def before_step(self) -> bool:
        """Between two steps: evaluate and save if it is time; then whether there is a next one.

        The step of the last evaluation is part of a checkpoint, so an evaluation that was due
        or under way when the run was stopped is made when it goes on.
        """
        at_end = self._at_end
        if due(self._evaluated, self.step, self.config.evaluate_period) or (
            at_end and not self.finished
        ):
            self.evaluate()
        if self._clock.is_due():
            self.save()
        return not at_end and not self._stop()

    def report(self) -> None:
        """Write the numbers since the last report.

        Raises:
            RunStopped: one of them is none.
        """
        self._check_finite()
        fill, learner = self.agent.replay.fill, self.agent.learner
        self.metrics.report(self.step, epsilon(self.config, self.step), fill, learner)

    def evaluate(self) -> None:
        """Play the evaluation's episodes, write them down, keep the model if it is the best.

        Raises:
            RunStopped: the network is not finite.
        """
        self._check_finite()
        if not self._checkpoints.newest_first():
            self.save()  # so a best model without a checkpoint is what somebody left of a run
        began = time.monotonic()
        model = self.agent.model
        result = evaluate(model.make_policy, self.config, self.step, stop=self._stop)
        if result is None:
            return
        held_out_q = None
        if model.q_values:
            held_out_q = mean_max_q(model.q_values, self._held_out, self._device)
        seconds = time.monotonic() - began
        stack = self.agent.environment.timestep.stack
        if self.metrics.log_evaluation(result, held_out_q, stack, seconds):
            best = {name: value.clone() for name, value in model.state_dict().items()}
            self._best = best, self.about | result.as_json()
            try:
                self._write_best()
            except OSError as error:
                log.warning("The best model is not on disk yet (%s).", error.strerror)
        self._evaluated = self.step
        self._draw()
        self.metrics.exclude_time(time.monotonic() - began)

    def save(self) -> bool:
        """Write a checkpoint of this moment; returns whether that went well. Once it may fail.

        Raises:
            RunStopped: it failed a second time in a row, or the network is not finite.
        """
        self._check_finite()
        began = time.monotonic()
        agent = self.agent
        state = {
            "environment": agent.environment.state_dict(),
            "replay": agent.replay.state_dict(),
            "learner": agent.learner.state_dict(),
            "actor": agent.actor.state_dict(),
            "metrics": self.metrics.state_dict(),
            "evaluated": self._evaluated,
        }
        try:
            self._write_best()
            about = self.about | {"lengths": self.metrics.sync()}
            folder = self._checkpoints.save(self.step, state, agent.replay, about)
        except OSError as error:
            self._failed_saves += 1
            failed = f"step {self.step:,} is not saved ({error.strerror}); {self._safe()}"
            if self._failed_saves == 2:
                raise RunStopped(f"{failed}; the same command continues from there") from None
            log.warning("%s; it is tried once more.", failed)
            return False
        self._failed_saves = 0
        seconds = time.monotonic() - began
        self.metrics.exclude_time(seconds)
        log.info("step %s: saved as %s (%.1f s)", f"{self.step:,}", folder.name, seconds)
        return True

    def begin(self) -> None:
        """Go on from the newest whole checkpoint, or open the first episodes if there is none,
        and say so. Of a finished run nothing more is read, and nothing in it is changed.

        Raises:
            ConfigError: there are checkpoints, but none is whole, or they are another game's.
        """
        damages: list[tuple[Path, str]] = []
        for folder in self._checkpoints.newest_first():
            try:
                meta = read_meta(folder)
                check_about(folder, meta, self.about)
                self.step, self._evaluated = meta["step"], meta["state"].get("evaluated", -1)
                self._converged = _has_converged(meta["state"])
                if self.finished:
                    self._say_finished()
                    return
                state = self._checkpoints.load(folder, meta, self.agent.replay, self.agent.learner)
            except CorruptCheckpoint as damage:
                damages.append((folder, str(damage)))
                continue
            self._continue(folder, meta, state, damages)
            return
        self._refuse_remains(damages)
        self._start()

    def _say_finished(self) -> None:
        more = "a larger --total-steps extends it"
        log.info(
            "%s is finished at step %s; %s.", self._folder, f"{self.step:,}",
            "nothing was left to learn" if self._converged else more,
        )  # fmt: skip

    def _continue(
        self,
        folder: Path,
        meta: dict[str, Any],
        state: dict[str, Any],
        damages: list[tuple[Path, str]],
    ) -> None:
        """From this whole checkpoint. The damaged ones are kept, under another name."""
        self._announce("Continuing")
        for _, reason in damages:
            log.warning("%s: continuing from the checkpoint before it.", reason)
        warn_of_differences(meta, self.about)
        try:
            self._restore(state)
        except StoppedEarly:
            raise
        except Exception as error:  # whatever a state that is none makes fail
            raise ConfigError(
                f"{folder} cannot be continued ({error}); it was saved with "
                f"{in_words(meta['versions'])}, this is {in_words(versions())}; --fresh "
                "moves the run aside and starts anew"
            ) from error
        for damaged, _ in damages:
            log.warning("%s is kept as %s.", damaged, self._checkpoints.set_aside(damaged).name)
        self._checkpoints.tidy()
        self.metrics.cut(meta["lengths"])

    def _refuse_remains(self, damages: list[tuple[Path, str]]) -> None:
        """What is left of a run that cannot be continued is not started over."""
        if damages:
            reasons = "; ".join(reason for _, reason in damages)
            raise ConfigError(
                f"no checkpoint in {self._folder} is whole ({reasons}); --fresh moves the run "
                "aside and starts anew"
            )
        if (self._folder / "best").exists():
            raise ConfigError(
                f"{self._folder} has a best model and no checkpoint to continue from; --fresh "
                "moves it aside and starts anew"
            )

    def _start(self) -> None:
        """With the first episodes."""
        self.step, self._evaluated, self._converged = 0, 0, False
        self._announce("Starting")
        if self.config.total_steps <= self.config.learning_starts:
            log.warning("Nothing will be learned: total_steps end before learning_starts.")
        self._checkpoints.tidy()
        self.metrics.cut({})
        self.agent.environment.reset(self.config.seed, SEED_OWNER)
        if self.config.network.center:
            self.agent.learner.center_on(self._held_out)

    def _write_best(self) -> None:
        """Put the best model on disk, if it is not there."""
        if self._best:
            write_model(self._folder / "best", *self._best)
            self._best = None

    def _check_finite(self) -> None:
        """Nothing is saved, shown or continued that is no number."""
        learner = self.agent.learner
        if learner.finite():
            return
        bad, batch = learner.nonfinite, "its batch is unknown"
        if bad.seen and bad.batch:
            try:
                write_batch(self._folder / "not_finite.safetensors", bad.batch)
                batch = f"its batch is in {self._folder / 'not_finite.safetensors'}"
            except OSError as error:
                batch = f"its batch could not be written ({error.strerror})"
        update = learner.updates - max(int(bad.updates_since), 1) + 1
        which = "update" if bad.seen else "an update up to"
        raise RunStopped(
            f"{which} {update:,}, before step {self.step:,}, led to numbers that are not finite; "
            f"{batch}; {self._safe()}; a lower learning rate may help, or smaller rewards"
        )

    def _safe(self) -> str:
        """What is on disk, whatever happens now."""
        safe = self._checkpoints.newest_first()
        return f"{safe[0].name} is the last checkpoint" if safe else "there is no checkpoint yet"

    def _restore(self, state: dict[str, Any]) -> None:
        agent = self.agent
        agent.environment.load_state_dict(
            state["environment"], self.config.seed, SEED_OWNER, self._progress
        )
        agent.replay.load_state_dict(state["replay"])
        agent.learner.load_state_dict(state["learner"])
        agent.actor.load_state_dict(state["actor"])
        self.metrics.load_state_dict(state["metrics"])

    def _progress(self, steps: Iterable[int]) -> Iterator[int]:
        """Show how far the emulators' return is; it takes a while, so it may be stopped too."""
        log.info("Bringing the emulators back, by their recorded actions.")
        each = self.config.num_envs
        for step in tqdm(steps, unit="step", unit_scale=each, leave=False, disable=None):
            if self._stop():
                raise StoppedEarly
            yield step

    def _announce(self, what: str) -> None:
        log.info(
            "%s %s at step %s of %s, on %s, threads: %d.",
            what, self._folder, f"{self.step:,}", f"{self.config.total_steps:,}",
            device_name(self._device), torch.get_num_threads(),
        )  # fmt: skip

    def _draw(self) -> None:
        """Curves and, if asked for, one more episode in pictures. Neither may cost the training."""
        spec, index = self.agent.environment.spec, self.metrics.evaluations
        title = f"{spec.game}, {self._folder.name}, {protocol_name(self.config, spec.atari)}"
        try:
            draw_curves(self._folder, title, spec.game)
            self.agent.model.draw(self._folder)
        except (OSError, ValueError, KeyError) as error:  # full disk; lines that are none
            log.warning("Not all pictures of the run could be drawn: %s.", error)
        if not self.config.render:
            return
        record = render_evaluation(
            self.agent.model.make_policy,
            self.config,
            self.step,
            self._folder,
            index,
            self._stop,
        )
        if record:
            log.info(
                "step %s: eval_%03d shows an episode of %s steps with a return of %g",
                f"{self.step:,}", index, f"{record.length:,}", record.return_,
            )  # fmt: skip


def _has_converged(state: dict[str, Any]) -> bool:
    """Whether a checkpoint's state, not yet checked, says that its learner was done."""
    learner = state.get("learner")
    return isinstance(learner, dict) and learner.get("converged") is True
