"""The loop, and how a run begins and ends."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from dqn import envs
from dqn.config import Config, ConfigError, differing_fields
from dqn.config.options import as_yaml, load_config
from dqn.device import resolve_device, use_deterministic_operations, use_threads
from dqn.learning.interfaces import Agent, LearnerProtocol
from dqn.run.folder import RunFolder
from dqn.run.process import StopSignals, log_to_file
from dqn.run.session import RunStopped, Session, StoppedEarly
from dqn.schedule import due, epsilon, epsilons, learning_rate, updates_due
from dqn.storage.files import replace_file
from dqn.storage.manifest import versions

log = logging.getLogger("dqn")


def loop(session: Session) -> None:
    """Add the time step, act on it, send, learn, receive, until the run ends or is stopped.

    The emulators' threads run between send and receive, while the learner learns. No update sees a
    row that arrived while it ran, so the overlap is deterministic.
    """
    config, agent, metrics = session.config, session.agent, session.metrics
    environment, replay, learner = agent.environment, agent.replay, agent.learner
    timestep = environment.timestep
    while session.before_step():
        before, after = session.step, session.step + config.num_envs
        replay.add_timestep(timestep)
        action = agent.actor.act(timestep.stack, epsilons(config, before))
        environment.send(action)
        replay.add_action(action)
        learner.learning_rate = learning_rate(config, before)
        agent.learn(updates_due(config, before, after))
        timestep = environment.receive()
        session.step = after
        for _ in range(due(before, after, config.learner.target_period)):
            learner.sync_target()
        metrics.count(timestep, after, epsilon(config, after))
        if due(before, after, config.report_period):
            session.report()


MakeAgent = Callable[[Config, torch.device], Agent[LearnerProtocol]]


def train(make_agent: MakeAgent, config: Config, name: str, fresh: bool) -> int:
    """Train, or continue, the run of a config; returns the exit status.

    ``make_agent`` is that of the config's method; ``name`` is the preset's, for the run's folder;
    ``fresh`` moves an old run aside.

    Raises:
        ConfigError: what was typed or configured is wrong, or the folder is another run's.
    """
    device = resolve_device(config.device)
    use_threads(config.threads)
    if config.deterministic:
        use_deterministic_operations(device)
    game = envs.resolve_game(config.game)
    config = dataclasses.replace(config, game=game)  # its one name, however it was spelt
    if not envs.is_atari(game):  # a game that cannot be played leaves no folder behind
        envs.make(config, 1).close()
    home = Path(config.checkpoints_dir) / envs.display_name(game)
    folder = RunFolder(home / f"{name}-seed{config.seed}")
    handler = log_to_file(folder.path / "train.log")
    try:
        if not fresh:
            _check_identity(config, folder.path)
        return _run(make_agent, config, folder, device, fresh)
    except ConfigError:  # refused: nothing was changed, and nothing is written here either
        raise
    except RunStopped as error:
        log.error("error: %s.", error)
    except OSError as error:  # before the first step: later ones are taken care of where they occur
        log.error(
            "error: %s (%s); what was saved in %s is still there.",
            error.strerror or error, error.filename, folder.path,
        )  # fmt: skip
    except Exception:  # a mistake of ours, or a GPU's memory at its end
        log.exception("error: the run broke; what was saved in %s is still there.", folder.path)
    finally:
        log.removeHandler(handler)
        handler.close()
        folder.close()
    return 1


def _run(
    make_agent: MakeAgent, config: Config, folder: RunFolder, device: torch.device, fresh: bool
) -> int:
    """From the first checkpoint or the newest to the end, or until told to stop."""
    with StopSignals() as stop:
        session = Session(config, make_agent(config, device), folder.path, device, stop)
        aside = folder.set_aside() if fresh else None
        try:
            session.begin()
        except StoppedEarly:
            log.info("Stopped before it went on: nothing was changed.")
            return stop.exit_status
        if aside:
            log.info("The old run is in %s.", aside)
        if session.finished:
            return 0
        text = _comments(session) + as_yaml(config)
        replace_file(folder.path / "config.yaml", text.encode())
        session.metrics.open(session.step, session.agent.learner.updates, as_yaml(config))
        try:
            loop(session)
            while not session.save():
                pass  # the second failure in a row raises
        finally:
            session.metrics.close()
            session.agent.environment.close()
        if stop.received:
            log.info("Stopped by %s; the same command continues.", stop.received.name)
        else:
            log.info("Done: %s steps.", f"{session.step:,}")
        return stop.exit_status


def _check_identity(config: Config, folder: Path) -> None:
    """A run's folder is continued under its own config only."""
    if not (folder / "config.yaml").exists():
        if any(folder.glob("step_*")):
            raise ConfigError(
                f"{folder} has checkpoints but no config.yaml to say whose they are; --fresh moves "
                "them aside and starts anew"
            )
        return
    differences = differing_fields(config, load_config(folder / "config.yaml"))
    if differences:
        raise ConfigError(
            f"{folder} belongs to another config ({'; '.join(differences)}): repeat its options, "
            "name another --config or --seed, or move it aside with --fresh"
        )


def _comments(session: Session) -> str:
    """What is worth knowing of a run beside its config, for the head of config.yaml."""
    about = session.about
    lines = [f"{key}: {about[key]}" for key in ("game", "protocol", "device", "threads")]
    lines += [f"{package} {number}" for package, number in versions().items()]
    return "".join(f"# {line}\n" for line in lines)
