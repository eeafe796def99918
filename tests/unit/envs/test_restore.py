"""The state of an environment: restored bit for bit, bounded, and refused if it is not true."""

from collections.abc import Iterable

import numpy as np
import pytest
from support.streams import assert_same_stream, play, play_from_reset, random_actions
from support.tiers import slow_except

from dqn.config import Config, EnvConfig
from dqn.envs import make
from dqn.types import State, TimeStep


def critical_steps(stream: list[TimeStep], states: list[State]) -> list[int]:
    """The beginning; before any reseeding; an end followed by one, and either side of it; when some
    environments were reseeded and others never; the end."""
    reseedings = [t for t, state in enumerate(states) if t > 1 and (state["age"] == 1).any()]
    assert len(reseedings) >= 2, reseedings
    assert all(stream[t].first.any() and stream[t - 1].last.any() for t in reseedings)
    begin, late = reseedings[0], reseedings[-1]
    return sorted({0, begin - 3, begin + 7, late - 2, late - 1, late, len(states) - 1})


def check_restoring(
    config: Config, num_envs: int, steps: int, later: int, chosen: Iterable[int]
) -> None:
    environment = make(config, num_envs)
    stream, states = [environment.reset(5, "train")], [environment.state_dict()]
    actions = list(random_actions(environment, steps + later))
    for action in actions[:steps]:
        stream += play(environment, [action])
        states.append(environment.state_dict())
    stream += play(environment, actions[steps:])
    environment.close()
    at = critical_steps(stream, states)
    for t in [at[i] for i in chosen]:
        restored = make(config, num_envs)
        restored.reset(5, "train")
        restored.load_state_dict(states[t])
        assert_same_stream(
            [restored.timestep, *play(restored, actions[t : t + later])], stream[t : t + later + 1]
        )
        restored.close()


ATARI = [  # chosen: which of the critical steps, to save time
    ("classic", "breakout", 1, 108_000, 100, 400, (0, 2, 5)),
    # Episodes that end by themselves, in each environment at another time
    ("machado", "breakout", 4, 108_000, 100, 240, (5, 6)),
    # Time limits, also inside the frame skip
    ("classic", "space_invaders", 2, 301, 120, 320, (1, 4)),
    ("machado", "pong", 2, 204, 50, 150, (3,)),
]


@pytest.mark.parametrize(
    "protocol, game, num_envs, limit, reseed_steps, steps, chosen",
    slow_except(ATARI, [ATARI[0], ATARI[-1]]),
)
def test_atari_is_restored_bit_for_bit(
    protocol, game, num_envs, limit, reseed_steps, steps, chosen
):
    env = EnvConfig(protocol, max_episode_frames=limit, reseed_steps=reseed_steps, threads=2)
    check_restoring(Config(game=game, env=env), num_envs, steps, 60, chosen)


def test_cartpole_is_restored_bit_for_bit():
    """One state twice: playing on from it does not change it."""
    config = Config(game="CartPole-v1", env=EnvConfig(reseed_steps=60))
    check_restoring(config, 6, 400, 300, [*range(7), 4])


def test_a_state_that_does_not_lead_back_is_refused():
    config = Config(game="CartPole-v1", env=EnvConfig(reseed_steps=60))
    environment, restored = make(config, 2), make(config, 2)
    stream = play_from_reset(environment, 120)
    truth = environment.state_dict()
    restored.reset(1, "x")
    actions, age, timestep = truth["actions"], truth["age"], truth["timestep"]
    many, invalid = "the number of recorded actions", "the recorded actions are not valid"
    seeds, screens = "the emulators' seeds do not belong", "the emulators did not return"
    for name, value, why in (
        ("actions", actions[1:], many),
        ("actions", np.concatenate((actions, actions[:1])), many),
        ("age", age - [0, age[1] + 1], many),
        ("actions", np.where(actions == 1, 2, actions), invalid),
        ("actions", np.where(actions == 1, -1, actions.astype(np.int8)), invalid),
        ("seed", truth["seed"] + [0, 1], seeds),
        ("count", truth["count"] - [0, truth["count"][1] + 1], seeds),
        ("actions", 1 - actions, screens),
        ("lives", truth["lives"] + [0, 1], screens),
        ("timestep", timestep | {"stack": stream[-2].stack}, screens),
        ("timestep", timestep | {"reward": timestep["reward"] + 1}, screens),
        ("timestep", timestep | {"last": ~timestep["last"]}, screens),
    ):
        with pytest.raises(ValueError, match=f"^{why}"):
            restored.load_state_dict(truth | {name: value})
    restored.load_state_dict(truth)
    assert_same_stream([restored.timestep], stream[-1:])
