"""Names of games: every spelling is found, and a wrong one gets a helpful sentence."""

import gymnasium
import pytest
from ale_py import roms

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs import display_name, make, resolve_game
from dqn.envs.names import atari_rom, protocol_name


def refusal(game: str | None) -> str:
    with pytest.raises(ConfigError) as caught:
        make(Config(game=game), 1)
    message = str(caught.value)
    assert message and "\n" not in message and not message.endswith(".")
    return message


REFUSED = {
    "Pendulum-v1": "discrete",
    "MountainCarContinuous-v0": "discrete",
    "NoSuchGame": "unknown game 'NoSuchGame'",
    "CartPole-v7": "CartPole-v1",
    "cartpole-v1": "CartPole-v1",
    "Brekout": "Breakout",
    "breakot": "Breakout",
    "SpaceInvader": "SpaceInvaders",
    "mspacmen": "MsPacman",
    "ALE/Pnog-v5": "Pong",
    "Breakout-ram-v5": "Breakout",
    # Outdated ids come with their own preprocessing, in addition to ours
    "BreakoutNoFrameskip-v4": "try --game Breakout",
    "SpaceInvaders-v0": "try --game SpaceInvaders",
    # Loading one of these in the emulator would abort the process
    "combat": "two players",
    "Warlords": "two players",
    "maze_craze": "two players",
    "ALE/Joust-v5": "two players",
    None: "no game given",
    "": "no game given",
    "/": "unknown game",
    "../Pong": "unknown game",
}


def test_an_unplayable_game_is_refused_in_one_sentence() -> None:
    for game, words in REFUSED.items():
        assert words in refusal(game), game


def test_every_rom_is_found_by_each_spelling() -> None:
    ids = {s.kwargs["game"]: i for i, s in gymnasium.registry.items() if i.startswith("ALE/")}
    names = set()
    for rom in roms.get_all_rom_ids():
        if rom not in ids:
            assert "two players" in refusal(rom)
            continue
        camel = ids[rom].removeprefix("ALE/").removesuffix("-v5")
        for spelling in (camel, rom, ids[rom], camel.lower(), rom.replace("_", " ")):
            assert resolve_game(spelling) == camel
            assert atari_rom(spelling) == rom
            assert display_name(spelling) == camel
        names.add(camel)
    assert len(names) == len(ids) >= 104


def test_other_ids_are_kept_and_make_a_plain_folder_name() -> None:
    assert atari_rom("CartPole-v1") is None
    assert resolve_game("CartPole-v1") == "CartPole-v1" == display_name("CartPole-v1")
    assert display_name("phys2d/CartPole-v1") == "phys2d-CartPole-v1"


def test_the_label_of_a_protocol_names_what_is_not_its_own() -> None:
    changed = EnvConfig("machado", full_action_set=True, frame_size=48, max_episode_frames=1200)
    for env, atari, label in (
        (EnvConfig(), True, "classic"),
        (changed, True, "machado, full action set, 48x48 pictures, at most 1,200 frames"),
        (EnvConfig(), False, "gymnasium"),
        (EnvConfig(max_episode_steps=1500), False, "gymnasium, at most 1,500 steps"),
    ):
        assert protocol_name(Config(env=env), atari) == label
