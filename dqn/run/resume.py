"""How a run begins: from its newest undamaged checkpoint, or from the start."""

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from dqn.config import Config, ConfigError
from dqn.storage.checkpoint import Checkpoints, newest_first, tidy
from dqn.storage.manifest import CorruptCheckpoint, Manifest, read_manifest
from dqn.storage.provenance import Provenance, as_text, versions

log = logging.getLogger("dqn")


class StoppedEarly(Exception):
    """The run was asked to stop while it was started, restored, or kept waiting by its actors."""


class RunStopped(Exception):
    """A run cannot go on; the message says why, and what is safe on disk."""


def show_progress(steps: Iterable[int], num_envs: int, stop: Callable[[], bool]) -> Iterator[int]:
    """Display the progress of replaying ``steps``, until ``stop``; raises StoppedEarly."""
    log.info("Restoring the emulators by replaying their recorded actions.")
    for step in tqdm(steps, unit="step", unit_scale=num_envs, leave=False, disable=None):
        if stop():
            raise StoppedEarly
        yield step


def resume(
    config: Config, folder: Path, checkpoints: Checkpoints, ours: Provenance
) -> Manifest | None:
    """Restore the newest undamaged checkpoint and return its manifest, or None if there is none and
    the run starts. Of a finished run only the manifest is read, and its folder stays as it is.

    Raises:
        ConfigError: there are checkpoints, but none can be continued; an actor cannot start.
        RunStopped: an actor is lost again and again.
        StoppedEarly: the run was asked to stop.
    """
    damaged: dict[Path, str] = {}
    for path in newest_first(folder):
        try:
            manifest = read_manifest(path)
            manifest.provenance.check_game(path, ours)
            if is_finished(manifest, config):
                converged, longer = "its learner has converged", "a larger --total-steps extends it"
                why = converged if _has_converged(manifest) else longer
                log.info("%s is finished at step %s; %s.", folder, f"{manifest.step:,}", why)
                return manifest
            manifest.provenance.check_device(path, ours)
            state = checkpoints.read(path, manifest)
        except CorruptCheckpoint as error:
            damaged[path] = str(error)
            continue
        _announce("Continuing", folder, manifest.step, config, ours)
        for reason in damaged.values():
            log.warning("%s: continuing from the checkpoint before it.", reason)
        manifest.provenance.warn_of_differences(ours)
        try:
            checkpoints.restore(state)
        except (StoppedEarly, RunStopped, ConfigError, MemoryError, torch.OutOfMemoryError):
            raise  # not the checkpoint's fault
        except Exception as error:  # generators and emulators raise many kinds on invalid values
            raise ConfigError(
                f"{path} cannot be continued ({error}); it was saved with "
                f"{as_text(manifest.provenance.versions)}, this is {as_text(versions())}; --fresh "
                "moves the run aside and starts anew"
            ) from error
        for corrupt in damaged:
            log.warning("%s is kept as %s.", corrupt, checkpoints.set_aside(corrupt).name)
        tidy(folder)
        return manifest
    if damaged:
        raise ConfigError(
            f"no checkpoint in {folder} is whole ({'; '.join(damaged.values())}); --fresh moves "
            "the run aside and starts anew"
        )
    if (folder / "best").exists():
        raise ConfigError(
            f"{folder} has a best model and no checkpoint to continue from; --fresh moves it aside "
            "and starts anew"
        )
    _announce("Starting", folder, 0, config, ours)
    if config.total_steps <= config.learning_starts:
        log.warning("Nothing will be learned: total_steps is not above learning_starts.")
    tidy(folder)
    return None


def is_finished(manifest: Manifest, config: Config) -> bool:
    """Whether a checkpoint has every step, or a learner that converged, and its last evaluation."""
    session = manifest.state.get("session")  # not checked yet
    evaluated = isinstance(session, dict) and session.get("evaluated") == manifest.step
    return evaluated and (manifest.step >= config.total_steps or _has_converged(manifest))


def _has_converged(manifest: Manifest) -> bool:
    learner = manifest.state.get("learner")  # not checked yet
    return isinstance(learner, dict) and learner.get("converged") is True


def _announce(what: str, folder: Path, step: int, config: Config, ours: Provenance) -> None:
    actors = f", actors: {config.actors}" if config.actors else ""
    threads = torch.get_num_threads()
    log.info(
        "%s %s at step %s of %s, on %s, threads: %d%s.",
        what, folder, f"{step:,}", f"{config.total_steps:,}", ours.device, threads, actors,
    )  # fmt: skip
