"""Names of games: every spelling is found, and a wrong one gets a helpful sentence."""

from typing import Any

import gymnasium
import pytest
from ale_py import roms

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs import atari_games, display_name, make, resolve_game
from dqn.envs.names import atari_rom, protocol_name


def refusal(game: str | None, **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        make(Config(game=game, env=EnvConfig(**settings)), 1)
    message = str(caught.value)
    assert message and "\n" not in message and not message.endswith(".")
    return message


REFUSED = {
    "Pendulum-v1": "Pendulum-v1 has the action space Box(-2.0, 2.0, (1,), float32); a discrete one",
    "NoSuchGame": "unknown game 'NoSuchGame'",
    "CartPole-v7": "did you mean CartPole-v1",
    "cartpole-v1": "did you mean CartPole-v1",
    "Brekout": "did you mean Breakout",
    "mspacmen": "did you mean MsPacman",
    "ALE/Pnog-v5": "did you mean Pong",
    "Breakout-ram-v5": "did you mean Breakout",
    # Outdated ids come with their own preprocessing, in addition to ours
    "BreakoutNoFrameskip-v4": "try --game Breakout",
    "SpaceInvaders-v0": "try --game SpaceInvaders",
    # Loading one of these in the emulator would abort the process
    "combat": "Combat is for two players and cannot be played alone",
    "maze_craze": "two players",
    "ALE/Joust-v5": "two players",
    None: "no game given; try --game Breakout",
    "": "no game given",
    "/": "unknown game '/'; try --game Breakout",
    "../Pong": "unknown game",
}


def test_an_unplayable_game_is_refused_in_one_sentence():
    for game, words in REFUSED.items():
        assert words in refusal(game), game


def test_what_is_suggested_is_the_name_of_a_game():
    games = [*atari_games()[::9], "CartPole-v1", "Acrobot-v1", "Combat", "Pong-v0"]
    for game in games:
        _, _, hint = refusal(f"{game[:2]}{game[3:]}").partition("did you mean ")
        suggested = hint.removesuffix("?").split(" or ") if hint else []
        assert len(suggested) <= 3 and all(resolve_game(name) == name for name in suggested), game
        assert game in suggested or game in ("Combat", "Pong-v0")


def test_a_setting_that_the_game_does_not_have_is_refused():
    for name, value in {
        "protocol": "machado", "full_action_set": True, "frame_size": 48, "max_episode_frames": 99,
    }.items():  # fmt: skip
        assert refusal("CartPole-v1", **{name: value}) == (
            f"env.{name} is for Atari games only; remove it for CartPole-v1"
        )
    assert refusal("pong", max_episode_steps=9) == (
        "env.max_episode_steps does not apply to Pong, which is an Atari game; use "
        "env.max_episode_frames"
    )


def test_every_rom_is_found_by_each_spelling():
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
    assert sorted(names) == atari_games() and len(names) == len(ids) >= 104


def test_other_ids_are_kept_and_make_a_plain_folder_name():
    assert atari_rom("CartPole-v1") is None
    assert resolve_game("CartPole-v1") == "CartPole-v1" == display_name("CartPole-v1")
    assert display_name("phys2d/CartPole-v1") == "phys2d-CartPole-v1"


def test_the_label_of_a_protocol_names_what_is_not_its_own():
    env = EnvConfig("machado", full_action_set=True, frame_size=48, max_episode_frames=1200)
    for config, atari, label in (
        (Config(), True, "classic"),
        (Config(env=env), True, "machado, full action set, 48x48 pictures, at most 1,200 frames"),
        (Config(precision="float32"), False, "gymnasium"),
        (Config(precision="bfloat16"), True, "classic, bfloat16"),
        (Config(env=EnvConfig(max_episode_steps=9)), False, "gymnasium, at most 9 steps"),
    ):
        assert protocol_name(config, atari) == label
