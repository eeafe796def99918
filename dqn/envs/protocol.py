"""Label of the evaluation protocol, reported next to every score."""

from dqn.config import Config, EnvConfig


def protocol_name(config: Config, atari: bool) -> str:
    """Label of the evaluation protocol: ``classic``, ``machado, full action set``, ..."""
    if not atari:
        limit = config.env.max_episode_steps
        return "gymnasium" if limit is None else f"gymnasium, at most {limit:,} steps"
    words: list[str] = [config.env.protocol]
    if config.env.full_action_set:
        words.append("full action set")
    if config.env.frame_size != EnvConfig.frame_size:
        words.append(f"{config.env.frame_size}x{config.env.frame_size} pictures")
    if config.env.max_episode_frames != EnvConfig.max_episode_frames:
        words.append(f"at most {config.env.max_episode_frames:,} frames")
    return ", ".join(words)
