"""``train``, the default command: how a run begins and ends."""

import dataclasses
import logging
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from dqn import envs
from dqn.commands import list_games
from dqn.config import Config, ConfigError, differing_fields
from dqn.config.commands import TrainOptions
from dqn.config.words import as_started, counted
from dqn.config.yaml_file import as_yaml, load_run_config
from dqn.device import (
    resolve_device,
    resolve_precision,
    use_deterministic_operations,
    use_precision,
    use_threads,
)
from dqn.learning import factory
from dqn.learning.factory import Agent
from dqn.learning.interfaces import LearnerProtocol
from dqn.report.wandb_run import check_ready
from dqn.run.folder import RunFolder
from dqn.run.loop import loop
from dqn.run.process import StopSignals, log_to_file, log_to_terminal
from dqn.run.resume import RunStopped, StoppedEarly
from dqn.run.session import Session
from dqn.storage.checkpoint import newest_first, step_of
from dqn.storage.manifest import CorruptCheckpoint, read_manifest
from dqn.storage.provenance import as_text, versions
from dqn.tabular import agent as tabular

log = logging.getLogger("dqn")


def run(options: TrainOptions) -> int:
    """Train, or print what was asked for; returns the exit status.

    Raises:
        ConfigError: as ``train``.
    """
    config = options.settings
    if options.version:
        print(as_text(versions()))
        return 0
    if options.list_games:
        print(list_games.table())
        return 0
    if options.print_config:
        game = config.game and envs.resolve_game(config.game)
        print(as_yaml(dataclasses.replace(config, game=game)), end="")
        return 0
    log_to_terminal()
    return train(config, options.name, options.fresh, options.address)


def train(config: Config, name: str, fresh: bool, address: str | None = None) -> int:
    """Train, or continue, the run of a config; returns the exit status.

    ``name`` is the preset's, for the run's folder; ``fresh`` moves an old run aside; ``address`` is
    that of the cluster for ``config.actors``, see ``scale.cluster.connect``.

    Raises:
        ConfigError: what was typed or configured is wrong, or the folder is another run's.
    """
    if address and not config.actors:
        raise ConfigError("--address has no effect without --actors; do not set it")
    if config.wandb:
        check_ready(config.wandb)
    device = resolve_device(config.device)
    use_threads(config.threads)
    if config.deterministic:
        use_deterministic_operations(device)
    game = envs.resolve_game(config.game)
    path = Path(config.checkpoints_dir) / envs.display_name(game) / f"{name}-seed{config.seed}"
    precision = config.precision
    if precision == "auto" and not fresh and _is_there(path / "config.yaml"):
        precision = load_run_config(path).precision
        if precision == "tf32" and device.type == "cpu":
            raise ConfigError(
                f"{path} was trained on a GPU and cannot be continued on the CPU; repeat its "
                "command where torch can use a GPU, or start anew with --fresh"
            )
    precision = resolve_precision(precision, device)
    use_precision(precision)
    config = dataclasses.replace(config, game=game, precision=precision)  # one spelling for all
    if not envs.atari_rom(game):  # a game that cannot be played leaves no folder behind
        envs.make(config, 1).close()
        if config.render:
            envs.ScreenEnvironment(config).close()
    with _cluster(config, address):
        return _train(config, path, device, fresh)


def _is_there(file: Path) -> bool:
    """Whether there is such a file; not so where it may not be looked for, which is said later."""
    try:
        return file.exists()
    except OSError:
        return False


def _train(config: Config, path: Path, device: torch.device, fresh: bool) -> int:
    """Train in a run's folder; returns the exit status."""
    folder = RunFolder(path)
    handler = log_to_file(folder.path / "train.log")
    try:
        if not fresh:
            _check_identity(config, folder.path)
        return _run(config, folder, device, fresh)
    except ConfigError:  # refused, so nothing is logged to the folder either
        raise
    except RunStopped as error:
        log.error("error: %s.", error)
    except OSError as error:  # before the first step: later ones are handled where they occur
        where = f" ({error.filename})" if error.filename else ""
        why = f"{error.strerror or error}{where}"
        log.error("error: %s; what was saved in %s is still there.", why, folder.path)
    except Exception:  # a bug, or a GPU out of memory
        log.exception("error: the run failed; what was saved in %s is still there.", folder.path)
    finally:
        log.removeHandler(handler)
        handler.close()
        folder.close()
    return 1


def _run(config: Config, folder: RunFolder, device: torch.device, fresh: bool) -> int:
    """Run to the end, or until a signal."""
    with StopSignals() as stop:
        try:
            agent = _make_agent(config, device, stop)
            if fresh and (aside := folder.set_aside()):
                log.info("The old run is in %s.", aside)
            with Session(config, agent, folder.path, device, stop) as session:
                if session.already_finished:
                    _say_what_is_there(folder.path)
                    return 0
                loop(session)
                session.save_for_certain()
        except StoppedEarly:
            log.info("Stopped before a new step; no checkpoint was changed.")
            return stop.exit_status
        if stop.received:
            log.info("Stopped by %s; the same command continues.", stop.received.name)
        else:
            log.info("Done: %s.", counted(session.step, "step"))
            _say_what_is_there(folder.path)
        return stop.exit_status


def _cluster(config: Config, address: str | None) -> AbstractContextManager[None]:
    """The Ray cluster that a run's actors need, if it has any."""
    if not config.actors:
        return nullcontext()
    from dqn.scale import cluster, rollouts

    needed = rollouts.store_bytes(config)
    return cluster.connect(address, max(needed, cluster.OBJECT_STORE_BYTES))


def _make_agent(
    config: Config, device: torch.device, stop: Callable[[], bool]
) -> Agent[LearnerProtocol]:
    if config.method != "dqn":
        return tabular.make_agent(config, device)
    if config.actors:
        from dqn.scale import distributed  # imports Ray, which may be missing

        return distributed.make_agent(config, device, stop)
    return factory.make_agent(config, device)


def _say_what_is_there(folder: Path) -> None:
    """Log the best evaluation of a finished run, its curves, and the command that plays the best
    model."""
    try:
        best = read_manifest(folder / "best")
        mean = float(best.evaluation["mean"])
    except (CorruptCheckpoint, ConfigError, KeyError, TypeError, ValueError) as error:
        log.warning("The best model cannot be read: %s.", error)
        return
    log.info("Best evaluation: mean %.1f, at step %s.", mean, f"{best.step:,}")
    if (folder / "curves.png").exists():
        log.info("Curves: %s", folder / "curves.png")
    is_latest = best.step == step_of(newest_first(folder)[0])
    which = "" if is_latest else " --checkpoint best"
    watch = f"python main.py play {shlex.quote(str(folder))}{which} --gif game.gif"
    log.info("Watch it: %s", as_started(watch))


def _check_identity(config: Config, folder: Path) -> None:
    """Refuse to continue a run's folder under another config."""
    if not (folder / "config.yaml").exists():
        if any(folder.glob("step_*")):
            raise ConfigError(
                f"{folder} has checkpoints but no config.yaml to say which config they belong to; "
                "--fresh moves them aside and starts anew"
            )
        return
    differences = differing_fields(config, load_run_config(folder))
    if differences:
        raise ConfigError(
            f"{folder} belongs to another config ({'; '.join(differences)}): repeat its options, "
            "choose another --config or --seed, or move it aside with --fresh"
        )
