"""What each command accepts beside the settings; a class's docstring describes the command."""

import re
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Interval

from dqn.config.fields import (
    Device,
    File,
    Folder,
    Games,
    Gif,
    Html,
    Mp4,
    Onnx,
    Png,
    Probability,
    Seed,
    validated,
)  # fmt: skip
from dqn.config.schema import Config

Run = Annotated[str, "RUN"]
Checkpoint = Annotated[str, "latest|best|STEP"]


@validated
class TrainOptions:
    """Train a deep Q-network on a game. The same command again resumes the run at its last
    checkpoint. Other commands, each with its own --help: main.py evaluate RUN; main.py play RUN;
    main.py watch RUN; main.py export RUN FILE.onnx; main.py compare RUN RUN; main.py report RUN;
    main.py bench; main.py suite. The command line takes precedence over --config, and both over the
    defaults below; in YAML, names have underscores and sections are mappings. Whole numbers may be
    written 2_000_000 or 2e6; an option that is true or false may stand alone for true. A step is
    one decision in one environment, 4 emulator frames on Atari."""

    usage: ClassVar = "main.py [train] --game GAME [--OPTION VALUE ...]"
    config: tuple[File, ...] = ()
    """Preset, such as laptop, or YAML file of settings; its name becomes part of the run's; may be
    repeated."""
    fresh: bool = False
    """Move an old run of the same name aside and start anew."""
    address: Annotated[str, "ADDRESS"] | None = None
    """--actors: Ray cluster to join, HOST:PORT, or auto for the one that this machine is a node of
    (null: one of this machine alone, which ends with the run)."""
    print_config: bool = False
    """Print every setting as YAML for --config, and exit."""
    version: bool = False
    """Print the versions of the program and its packages, and exit."""
    list_games: bool = False
    """List the Atari games with published scores, and exit."""
    settings: Config = Config()

    @property
    def name(self) -> str:
        """The last preset's, for the run's folder."""
        return Path(self.config[-1]).stem if self.config else "dqn"


@validated
class BenchOptions:
    """Measure each part of training on this machine, where the time of the training loop goes, and
    how close it comes to the limit that its parts set."""

    usage: ClassVar = "main.py bench [--OPTION VALUE ...]"
    config: tuple[File, ...] = ()
    """Preset or YAML file of the settings to measure; may be repeated."""
    seconds: Annotated[float, Interval(gt=0, le=3600)] = 10.0
    """Duration of each measurement, in seconds."""
    profile: bool = False
    """Also list the ten operations that an update spends most of its time in."""
    emulator: bool = False
    """Measure only the emulators: five Atari games, or the one given, in 8, 32 and 128 environments
    with 1 and all threads, while nothing else runs."""
    peers: bool = False
    """Also measure Stable-Baselines3's DQN, or with --emulator EnvPool (requirements-bench.txt)."""
    json: File | None = None
    """Also write the results to this file."""
    settings: Config = Config()


@validated
class EvaluateOptions:
    """Evaluate a trained agent on whole episodes, under the protocol it was trained with."""

    usage: ClassVar = "main.py evaluate RUN [--OPTION VALUE ...]"
    example: ClassVar = "main.py evaluate pong-laptop"
    run: Run
    """A run's folder, or a shipped agent, such as pong-laptop."""
    checkpoint: Checkpoint = "latest"
    """Which checkpoint to evaluate."""
    seed: Seed = 0
    """Seed of the episodes, which differ from those of training."""
    device: Device = "auto"
    """Device of the network (auto: the GPU if PyTorch can use one)."""
    episodes: Games | None = None
    """Episodes, played in parallel environments (null: as many as in training)."""
    epsilon: Probability | None = None
    """Probability of a random action (null: as in training's evaluations)."""
    json: File | None = None
    """Also write the scores to this file."""


@validated
class PlayOptions:
    """Play one episode with a trained agent and show it."""

    usage: ClassVar = "main.py play RUN [--OPTION VALUE ...]"
    example: ClassVar = "main.py play pong-laptop --gif pong.gif"
    run: Run
    """A run's folder, or a shipped agent, such as pong-laptop."""
    checkpoint: Checkpoint = "latest"
    """Which checkpoint plays."""
    seed: Seed = 0
    """Seed of the episode, which differs from those of training."""
    device: Device = "auto"
    """Device of the network (auto: the GPU if PyTorch can use one)."""
    video: Mp4 | None = None
    """Write a video."""
    gif: Gif | None = None
    """Write an animated GIF."""
    png: Folder | None = None
    """Write one PNG per decision."""
    window: bool = False
    """Show it in a window."""


@validated
class WatchOptions:
    """Watch trained agents play in the browser: the screen, what the network sees, how it values
    each action. The page is for this machine only; open it in several windows for several games."""

    usage: ClassVar = "main.py watch RUN [RUN ...] [--OPTION VALUE ...]"
    example: ClassVar = "main.py watch pong-laptop"
    run: tuple[Run, ...]
    """Folders of the runs, or shipped agents; a tab each."""
    port: Annotated[int, Interval(ge=1, le=65535)] | None = None
    """Port on 127.0.0.1 (null: 6007, or the next one that is free)."""
    seed: Seed = 0
    """Seed of the first game, which is the one that play shows."""
    device: Device = "auto"
    """Device of the network (auto: the GPU if PyTorch can use one)."""


@validated
class ExportOptions:
    """Write a trained network as an ONNX file, which runs without PyTorch (pip install -r
    requirements-export.txt): stacks of frames in, action values out. The file is run on states of
    the game, and kept if it computes the same as the network."""

    usage: ClassVar = "main.py export RUN FILE.onnx [--OPTION VALUE ...]"
    example: ClassVar = "main.py export pong-laptop pong.onnx"
    run: Run
    """A run's folder, or a shipped agent, such as pong-laptop."""
    file: Onnx
    """The file to write."""
    checkpoint: Checkpoint = "latest"
    """Which checkpoint to export."""


@validated
class CompareOptions:
    """Compare runs of one game: their evaluations at equal steps and at equal wall time, beside
    published scores."""

    usage: ClassVar = "main.py compare RUN [RUN ...] [--picture FILE.png]"
    example: ClassVar = "main.py compare checkpoints/Pong/dqn-seed1 checkpoints/Pong/dqn-seed2"
    run: tuple[Run, ...]
    """Folders of the runs, or shipped agents."""
    picture: Png | None = None
    """Plot training returns and evaluations over steps and over minutes."""


@validated
class ReportOptions:
    """Write a page about runs: learning curves over steps and wall time with published scores
    behind them, tables, distributions of evaluations, films, and for a suite its scores over games.
    The file opens in any browser, and needs no network."""

    usage: ClassVar = "main.py report RUN|FOLDER|SUITE ... [--html FILE.html]"
    example: ClassVar = "main.py report checkpoints/Pong"
    run: tuple[Annotated[str, "RUN|FOLDER|SUITE"], ...]
    """Folders of runs, folders that hold them (checkpoints, checkpoints/Pong), or folders of suites
    (checkpoints/suites/atari5)."""
    html: Html = "report.html"
    """The file."""
    films: bool = False
    """Put the films of the best run's evaluations into the file, which otherwise plays them from
    the run's folder."""
    every: Annotated[float, Interval(ge=1, le=86_400)] | None = None
    """Write it again after so many seconds, until Ctrl-C; open pages follow (null: write once)."""


@validated
class SuiteOptions:
    """Train each game with each config and each seed, as tasks of a Ray cluster (pip install -r
    requirements-ray.txt), and summarize the scores. Every run is the one that main.py makes alone,
    in the same folder. The same command again resumes what is unfinished and starts what is
    missing. Ctrl-C saves every run. Settings of a run may be given too, and are every run's."""

    usage: ClassVar = "main.py suite SUITE | --games A,B [--OPTION VALUE ...]"
    without: ClassVar = ("game", "seed", "actors")
    run: Annotated[str, "SUITE"] = ""
    """A shipped suite (atari5, pong_seeds, smoke) or a YAML file."""
    games: Annotated[str, "GAME,..."] | None = None
    """Games, separated by commas."""
    seeds: Annotated[int, Interval(ge=1, le=1000)] | None = None
    """Each game is trained with each config and seeds 1 to this (null: the suite's seeds, or 1)."""
    config: tuple[File, ...] = ()
    """Preset or YAML file of the settings that all runs share; may be repeated."""
    configs: Annotated[str, "FILE,..."] | None = None
    """Presets or YAML files to compare, separated by commas; they take precedence over --config."""
    name: Annotated[str, "NAME"] | None = None
    """Name of the suite, for suites/NAME in the folder of all runs (by default the suite's file, or
    its configs)."""
    cpus_per_run: Annotated[float, Interval(gt=0, le=1024)] = 1.0
    """CPUs reserved for each run; where threads or env.threads is 0 it becomes this number."""
    gpus_per_run: Annotated[float, Interval(ge=0, le=64)] = 0.0
    """GPUs reserved for each run (below 1: several runs share one; 0: none)."""
    address: Annotated[str, "auto|HOST:PORT"] | None = None
    """Existing Ray cluster, of which this machine is a node (null: one is started here)."""
    typed: tuple[tuple[str, str], ...] = ()
    settings: Config = Config()


COMMANDS: dict[str, type] = {
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
    "play": PlayOptions,
    "watch": WatchOptions,
    "export": ExportOptions,
    "compare": CompareOptions,
    "report": ReportOptions,
    "bench": BenchOptions,
    "suite": SuiteOptions,
}
"""The options of each module in ``dqn.commands``."""


def overview() -> str:
    """The commands, a line each."""
    lines = []
    for kind in COMMANDS.values():
        usage = str(vars(kind)["usage"]).replace("[train] ", "")
        usage = usage.removesuffix(" [--OPTION VALUE ...]")
        sentence = re.split(r"[.:,]", " ".join(str(kind.__doc__).split()))[0]
        lines.append(f"  {usage:46} {sentence}")
    return "\n".join(["Commands, each with --help:", *lines])
