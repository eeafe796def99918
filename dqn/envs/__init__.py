"""Games: the only room that knows ale_py and gymnasium."""

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs.atari import AtariEngine
from dqn.envs.engine import Engine, Spec
from dqn.envs.environment import Environment
from dqn.envs.gymnasium import ClassicEngine
from dqn.envs.maze import MAZE
from dqn.envs.maze import allowed as allowed_in_maze
from dqn.envs.maze import walls as walls_of_maze
from dqn.envs.names import atari_rom, display_name, gymnasium_id, is_atari, resolve
from dqn.envs.screen import ScreenEnvironment
from dqn.envs.shaping import check_cartpole, shape_cartpole

__all__ = [
    "MAZE", "Environment", "ScreenEnvironment", "Spec", "allowed_in_maze", "check_cartpole",
    "display_name", "gymnasium_id", "is_atari", "make", "resolve", "shape_cartpole",
    "walls_of_maze",
]  # fmt: skip


_ATARIS = ("protocol", "full_action_set", "frame_size", "max_episode_frames")


def make(config: Config, num_envs: int) -> Environment:
    """N environments of the config's game, under its protocol, not yet reset.

    Raises:
        ConfigError: unknown game, one without discrete actions, or a setting of the other kind's.
    """
    game = resolve(config.game)
    rom = atari_rom(game)
    engine: Engine
    if rom:
        if config.env.max_episode_steps is not None:
            raise ConfigError(
                f"env.max_episode_steps is for other games than {display_name(game)}; Atari's is "
                "env.max_episode_frames"
            )
        engine = AtariEngine(rom, display_name(game), num_envs, config.env)
    else:
        _refuse_what_is_ataris(config.env, game)
        engine = ClassicEngine(game, num_envs, config.env.max_episode_steps)
    return Environment(
        engine,
        life_loss_is_terminal=config.env.protocol == "classic",
        reseed_steps=config.env.reseed_steps,
    )


def _refuse_what_is_ataris(config: EnvConfig, game: str) -> None:
    for name in _ATARIS:
        if getattr(config, name) != getattr(EnvConfig, name):
            raise ConfigError(f"env.{name} is for Atari games, and {game} is none; leave it")
