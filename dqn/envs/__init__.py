"""Games: the only room that knows ale_py and gymnasium."""

from dqn.config import Config
from dqn.envs.atari import AtariEngine
from dqn.envs.classic import ClassicEngine
from dqn.envs.engine import Engine, Spec
from dqn.envs.environment import Environment
from dqn.envs.names import atari_rom, display_name, gymnasium_id, is_atari, resolve
from dqn.envs.screen import ScreenEnvironment

__all__ = [
    "Environment", "ScreenEnvironment", "Spec", "display_name", "gymnasium_id", "is_atari", "make",
    "resolve",
]  # fmt: skip


def make(config: Config, num_envs: int) -> Environment:
    """N environments of the config's game, under its protocol, not yet reset.

    Raises:
        ConfigError: unknown game, or one without discrete actions.
    """
    game = resolve(config.game)
    rom = atari_rom(game)
    engine: Engine
    if rom:
        engine = AtariEngine(rom, display_name(game), num_envs, config.env)
    else:
        engine = ClassicEngine(game, num_envs)
    return Environment(
        engine,
        life_loss_is_terminal=config.env.protocol == "classic",
        reseed_steps=config.env.reseed_steps,
    )
