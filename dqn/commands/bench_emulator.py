"""``bench --emulator``: frames per second of ALE's vector environment, made as this program makes
it, for any number of cores; with ``--peers`` EnvPool's beside it, in turns."""

import dataclasses
import importlib.util
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

import numpy as np

from dqn import envs
from dqn.commands.bench_table import Figures, print_sentence
from dqn.commands.bench_timing import Announcer, rates
from dqn.config import Config, ConfigError, EnvConfig, flatten
from dqn.config.commands import BenchOptions
from dqn.config.words import as_typed, counted
from dqn.device import cores
from dqn.envs.atari import FRAME_SKIP, NOOP_MAX, STICKY, AtariEngine
from dqn.seeds import environment_seeds, numpy_generator
from dqn.storage.provenance import versions

GAMES = ("Breakout", "Pong", "SpaceInvaders", "Seaquest", "MsPacman")
ENVIRONMENTS = (8, 32, 128)
APPLIES = (
    "game", "seed", "env.protocol", "env.full_action_set", "env.frame_size",
    "env.max_episode_frames",
)  # fmt: skip
"""Settings that change what is measured."""

Step = Callable[[], object]


def check(options: BenchOptions) -> None:
    """Refuse what cannot be measured.

    Raises:
        ConfigError: an option has no effect, the game is not Atari's, or there is no EnvPool.
    """
    if options.profile:
        raise ConfigError("--profile has no effect with --emulator, which makes no updates")
    for name, default in flatten(Config()).items():
        if name not in APPLIES and flatten(options.settings)[name] != default:
            raise ConfigError(f"{as_typed(name)} has no effect with --emulator; leave it out")
    game = options.settings.game
    if game and not envs.atari_rom(envs.resolve_game(game)):
        raise ConfigError(f"--emulator measures Atari games, not {game}")
    if options.peers and importlib.util.find_spec("envpool") is None:
        raise ConfigError(
            "--emulator --peers needs EnvPool: .venv/bin/pip install -r requirements-bench.txt"
        )


def measure(options: BenchOptions, announce: Announcer) -> Figures:
    """Frames per second of each game, number of threads and number of environments."""
    settings = options.settings
    games = [envs.resolve_game(settings.game)] if settings.game else GAMES
    programs = {"ale": ale} | ({"envpool": envpool} if options.peers else {})
    found = []
    for game, threads, num_envs in cells(games):
        announce(f"{game}, {counted(threads, 'thread')}, {counted(num_envs, 'environment')}")
        # niceness 0, as EnvPool's threads have it
        env = dataclasses.replace(settings.env, threads=threads, niceness=0)
        with ExitStack() as stack:
            steps = [make(game, num_envs, env, settings.seed, stack) for make in programs.values()]
            speeds = rates(steps, options.seconds)
        frames = {
            f"{name}_frames_per_second": FRAME_SKIP * num_envs * speed
            for name, speed in zip(programs, speeds, strict=True)
        }
        found.append({"game": game, "threads": threads, "num_envs": num_envs} | frames)
    installed = versions() | ({"envpool": version("envpool")} if options.peers else {})
    return {"cores": cores(), "versions": installed, "emulators": found}


def cells(games: tuple[str, ...] | list[str]) -> Iterator[tuple[str, int, int]]:
    """Every game with every number of threads and of environments."""
    for game in games:
        for threads in sorted({1, cores()}):
            for num_envs in ENVIRONMENTS:
                yield game, threads, num_envs


def ale(game: str, num_envs: int, env: EnvConfig, seed: int, stack: ExitStack) -> Step:
    """Steps this program's engine at random; ``stack`` closes it."""
    rom = envs.atari_rom(game)
    assert rom is not None, game
    engine = AtariEngine(rom, num_envs, env)
    stack.callback(engine.close)
    everyone = np.arange(num_envs)
    engine.reset(environment_seeds(seed, "bench", everyone, np.zeros_like(everyone)))
    generator, unseeded = numpy_generator(seed, "bench"), np.full(num_envs, -1)

    def step() -> None:
        engine.send(generator.integers(engine.spec.num_actions, size=num_envs), unseeded)
        engine.receive()

    return step


def envpool(game: str, num_envs: int, env: EnvConfig, seed: int, stack: ExitStack) -> Step:
    """Steps EnvPool at random, with the same settings; ``stack`` closes it."""
    import envpool

    pool: Any = envpool.make_gymnasium(
        envs.gymnasium_id(game).removeprefix("ALE/"),
        num_envs=num_envs,
        batch_size=num_envs,
        num_threads=min(env.threads or cores(), num_envs),
        max_episode_steps=env.max_episode_frames // FRAME_SKIP,
        repeat_action_probability=STICKY[env.protocol],
        full_action_space=env.full_action_set,
        img_height=env.frame_size,
        img_width=env.frame_size,
        stack_num=1,
        frame_skip=FRAME_SKIP,
        noop_max=NOOP_MAX,
        use_fire_reset=False,
        seed=seed,
    )
    stack.callback(pool.close)
    pool.reset()
    generator = numpy_generator(seed, "bench")
    return lambda: pool.step(generator.integers(pool.action_space.n, size=num_envs))


def print_table(figures: Figures) -> None:
    """Print a line for each game, program and number of threads, and what a core makes."""
    found = figures["emulators"]
    programs = {"ale_frames_per_second": "ALE", "envpool_frames_per_second": "EnvPool"}
    print(f"\n{'frames/s while playing at random':34}{'environments':>22}{'per core':>23}")
    print("game          by       threads" + 2 * "".join(f"{n:>8}" for n in ENVIRONMENTS))
    for game in dict.fromkeys(row["game"] for row in found):
        for threads in dict.fromkeys(row["threads"] for row in found):
            rows = [row for row in found if (row["game"], row["threads"]) == (game, threads)]
            for key, program in programs.items():
                if key in rows[0]:
                    frames = [row[key] for row in rows]
                    per_core = [row[key] / min(threads, row["num_envs"]) for row in rows]
                    numbers = "".join(f"{number:>8,.0f}" for number in frames + per_core)
                    print(f"{game:14}{program:9}{threads:>7}{numbers}")
    print_sentence(conclusion(found))


def conclusion(found: list[dict[str, Any]]) -> str:
    """What one core makes, and all of them."""
    key = "ale_frames_per_second"
    alone = {(row["game"], row["num_envs"]): row for row in found if row["threads"] == 1}
    slowest, fastest = (choose(alone.values(), key=lambda row: row[key]) for choose in (min, max))
    low, high = (
        f"{row[key]:,.0f} frames/s ({row['game']} in {row['num_envs']} environments)"
        for row in (slowest, fastest)
    )
    sentence = f"One core makes {low} to {high} with ALE"
    together = [row for row in found if row["threads"] > 1]
    if together:
        gain = statistics.median(
            row[key] / alone[row["game"], row["num_envs"]][key] for row in together
        )
        sentence += f"; {together[0]['threads']} make {gain:.2f} times as many"
    return f"{sentence}."
