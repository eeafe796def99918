"""Which game is meant: Gymnasium's spelling, the ROM's, an id, or another environment's id."""

import difflib
import warnings

import ale_py  # noqa: F401  registers the ALE ids with Gymnasium
import gymnasium
from ale_py import roms

from dqn.config import ConfigError


def _camel(rom: str) -> str:
    return "".join(word.capitalize() for word in rom.split("_"))


def atari_rom(game: str) -> str | None:
    """The ROM that ``game`` names, or None if it names none.

    ``SpaceInvaders``, ``space_invaders`` and ``ALE/SpaceInvaders-v5`` are the same.
    """
    plain = game.removeprefix("ALE/").removesuffix("-v5")
    key = plain.replace("_", "").lower()
    for rom in roms.get_all_rom_ids():
        if rom.replace("_", "") == key:
            return rom
    return None


def display_name(game: str) -> str:
    """The name of the run's folder: ``SpaceInvaders``, or an id without its slashes."""
    rom = atari_rom(game)
    return _camel(rom) if rom else game.replace("/", "-")


def resolve(game: str | None) -> str:
    """Make sure that ``game`` can be played, and return it.

    Raises:
        ConfigError: no game at all, or an unknown one (with the nearest names).
    """
    if not game:
        raise ConfigError("no game given; try --game Breakout")
    if atari_rom(game) or game in gymnasium.registry:
        return game
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        others = [name for name in gymnasium.registry if "/" not in name and "-v" in name]
    names = [_camel(rom) for rom in roms.get_all_rom_ids()]
    by_key = {name.lower(): name for name in names + others}
    wanted = game.removeprefix("ALE/").removesuffix("-v5").replace("_", "").lower()
    near = [by_key[key] for key in difflib.get_close_matches(wanted, by_key, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else "see the list in the README"
    raise ConfigError(f"unknown game {game!r}; {hint}")
