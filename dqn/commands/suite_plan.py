"""Which runs a suite has: each is one command line, read as the ``train`` command reads it."""

import dataclasses
import json
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dqn import envs
from dqn.config import MAY_CHANGE_ON_RESUME, Config, ConfigError, differing_fields, flatten
from dqn.config.cli import parse
from dqn.config.commands import SuiteOptions, TrainOptions
from dqn.config.suite_file import SuiteFile, read_suite_file
from dqn.config.words import as_started, as_typed, shown
from dqn.config.yaml_file import load_run_config
from dqn.report.run_files import provenance_of
from dqn.storage.files import sha256


class PlannedRun(NamedTuple):
    """A run of a suite."""

    game: str
    """As its folder is called."""
    name: str
    """Of its config."""
    config: Config
    command: str
    """What makes the same run alone."""

    @property
    def label(self) -> str:
        """Its folder's name below the folder of all runs."""
        return f"{self.game}/{self.name}-seed{self.config.seed}"

    @property
    def folder(self) -> Path:
        """Its folder."""
        return Path(self.config.checkpoints_dir) / self.label


class Plan(NamedTuple):
    """All runs of a suite, in order."""

    name: str
    runs: list[PlannedRun]

    @property
    def folder(self) -> Path:
        """Where suite.json is."""
        return Path(self.runs[0].config.checkpoints_dir) / "suites" / self.name


def make_plan(options: SuiteOptions) -> Plan:
    """The runs that the options ask for.

    Raises:
        ConfigError: something is unknown, missing, given twice or cannot be combined.
    """
    file = read_suite_file(options.run) if options.run else SuiteFile()
    known = flatten(Config)
    typed = {name: text for name, text in options.typed if name in known}
    variants = _split(options.configs) or file.configs
    if not variants and not options.config:
        raise ConfigError("no config given for the suite's runs; try --config laptop")
    games: tuple[str | None, ...] = _resolved(_split(options.games) or file.games) or (None,)
    seeds = tuple(range(1, options.seeds + 1)) if options.seeds else file.seeds or (1,)
    _check_once("seed", map(str, seeds))
    # Later ones take precedence, and the command line over both.
    settings = {name: shown(value) for name, value in file.settings.items()} | typed
    runs = []
    for game in games:
        for variant in variants or (None,):
            for seed in seeds:
                files = [*options.config, *([variant] if variant else [])]
                runs.append(_make_run(game, files, seed, settings, options))
            envs.make(runs[-1].config, 1).close()  # refuses settings that the game does not have
    _check_once("run", (run.label for run in runs))
    if len({run.config.checkpoints_dir for run in runs}) > 1:
        raise ConfigError("checkpoints_dir must be the same for all runs of a suite")
    name = Path(options.run).stem if options.run else "-".join(dict.fromkeys(r.name for r in runs))
    name = options.name or name
    if Path(name).name != name or name == "..":
        raise ConfigError(f"--name {name} is not the name of a folder")
    return Plan(name, runs)


def _make_run(
    game: str | None, files: list[str], seed: int, settings: dict[str, str], options: SuiteOptions
) -> PlannedRun:
    """One run. What depends on the machine alone (threads, device) depends on its share here."""
    arguments = [*(["--game", game] if game else []), "--seed", str(seed)]
    for file in files:
        arguments += ["--config", file]
    arguments += [f"{as_typed(name)}={text}" for name, text in settings.items()]
    config = parse(TrainOptions, arguments).settings
    if config.actors:
        raise ConfigError("a suite's runs play by themselves; leave --actors out, or train alone")
    if config.device == "cuda" and not options.gpus_per_run:
        raise ConfigError("device is cuda, which needs a share of a GPU: --gpus-per-run 1, or less")
    cpus = str(max(1, int(options.cpus_per_run)))
    shares = [
        ("threads", config.threads == 0, cpus),
        ("env.threads", config.env.threads == 0, cpus),
        ("device", config.device == "auto", "cuda" if options.gpus_per_run else "cpu"),
    ]
    arguments += [f"{as_typed(name)}={value}" for name, unset, value in shares if unset]
    train = parse(TrainOptions, arguments)
    config = dataclasses.replace(train.settings, game=envs.resolve_game(train.settings.game))
    command = as_started(f"python main.py {shlex.join(arguments)}")
    assert config.game
    return PlannedRun(envs.display_name(config.game), train.name, config, command)


def identity(run: PlannedRun) -> str:
    """A digest of the settings that make it this run."""
    settings = flatten(run.config)
    fixed = {name: value for name, value in settings.items() if name not in MAY_CHANGE_ON_RESUME}
    return sha256(json.dumps(fixed, sort_keys=True).encode())


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(part for part in map(str.strip, (text or "").split(",")) if part)


def _resolved(games: Iterable[str]) -> tuple[str, ...]:
    """The games' usual names; an error names all that cannot be played."""
    names, errors = [], []
    for game in games:
        try:
            names.append(envs.resolve_game(game))
        except ConfigError as error:
            errors.append(str(error))
    if len(errors) > 1:
        all_errors = "; ".join(error.replace("; ", ", ") for error in errors)
        raise ConfigError(f"{len(errors)} games cannot be played: {all_errors}")
    if errors:
        raise ConfigError(errors[0])
    _check_once("game", names)
    return tuple(names)


def _check_once(kind: str, names: Iterable[str]) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"the suite has {kind} {name} twice; all runs must differ")
        seen.add(name)


def check_folders(runs: Iterable[PlannedRun]) -> None:
    """Refuse to continue a run's folder under another config.

    Raises:
        ConfigError: the first folder that belongs to another config, and the differing fields.
    """
    for run in runs:
        if differences := list(_differences(run)):
            raise ConfigError(
                f"{run.folder} belongs to another config ({'; '.join(differences)}): repeat its "
                "options, or choose another --config or --checkpoints-dir"
            )


def _differences(run: PlannedRun) -> Iterator[str]:
    if (run.folder / "config.yaml").exists():
        theirs = load_run_config(run.folder)
        ours = run.config
        if ours.precision == "auto":
            ours = dataclasses.replace(ours, precision=theirs.precision)
        yield from differing_fields(ours, theirs)
        device = provenance_of(run.folder).get("device", ours.device)
        if theirs.device == "auto" and (device == "cpu") != (ours.device == "cpu"):
            yield f"device is {ours.device}, was {device}"
