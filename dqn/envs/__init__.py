"""Games. No other package imports ale_py or gymnasium."""

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs.atari import AtariEngine
from dqn.envs.environment import Engine, Environment, Spec
from dqn.envs.gymnasium import GymnasiumEngine, make_one
from dqn.envs.maze import MAZE
from dqn.envs.names import atari_games, atari_rom, display_name, gymnasium_id, resolve_game
from dqn.envs.screen import ScreenEnvironment
from dqn.envs.shaping import cartpole_reward

__all__ = [
    "MAZE", "Environment", "ScreenEnvironment", "Spec", "atari_games", "atari_rom",
    "cartpole_reward", "display_name", "gymnasium_id", "make", "resolve_game",
]  # fmt: skip


_ATARI_ONLY = ("protocol", "full_action_set", "frame_size", "max_episode_frames")


def make(config: Config, num_envs: int) -> Environment:
    """N environments of the config's game, under its protocol, not yet reset.

    Raises:
        ConfigError: unknown game, no discrete actions, or a setting that this game does not have.
    """
    game = resolve_game(config.game)
    rom = atari_rom(game)
    engine: Engine
    if rom:
        if config.env.max_episode_steps is not None:
            raise ConfigError(
                f"env.max_episode_steps does not apply to {game}, which is an Atari game; use "
                "env.max_episode_frames"
            )
        engine = AtariEngine(rom, num_envs, config.env)
    else:
        for name in _ATARI_ONLY:
            if getattr(config.env, name) != getattr(EnvConfig, name):
                raise ConfigError(f"env.{name} is for Atari games only; remove it for {game}")
        limit = config.env.max_episode_steps
        engine = GymnasiumEngine(game, [make_one(game, limit) for _ in range(num_envs)])
    return Environment(engine, config.env)
