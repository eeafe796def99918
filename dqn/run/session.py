"""A run in progress: its agent, its step counter, and everything that happens between two steps.

Evaluations, pictures and checkpoints do not influence the training: all their random draws come
from generators of their own, made afresh.
"""

import functools
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import torch

from dqn.config import Config, ConfigError
from dqn.config.words import counted
from dqn.config.yaml_file import as_yaml
from dqn.evaluation.episode import render_evaluation
from dqn.evaluation.evaluate import evaluate, held_out_states, mean_max_q
from dqn.learning.factory import Agent
from dqn.learning.interfaces import LearnerProtocol
from dqn.report.curves import draw_curves
from dqn.report.metrics import Metrics
from dqn.report.progress import GamesBar
from dqn.run.process import Clock
from dqn.run.resume import RunStopped, is_finished, resume, show_progress
from dqn.schedule import due, epsilon
from dqn.storage.checkpoint import Checkpoints, Stateful, newest_first
from dqn.storage.files import replace_file
from dqn.storage.provenance import make_provenance
from dqn.storage.tensors import write_batch, write_model
from dqn.types import State

log = logging.getLogger("dqn")


class Session:
    """Every part of a run that has a state, and the pauses in its loop.

    As a context manager it resumes or starts the run, opens its files, and closes everything;
    entering it raises what ``resume`` raises. ``stop`` says whether the run has been asked to stop;
    it is called between steps and during evaluations. Methods raise RunStopped if
    the run cannot go on: numbers are not finite, two writes failed, the actors are lost.
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
        self.already_finished = False
        """Whether the run was finished when the session was entered: it has nothing left to do."""
        spec = agent.environment.spec
        self.metrics = Metrics(folder, spec, config, device)
        self._folder = folder
        self._device = device
        self._stop = stop
        self._provenance = make_provenance(config, spec, device)
        self._evaluated = 0  # the step of the last evaluation
        parts: dict[str, Stateful] = {
            "environment": agent.environment, "replay": agent.replay, "learner": agent.learner,
            "actor": agent.actor, "metrics": self.metrics, "session": self,
        }  # fmt: skip
        self._checkpoints = Checkpoints(folder, config.keep_checkpoints, parts, agent.replay)
        self._clock = Clock(config.checkpoint_minutes)
        self._failed_saves = 0  # in a row
        self._best: Callable[[], None] | None = None  # writes the best model, if not on disk yet

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            environment = self.agent.environment
            stack.callback(environment.close)
            environment.reset(self.config.seed, owner="training")
            num_envs, stop = self.config.num_envs, self._stop
            environment.progress = functools.partial(show_progress, num_envs=num_envs, stop=stop)
            manifest = resume(self.config, self._folder, self._checkpoints, self._provenance)
            if manifest:
                self.step = manifest.step
                self._provenance = self._provenance.continuing(manifest.provenance)
                self.already_finished = is_finished(manifest, self.config)
            if not self.already_finished:
                text = as_yaml(self.config)
                self.metrics.open(self.step, self.agent.learner.updates, text)
                stack.callback(self.metrics.close)
                self.metrics.cut(manifest.lengths if manifest else {})
                if not manifest and self.config.network.center:
                    self.agent.learner.center_on(self._held_out)
                content = f"{self._provenance.as_comments()}{text}"
                replace_file(self._folder / "config.yaml", content.encode())
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def before_step(self) -> bool:
        """Between two steps: evaluate and save if it is time; returns whether there is a next step,
        and waits until it can be taken.

        The step of the last evaluation is part of a checkpoint, so an evaluation that was due or in
        progress when the run was stopped is made when it is continued.
        """
        at_end = self.step >= self.config.total_steps or self.agent.learner.converged
        if at_end or due(self._evaluated, self.step, self.config.evaluate_period):
            self.evaluate()
        if self._clock.is_due():
            self.save()
        return not at_end and not self._stop() and self._ready()

    def report(self) -> None:
        """Write the numbers since the last report."""
        self._check_finite()
        fill, learner = self.agent.replay.fill, self.agent.learner
        self.metrics.report(self.step, epsilon(self.config, self.step), fill, learner)

    def evaluate(self) -> None:
        """Play the evaluation's episodes, log them, and keep the model if it is the best so far."""
        self._check_finite()
        # Save first: a folder with a best model but no checkpoint can then only be what is left of
        # a run, which `resume` refuses.
        if not newest_first(self._folder):
            self.save_for_certain(quiet=True)
        began = time.monotonic()
        model, q_values = self.agent.model, self.agent.model.q_values
        with GamesBar("evaluation", self.config.evaluation.episodes) as bar:
            result = evaluate(model.make_policy, self.config, self.step, self._stop, bar)
        if result is None:
            return
        held_out_q = q_values and mean_max_q(q_values, self._held_out, self._device)
        stack = self.agent.environment.timestep.stack
        if self.metrics.log_evaluation(result, held_out_q, stack, time.monotonic() - began):
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            about = self.step, self._provenance, result.as_json()
            self._best = functools.partial(write_model, self._folder / "best", weights, *about)
            try:
                self._write_best()
            except OSError as error:
                log.warning("The best model is not on disk yet (%s).", error.strerror)
        self._evaluated = self.step
        self._draw()
        self.metrics.exclude_time(time.monotonic() - began)

    def save(self, quiet: bool = False) -> bool:
        """Write a checkpoint of this step, and say so unless ``quiet``; returns whether that
        succeeded. If it fails twice in a row, RunStopped is raised."""
        self._check_finite()
        began = time.monotonic()
        try:
            self._write_best()
            folder = self._checkpoints.save(self.step, self._provenance, self.metrics.sync())
        except OSError as error:
            self._failed_saves += 1
            failed = f"step {self.step:,} is not saved ({error.strerror}); {self._safe()}"
            if self._failed_saves == 2:
                again = "; the same command continues from there" * bool(newest_first(self._folder))
                raise RunStopped(f"{failed}{again}") from None
            log.warning("%s; it is tried once more.", failed)
            return False
        self._failed_saves = 0
        seconds = time.monotonic() - began
        self.metrics.exclude_time(seconds)
        if not quiet:
            log.info("step %s: saved as %s (%.1f s)", f"{self.step:,}", folder.name, seconds)
        return True

    def save_for_certain(self, quiet: bool = False) -> None:
        """As ``save``, again at once if it fails; a second failure in a row raises."""
        while not self.save(quiet):
            pass

    def state_dict(self) -> State:
        """The step of the last evaluation."""
        return {"evaluated": self._evaluated}

    def load_state_dict(self, state: State) -> None:
        self._evaluated = state["evaluated"]

    def _ready(self) -> bool:
        """Whether the actor can act. If its processes are lost for good, what is new is saved."""
        try:
            return self.agent.actor.ready()
        except (RunStopped, ConfigError) as error:
            self.save_for_certain()
            raise RunStopped(f"{error}; {self._safe()}; the same command continues") from None

    @functools.cached_property
    def _held_out(self) -> torch.Tensor:
        """States that a random player meets, ``[M, S, *frame]``."""
        return held_out_states(self.config)

    def _write_best(self) -> None:
        if self._best:
            self._best()
            self._best = None

    def _check_finite(self) -> None:
        """Stop before anything that is not finite is saved or shown."""
        learner = self.agent.learner
        if learner.finite():
            return
        bad, batch = learner.nonfinite, "its batch is unknown"
        if bad.seen and bad.batch:
            path = self._folder / "not_finite.safetensors"
            try:
                write_batch(path, bad.batch)
                batch = f"its batch is in {path}"
            except OSError as error:
                batch = f"its batch could not be written ({error.strerror})"
        which = f"update {int(bad.first):,}" if bad.seen else f"an update up to {learner.updates:,}"
        raise RunStopped(
            f"{which}, before step {self.step:,}, led to numbers that are not finite; "
            f"{batch}; {self._safe()}; a lower learning rate may help, or smaller rewards"
        )

    def _safe(self) -> str:
        """What is on disk, whatever happens now."""
        found = newest_first(self._folder)
        return f"{found[0].name} is the last checkpoint" if found else "there is no checkpoint yet"

    def _draw(self) -> None:
        """Draw the curves and, if configured, record one more episode. Neither may stop the run."""
        game, index = self.agent.environment.spec.game, self.metrics.evaluations
        title = f"{game}, {self._folder.name}, {self._provenance.protocol}"
        try:
            draw_curves(self._folder, title, game)
            self.agent.model.draw(self._folder)
        except Exception as error:  # disk full; a line edited by hand
            log.warning("Not all pictures of the run could be drawn: %s.", error)
        if not self.config.render:
            return
        make, stop = self.agent.model.make_policy, self._stop
        with GamesBar(f"recording eval_{index:03d}", 1) as bar:
            record = render_evaluation(make, self.config, self.step, self._folder, index, stop, bar)
        if record:
            try:
                pictures = self._folder / f"eval_{index:03d}"
                self.metrics.film(pictures, record.frames_per_second, self.step)
            except OSError as error:  # the pictures alone could not be written
                log.warning("TensorBoard has no film of step %s: %s.", f"{self.step:,}", error)
            seen = f"{self.step:,}", index, counted(record.length, "step"), record.return_
            cut = ", cut off there: no reward for too long" * record.cut
            log.info("step %s: eval_%03d shows an episode of %s with a return of %g%s", *seen, cut)
