"""Names of games (Gymnasium's spelling, the ROM's, or the id of any Gymnasium environment), and of
evaluation protocols."""

import difflib

import ale_py  # noqa: F401  registers the ALE ids with Gymnasium
import gymnasium
from ale_py import roms

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs.maze import ACTIONS, MAZE

ATARI_ENTRY_POINT = "ale_py.env:AtariEnv"
"""Entry point of the Atari games in Gymnasium's registry."""

_ACTION_NAMES = {
    MAZE.partition("-")[0]: tuple(ACTIONS),
    "CartPole": ("left", "right"),
    "MountainCar": ("left", "none", "right"),
    "FrozenLake": ("left", "down", "right", "up"),
    "CliffWalking": ("up", "right", "down", "left"),
}
"""By the id without its version."""


def _camel(rom: str) -> str:
    return "".join(word.title() for word in rom.split("_"))  # tic_tac_toe_3d: TicTacToe3D


def _key(game: str) -> str:
    name = game.removeprefix("ALE/").removesuffix("-v5")
    return name.replace("_", "").replace(" ", "").lower()


def atari_rom(game: str | None) -> str | None:
    """The ROM of an Atari game, or None for any other name.

    ``SpaceInvaders``, ``space_invaders``, ``Space Invaders`` and ``ALE/SpaceInvaders-v5`` are
    equivalent.
    """
    key = _key(game or "")
    return next((rom for rom in roms.get_all_rom_ids() if rom.replace("_", "") == key), None)


def gymnasium_id(game: str | None) -> str:
    """Gymnasium's id of an Atari game: ``ALE/SpaceInvaders-v5``."""
    rom = atari_rom(game)
    assert rom is not None, game
    return f"ALE/{_camel(rom)}-v5"


def display_name(game: str) -> str:
    """Name for the run's folder: ``SpaceInvaders``, or an id with its slashes replaced."""
    rom = atari_rom(game)
    return _camel(rom) if rom else game.replace("/", "-")


def atari_games() -> list[str]:
    """Every Atari game that can be played alone: ``Adventure``, ``AirRaid``, ..."""
    names = map(_camel, sorted(roms.get_all_rom_ids()))
    return [name for name in names if gymnasium_id(name) in gymnasium.registry]


def resolve_game(game: str | None) -> str:
    """The canonical name of a playable game: ``SpaceInvaders`` for any of its spellings, or the id
    of another environment.

    Raises:
        ConfigError: no game given, a game that cannot be played, or an unknown name (the message
            suggests similar ones).
    """
    if not game:
        raise ConfigError("no game given; try --game Breakout")
    rom = atari_rom(game)
    if rom:
        if gymnasium_id(game) not in gymnasium.registry:
            # Gymnasium does not register these: loading one would abort the whole process.
            raise ConfigError(f"{_camel(rom)} is for two players and cannot be played alone")
        return _camel(rom)
    if game in gymnasium.registry:
        spec = gymnasium.registry[game]
        if spec.entry_point == ATARI_ENTRY_POINT:
            name = _camel(spec.kwargs["game"])
            raise ConfigError(f"{game} is an outdated id of {name}; try --game {name}")
        return game
    names = atari_games()
    for name, spec in gymnasium.registry.items():
        if "/" not in name and spec.entry_point != ATARI_ENTRY_POINT:
            names.append(name)
    by_key = {name.lower(): name for name in names}
    near = [by_key[key] for key in difflib.get_close_matches(_key(game), by_key)]
    hint = f"did you mean {' or '.join(near)}?" if near else "try --game Breakout"
    raise ConfigError(f"unknown game {game!r}; {hint}")


def action_names(game: str, num_actions: int) -> tuple[str, ...]:
    """The names of an environment's actions that is no Atari game: ``left``, or its number."""
    names = _ACTION_NAMES.get(game.rpartition("-")[0], ())
    return names if len(names) == num_actions else tuple(map(str, range(num_actions)))


def protocol_name(config: Config, atari: bool) -> str:
    """Label of what scores depend on besides the agent: ``classic``, ``machado, full action set``,
    ``gymnasium, bfloat16``, ..."""
    words: list[str] = [config.env.protocol if atari else "gymnasium"]
    if atari and config.env.full_action_set:
        words.append("full action set")
    if atari and config.env.frame_size != EnvConfig.frame_size:
        words.append(f"{config.env.frame_size}x{config.env.frame_size} pictures")
    if atari and config.env.max_episode_frames != EnvConfig.max_episode_frames:
        words.append(f"at most {config.env.max_episode_frames:,} frames")
    if not atari and config.env.max_episode_steps is not None:
        words.append(f"at most {config.env.max_episode_steps:,} steps")
    if config.precision not in ("auto", "float32"):
        words.append(config.precision)
    return ", ".join(words)
