"""Environments: against Gymnasium's own preprocessing to the bit, and rebuilt to the bit."""

import copy
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
from ale_py import roms
from gymnasium.wrappers import AtariPreprocessing

from dqn.config import Config, ConfigError, EnvConfig
from dqn.envs import Environment, ScreenEnvironment, display_name, make, resolve
from dqn.envs.atari import AtariEngine
from dqn.envs.engine import Arrival, Spec
from dqn.envs.environment import ActionRecord
from dqn.envs.gymnasium import ClassicEngine
from dqn.envs.names import atari_rom
from dqn.seeds import environment_seeds
from dqn.types import I64, State, TimeStep

NEVER = 10**9


def identity(loop: Iterable[int]) -> Iterable[int]:
    return loop


def actions_of(environment: Environment, steps: int, seed: int = 0) -> Iterator[I64]:
    random = np.random.default_rng(seed)
    for _ in range(steps):
        yield random.integers(0, environment.spec.num_actions, environment.num_envs)


def play(environment: Environment, actions: Iterable[I64]) -> list[TimeStep]:
    seen = []
    for action in actions:
        environment.send(action)
        seen.append(environment.receive())
    return seen


def assert_equal(ours: TimeStep, theirs: TimeStep, where: str) -> None:
    for name, mine, other in zip(TimeStep._fields, ours, theirs, strict=True):
        assert mine.dtype == other.dtype, (where, name)
        np.testing.assert_array_equal(mine, other, err_msg=f"{where}: {name}")


# ---------------------------------------------------------------- against Gymnasium, bit for bit


class Reference:
    """Gymnasium's single environment, stacked and flagged by hand, as a stream of TimeSteps."""

    def __init__(self, rom: str, config: EnvConfig, seed: int) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        emulator = gymnasium.make(
            f"ALE/{display_name(rom)}-v5",
            frameskip=1,
            repeat_action_probability={"classic": 0.0, "machado": 0.25}[config.protocol],
            full_action_space=config.full_action_set,
            max_num_frames_per_episode=config.max_episode_frames,
        )
        self._env = AtariPreprocessing(
            emulator, noop_max=0, frame_skip=4, screen_size=config.frame_size
        )
        # Gymnasium hashes a seed before the emulator gets it; here it must be the very same.
        emulator.unwrapped.ale.setInt("random_seed", seed)  # type: ignore[attr-defined]
        emulator.unwrapped.ale.loadROM(roms.get_rom_path(rom))  # type: ignore[attr-defined]
        self._classic = config.protocol == "classic"
        self.num_actions = int(emulator.action_space.n)  # type: ignore[attr-defined]
        self.lives = 0
        self.life_losses = 0

    def open(self) -> TimeStep:
        frame, info = self._env.reset()
        self._frames, self.lives = [frame], info["lives"]
        return self._timestep(0.0, True, False, False)

    def step(self, action: int) -> TimeStep:
        frame, reward, terminated, truncated, info = self._env.step(action)
        self._frames.append(frame)
        lost, self.lives = info["lives"] < self.lives, info["lives"]
        self.life_losses += lost
        return self._timestep(
            reward, False, terminated or truncated, terminated or (self._classic and lost)
        )

    def _timestep(self, reward: Any, first: bool, last: bool, terminal: bool) -> TimeStep:
        blank = [np.zeros_like(self._frames[0])] * 4
        return TimeStep(
            stack=np.stack((blank + self._frames)[-4:])[None],
            reward=np.array([reward], np.float32),
            first=np.array([first]),
            last=np.array([last]),
            terminal=np.array([terminal]),
        )


GAMES = [
    # game, limit in frames, steps, protocols, and what must happen on the way: lost lives, game
    # overs, time-outs
    ("breakout", 108_000, 500, "both", (5, 1, 0)),
    ("pong", 108_000, 1000, "machado", (0, 1, 0)),
    ("space_invaders", 108_000, 500, "both", (1, 0, 0)),
    ("ms_pacman", 108_000, 600, "both", (3, 1, 0)),
    ("freeway", 108_000, 500, "classic", (0, 0, 0)),
    ("adventure", 108_000, 500, "machado", (0, 0, 0)),
    # 200 frames are 50 steps; a limit of 201, 202 or 203 falls inside the skip
    ("breakout", 200, 200, "both", (1, 0, 3)),
    ("pong", 201, 200, "classic", (0, 0, 3)),
    ("space_invaders", 202, 200, "machado", (0, 0, 3)),
    ("seaquest", 203, 200, "classic", (0, 0, 3)),
]


@pytest.mark.parametrize(
    "protocol, rom, limit, steps, expected",
    [
        (protocol, rom, limit, steps, expected)
        for rom, limit, steps, protocols, expected in GAMES
        for protocol in ("classic", "machado")
        if protocols in (protocol, "both")
    ],
)
def test_bit_for_bit_with_gymnasium(
    protocol: str, rom: str, limit: int, steps: int, expected: tuple[int, int, int]
) -> None:
    config = EnvConfig(protocol=protocol, max_episode_frames=limit, threads=1)  # type: ignore[arg-type]
    compare_with_gymnasium(rom, config, steps, expected)


def test_bit_for_bit_with_the_full_action_set() -> None:
    config = EnvConfig(protocol="machado", full_action_set=True, threads=1)
    compare_with_gymnasium("breakout", config, 500, (1, 0, 0))


@pytest.mark.parametrize("size", [12, 48, 99])
def test_bit_for_bit_with_other_pictures(size: int) -> None:
    compare_with_gymnasium("breakout", EnvConfig(frame_size=size, threads=1), 200, (3, 0, 0))


def compare_with_gymnasium(
    rom: str, config: EnvConfig, steps: int, expected: tuple[int, int, int]
) -> None:
    engine = AtariEngine(rom, rom, 1, config, noop_max=0)
    ours = Environment(engine, config.protocol == "classic", NEVER)
    seed = int(environment_seeds(1, "x", np.arange(1), np.zeros(1, np.int64))[0])
    theirs = Reference(rom, config, seed)
    assert ours.spec.num_actions == theirs.num_actions
    timestep = theirs.open()
    assert_equal(ours.reset(1, "x"), timestep, "reset")
    overs = timeouts = 0
    for t, action in enumerate(actions_of(ours, steps), 1):
        timestep = theirs.open() if timestep.last[0] else theirs.step(int(action[0]))
        ours.send(action)
        assert_equal(ours.receive(), timestep, f"{rom}, step {t}")
        assert ours.state_dict()["lives"][0] == theirs.lives, t
        if timestep.last[0]:
            over = timestep.terminal[0]
            overs, timeouts = overs + over, timeouts + (not over)
    ours.close()
    happened = (theirs.life_losses, overs, timeouts)
    assert all(h >= e for h, e in zip(happened, expected, strict=True)), (happened, expected)


# ------------------------------------------------------------------------------- flags and stacks


class ScriptedEngine:
    """Two environments that show a given tape of numbers: frame, reward, ended, cut, lives."""

    spec = Spec("tape", 2, (1, 1), "uint8", 4, True)
    num_envs = 2

    def __init__(self, tapes: tuple[list[tuple[int, ...]], list[tuple[int, ...]]]) -> None:
        self._arrivals = iter(zip(*tapes, strict=True))
        self.seeded: list[list[int]] = []

    def reset(self, seed: I64) -> Arrival:
        self.seeded.append(seed.tolist())
        return self.receive()

    def send(self, action: I64, seed: I64) -> None:
        self.seeded.append(seed.tolist())

    def receive(self) -> Arrival:
        frame, reward, terminated, truncated, lives = np.array(next(self._arrivals)).T
        return Arrival(
            frame.astype(np.uint8).reshape(2, 1, 1),
            reward.astype(np.float32),
            terminated.astype(bool),
            truncated.astype(bool),
            lives,
        )

    def close(self) -> None:
        pass


A, B, C, D, E, F = range(11, 17)
TAPES: tuple[list[tuple[int, ...]], list[tuple[int, ...]]] = (
    # The worked stream of TimeStep's docstring: a life lost at c, the game at e.
    [(A, 0, 0, 0, 3), (B, 7, 0, 0, 3), (C, 0, 0, 0, 2), (D, -9, 0, 0, 2), (E, 1, 1, 0, 0),
     (F, 0, 0, 0, 3)],
    # Cut short at b together with a lost life; then an episode of one step that opens with fewer
    # lives than the last one had (no loss), and another that is cut at once.
    [(1, 0, 0, 0, 5), (2, 0, 0, 1, 4), (3, 0, 0, 0, 3), (4, 2, 1, 0, 3), (5, 0, 0, 1, 3),
     (6, 0, 0, 0, 3)],
)  # fmt: skip


@pytest.mark.parametrize("classic", [True, False])
def test_flags_and_stacks_on_a_tape(classic: bool) -> None:
    engine = ScriptedEngine(TAPES)
    environment = Environment(engine, classic, NEVER)
    stream = [environment.reset(1, "x")]
    stream += play(environment, [np.zeros(2, np.int64)] * 5)
    stacks = [timestep.stack[:, :, 0, 0].tolist() for timestep in stream]
    assert stacks == [
        [[0, 0, 0, A], [0, 0, 0, 1]],
        [[0, 0, A, B], [0, 0, 1, 2]],
        [[0, A, B, C], [0, 0, 0, 3]],
        [[A, B, C, D], [0, 0, 3, 4]],
        [[B, C, D, E], [0, 0, 0, 5]],
        [[0, 0, 0, F], [0, 0, 0, 6]],
    ]
    rows = list(zip(*[[t.first, t.last, t.terminal] for t in stream], strict=True))
    first, last, terminal = (np.array(row).astype(int).T.tolist() for row in rows)
    assert first == [[1, 0, 0, 0, 0, 1], [1, 0, 1, 0, 1, 1]]
    assert last == [[0, 0, 0, 0, 1, 0], [0, 1, 0, 1, 1, 0]]
    if classic:
        assert terminal == [[0, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 0]]
    else:
        assert terminal == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
    assert [t.reward.tolist() for t in stream] == [[0, 0], [7, 0], [0, 0], [-9, 2], [1, 0], [0, 0]]


def test_seeded_anew_at_the_first_end_when_old_enough() -> None:
    def never_again(tape: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return [(frame, 0, int(t in (2, 5)), 0, 0) for t, (frame, *_) in enumerate(tape)]

    engine = ScriptedEngine(([*never_again(TAPES[0]), (9, 0, 0, 0, 0)], [*TAPES[1], TAPES[1][0]]))
    environment = Environment(engine, True, 3)
    environment.reset(1, "x")
    play(environment, [np.zeros(2, np.int64)] * 6)
    everyone = np.arange(2)
    opening = environment_seeds(1, "x", everyone, np.array([0, 0])).tolist()
    again = environment_seeds(1, "x", everyone, np.array([1, 1])).tolist()
    # Ends: at steps 2 and 5 in the first, at 1, 3 and 4 in the second. Old enough from 3 on.
    assert engine.seeded == [
        opening, [-1, -1], [-1, -1], [-1, -1], [-1, again[1]], [-1, -1], [again[0], -1]
    ]  # fmt: skip


@pytest.mark.parametrize("rom", ["breakout", "pong"])
def test_stacks_are_the_frames_of_this_episode(rom: str) -> None:
    """Zeros before an episode began, oldest to newest, with ends that fall anywhere."""
    config = Config(game=rom, env=EnvConfig(max_episode_frames=90, threads=2, reseed_steps=120))
    environment = make(config, 3)
    stream = [environment.reset(1, "x"), *play(environment, actions_of(environment, 200))]
    environment.close()
    assert sum(timestep.first.sum() for timestep in stream) >= 20
    for i in range(3):
        episode: list[Any] = []
        for timestep in stream:
            if timestep.first[i]:
                episode = [np.zeros((84, 84), np.uint8)] * 4
            episode.append(timestep.stack[i, 3])
            np.testing.assert_array_equal(timestep.stack[i], np.stack(episode[-4:]))
            assert timestep.stack[i, 3].any()  # so blank frames are the padding, not a black screen


def test_what_was_handed_out_is_never_written_again() -> None:
    environment = make(Config(game="breakout", env=EnvConfig(max_episode_frames=90)), 2)
    environment.reset(1, "x")
    kept, copies = [], []
    for timestep in play(environment, actions_of(environment, 60)):
        kept.append(timestep)
        copies.append(copy.deepcopy(timestep))
    environment.close()
    for mine, other in zip(kept, copies, strict=True):
        assert_equal(mine, other, "later")


# ----------------------------------------------------------------------- protocols, actions, limits


def frames_of(protocol: str, seed: int, full: bool = False) -> Any:
    config = EnvConfig(protocol=protocol, threads=1, full_action_set=full)  # type: ignore[arg-type]
    environment = Environment(AtariEngine("pong", "Pong", 1, config, noop_max=0), True, NEVER)
    environment.reset(seed, "x")
    seen = play(environment, actions_of(environment, 100))
    environment.close()
    return np.stack([timestep.stack[0, -1] for timestep in seen])


def test_sticky_actions_reach_the_emulator_in_machado_only() -> None:
    # Without no-ops and sticky actions nothing is left to chance: any seed gives the same game.
    assert np.array_equal(frames_of("classic", 1), frames_of("classic", 2))
    assert not np.array_equal(frames_of("machado", 1), frames_of("machado", 2))
    assert not np.array_equal(frames_of("machado", 1), frames_of("classic", 1))


def test_full_action_set() -> None:
    for full, count in ((False, 4), (True, 18)):
        config = Config(game="Breakout", env=EnvConfig(full_action_set=full, threads=1))
        environment = make(config, 1)
        environment.reset(1, "x")
        assert environment.spec.num_actions == count
        environment.send(np.array([count - 1]))
        environment.receive()
        with pytest.raises(AssertionError):
            environment.send(np.array([count]))
        environment.close()


def test_an_episode_opens_with_up_to_30_no_ops() -> None:
    engine = AtariEngine("pong", "Pong", 2, EnvConfig(max_episode_frames=4, threads=2))
    engine.reset(np.arange(2))
    drawn: set[int] = set()
    for t in range(400):  # every other step opens an episode
        engine._env.send(np.zeros(2, np.int64))
        *_, info = engine._env.recv()
        if t % 2:
            drawn |= set(info["episode_frame_number"].tolist())
    engine.close()
    assert drawn == set(range(31))


@pytest.mark.parametrize("limit", [100, 101, 102, 103])
def test_a_time_out_counts_frames_after_the_no_ops(limit: int) -> None:
    """The limit is in emulator frames, whole skips or not; the no-ops come on top (at most 30).

    The frame on which an episode ends is never read. Where it is the first, second or third of
    the skip nothing new is read at all; where it is the fourth, the third is laid over the
    previous observation. Gymnasium's preprocessing does the same.
    """
    environment = make(Config(game="pong", env=EnvConfig(max_episode_frames=limit, threads=1)), 2)
    environment.reset(1, "x")
    steps = -(-limit // 4)
    stream = play(environment, actions_of(environment, 2 * steps + 1))
    environment.close()
    ends = [t for t, timestep in enumerate(stream, 1) if timestep.last.any()]
    assert ends == [steps, 2 * steps + 1]  # one more: the step that opens an episode
    for end in ends:
        timestep = stream[end - 1]
        assert timestep.last.all() and not timestep.terminal.any()
        newest, previous = timestep.stack[:, 3], timestep.stack[:, 2]
        if limit % 4:
            np.testing.assert_array_equal(newest, previous)


def test_the_default_limit_is_half_an_hour() -> None:
    assert EnvConfig().max_episode_frames == 108_000


@pytest.mark.parametrize("reseed_steps", [1, NEVER])
def test_the_action_after_an_end_is_ignored(reseed_steps: int) -> None:
    env = EnvConfig(max_episode_frames=120, reseed_steps=reseed_steps, protocol="machado")
    streams = []
    for other in (0, 3):
        environment = make(Config(game="breakout", env=env), 1)
        timestep, stream = environment.reset(1, "x"), []
        for action in actions_of(environment, 70):
            environment.send(np.full(1, other) if timestep.last[0] else action)
            timestep = environment.receive()
            stream.append(timestep)
        environment.close()
        streams.append(stream)
    assert sum(timestep.last[0] for timestep in streams[0]) >= 2
    for t, (mine, theirs) in enumerate(zip(*streams, strict=True)):
        assert_equal(mine, theirs, f"step {t}")


# ------------------------------------------------------------------------- saved, killed, rebuilt


def odd_moments(stream: list[TimeStep], states: list[State]) -> list[int]:
    """Nothing seen yet; before any new seed; at an end that brings one, and on either side; when
    some environments were seeded anew and others never; the very end."""
    seedings = [t for t, state in enumerate(states) if t and (state["age"] == 1).any() and t > 1]
    assert len(seedings) >= 2, seedings
    assert all(stream[t].first.any() and stream[t - 1].last.any() for t in seedings)
    begin, late = seedings[0], seedings[-1]
    return sorted({0, begin - 3, begin + 7, late - 2, late - 1, late, len(states) - 1})


def check_rebuilding(
    config: Config, num_envs: int, steps: int, later: int, chosen: tuple[int, ...]
) -> None:
    environment = make(config, num_envs)
    stream, states = [environment.reset(5, "train")], [environment.state_dict()]
    actions = list(actions_of(environment, steps + later))
    for action in actions[:steps]:
        stream += play(environment, [action])
        states.append(environment.state_dict())
    stream += play(environment, actions[steps:])
    environment.close()
    moments = odd_moments(stream, states)
    for moment in [moments[i] for i in chosen]:
        rebuilt = make(config, num_envs)
        state = states[moment]
        assert_equal(
            rebuilt.load_state_dict(state, 5, "train", identity), stream[moment], f"at {moment}"
        )
        seen = play(rebuilt, actions[moment : moment + later])
        rebuilt.close()
        for t, timestep in enumerate(seen, moment + 1):
            assert_equal(timestep, stream[t], f"saved at {moment}, step {t}")


@pytest.mark.parametrize(
    "protocol, game, num_envs, limit, reseed_steps, steps, chosen",
    [  # chosen: which of the odd moments, to save time
        ("classic", "breakout", 1, 108_000, 100, 400, (0, 2, 5)),
        ("machado", "breakout", 1, 108_000, 100, 340, (3, 4, 6)),
        # Episodes that end by themselves, in each environment at another time
        ("classic", "breakout", 6, 108_000, 100, 240, (2,)),
        ("machado", "breakout", 6, 108_000, 100, 240, (5,)),
        # Time-outs, inside the skip too
        ("classic", "space_invaders", 2, 301, 120, 320, (1, 5)),
        ("machado", "ms_pacman", 2, 302, 70, 200, (4,)),
        ("machado", "pong", 2, 204, 50, 150, (3,)),
    ],
)
def test_rebuilt_to_the_bit(
    protocol: str,
    game: str,
    num_envs: int,
    limit: int,
    reseed_steps: int,
    steps: int,
    chosen: tuple[int, ...],
) -> None:
    env = EnvConfig(
        protocol=protocol,  # type: ignore[arg-type]
        max_episode_frames=limit,
        reseed_steps=reseed_steps,
        threads=2,
    )
    check_rebuilding(Config(game=game, env=env), num_envs, steps, 150, chosen)


@pytest.mark.parametrize("num_envs", [1, 6])
def test_cartpole_rebuilt_to_the_bit(num_envs: int) -> None:
    config = Config(game="CartPole-v1", env=EnvConfig(reseed_steps=60))
    check_rebuilding(config, num_envs, 400, 300, (0, 1, 2, 3, 4, 5, 6))


def test_a_state_is_not_touched_by_what_comes_after() -> None:
    environment = make(Config(game="CartPole-v1", env=EnvConfig(reseed_steps=30)), 3)
    environment.reset(1, "x")
    play(environment, actions_of(environment, 75))
    state = environment.state_dict()
    kept = copy.deepcopy(state)
    play(environment, actions_of(environment, 200))
    other = make(Config(game="CartPole-v1", env=EnvConfig(reseed_steps=30)), 3)
    other.load_state_dict(state, 1, "x", identity)
    play(other, actions_of(other, 200))
    assert_equal(TimeStep(**state.pop("timestep")), TimeStep(**kept.pop("timestep")), "timestep")
    for name, value in kept.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)


def test_saving_changes_nothing() -> None:
    config = Config(game="breakout", env=EnvConfig(max_episode_frames=160, reseed_steps=50))
    streams = []
    for save in (False, True):
        environment = make(config, 2)
        environment.reset(1, "x")
        stream = []
        for action in actions_of(environment, 150):
            stream += play(environment, [action])
            if save:
                environment.state_dict()
        environment.close()
        streams.append(stream)
    for t, (mine, theirs) in enumerate(zip(*streams, strict=True)):
        assert_equal(mine, theirs, f"step {t}")


def test_same_bits_for_any_number_of_threads() -> None:
    streams = []
    for threads in (1, 2, 4):
        env = EnvConfig("machado", max_episode_frames=202, reseed_steps=60, threads=threads)
        environment = make(Config(game="seaquest", env=env), 3)
        streams.append(
            [environment.reset(1, "x"), *play(environment, actions_of(environment, 130))]
        )
        environment.close()
    for other in streams[1:]:
        for t, (mine, theirs) in enumerate(zip(streams[0], other, strict=True)):
            assert_equal(mine, theirs, f"step {t}")


def test_neighbouring_seeds_and_owners_share_nothing() -> None:
    # Only sticky actions make every game another: in classic 31 openings are all there is.
    config = Config(game="breakout", env=EnvConfig("machado", threads=2))
    tape = np.random.default_rng(0).integers(0, 4, 60)  # one for all: only chance tells them apart
    games = []
    for seed, owner in ((1, "train"), (2, "train"), (1, "evaluate")):
        environment = make(config, 4)
        environment.reset(seed, owner)
        seeds = environment.state_dict()["seed"].tolist()
        stream = play(environment, [np.full(4, action) for action in tape])
        environment.close()
        for i in range(4):
            frames = np.stack([timestep.stack[i, -1] for timestep in stream])
            games.append((seeds[i], frames.tobytes()))
    assert len({seed for seed, _ in games}) == 12
    for (_, mine), (_, theirs) in itertools.combinations(games, 2):
        assert mine != theirs


def test_emulator_seeds_are_in_range_and_all_different() -> None:
    """Over neighbouring seeds, environments and counts: an integer to ALE would share most."""
    everyone = np.arange(16)
    drawn = [
        environment_seeds(seed, "train", everyone, np.full(16, count))
        for seed in range(8)
        for count in range(8)
    ]
    seeds = np.concatenate(drawn)
    assert seeds.min() >= 0 and seeds.max() < 2**31
    assert len(set(seeds.tolist())) == 8 * 8 * 16


def test_the_same_seed_gives_the_same_game() -> None:
    config = Config(game="breakout", env=EnvConfig("machado", threads=2))
    streams = []
    for _ in range(2):
        environment = make(config, 2)
        environment.reset(1, "x")
        streams.append(play(environment, actions_of(environment, 100)))
        environment.close()
    for t, (mine, theirs) in enumerate(zip(*streams, strict=True)):
        assert_equal(mine, theirs, f"step {t}")


def test_the_record_stays_bounded() -> None:
    environment = make(Config(game="CartPole-v1", env=EnvConfig(reseed_steps=50)), 4)
    environment.reset(1, "x")
    longest = 0
    for action in actions_of(environment, 3000):
        play(environment, [action])
        state = environment.state_dict()
        longest = max(longest, len(state["actions"]))
        assert len(state["actions"]) == state["age"].max()
        assert state["actions"].dtype == np.uint8
    assert 50 <= longest < 50 + 130  # random play never keeps the pole up for longer
    assert state["count"].min() > 10


def test_the_record_takes_memory_in_proportion_to_use() -> None:
    record = ActionRecord(2, np.dtype(np.uint8))
    for t in range(20_000):
        record.append(np.array([t % 256, 7]))
        record.forget_before(min(t + 1, 100))
    assert record.rows()[:, 0].tolist() == [t % 256 for t in range(19_900, 20_000)]
    assert len(record._rows) <= 2 * 100 + 1024 + 2


@pytest.mark.parametrize(
    "game, what",
    [("breakout", "actions"), ("breakout", "seed")]
    + [("CartPole-v1", what) for what in ("actions", "seed", "lives", "reward", "last")],
)
def test_a_record_that_leads_elsewhere_is_refused(game: str, what: str) -> None:
    env = EnvConfig(reseed_steps=60)
    if game == "breakout":
        env = dataclasses.replace(env, protocol="machado", max_episode_frames=200)
    config = Config(game=game, env=env)
    environment = make(config, 2)
    environment.reset(1, "x")
    play(environment, actions_of(environment, 120))
    state = copy.deepcopy(environment.state_dict())
    environment.close()
    if what in ("reward", "last"):
        value = state["timestep"][what]
        state["timestep"][what] = value + 1 if what == "reward" else ~value
    elif what == "actions":
        state["actions"] = (state["actions"] + 1) % environment.spec.num_actions
    else:
        state[what] = state[what] + 1
    rebuilt = make(config, 2)
    with pytest.raises(ValueError, match="seeds" if what == "seed" else "did not return"):
        rebuilt.load_state_dict(state, 1, "x", identity)
    rebuilt.close()


# ------------------------------------------------------------------- other Gymnasium environments


def test_cartpole_against_gymnasium() -> None:
    environment = make(Config(game="CartPole-v1"), 1)
    timestep = environment.reset(1, "x")
    env = gymnasium.make("CartPole-v1")
    expected, _ = env.reset(seed=int(environment.state_dict()["seed"][0]))
    assert timestep.stack.shape == (1, 1, 4) and timestep.stack.dtype == np.float32
    assert (environment.spec.stack, environment.spec.atari) == (1, False)
    ended = False
    for action in actions_of(environment, 300):
        if ended:
            (expected, _), reward, terminated, truncated = env.reset(), 0.0, False, False
        else:
            expected, reward, terminated, truncated, _ = env.step(int(action[0]))  # type: ignore[assignment]
        environment.send(action)
        timestep = environment.receive()
        np.testing.assert_array_equal(timestep.stack[0, 0], expected)
        assert timestep.reward[0] == reward
        assert timestep.first[0] == ended
        ended = terminated or truncated
        assert (timestep.last[0], timestep.terminal[0]) == (ended, terminated)


def test_cartpole_ends_by_falling_or_by_the_clock() -> None:
    environment = make(Config(game="CartPole-v1"), 2)
    timestep = environment.reset(1, "x")
    ends: list[list[tuple[int, bool]]] = [[], []]
    begun = [0, 0]
    for t in range(1, 1003):
        x, speed, angle, turn = timestep.stack[0, 0]
        careful = int(angle + 0.5 * turn + 0.02 * x + 0.05 * speed > 0)
        environment.send(np.array([careful, 0]))  # the other one falls at once
        timestep = environment.receive()
        for i in range(2):
            if timestep.first[i]:
                begun[i] = t
            if timestep.last[i]:
                ends[i].append((t - begun[i], bool(timestep.terminal[i])))
    assert ends[0] == [(500, False), (500, False)]
    assert len(ends[1]) > 50 and all(8 <= length <= 11 and fell for length, fell in ends[1])


class Odd(gymnasium.Env[Any, int]):
    """Actions that begin at 3, float64 observations, and a screen of its own shape."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2, 3), np.float64)
    action_space: Any = gymnasium.spaces.Discrete(2, start=3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.random((2, 3)), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.full((2, 3), 0.25), float(action), False, False, {}


class Broken(gymnasium.Env[Any, int]):
    def __init__(self) -> None:
        raise ImportError("no module named\nbox")


@pytest.fixture
def registered() -> Iterator[None]:
    gymnasium.register("Odd-v0", Odd)
    gymnasium.register("Broken-v0", Broken)
    yield
    del gymnasium.registry["Odd-v0"], gymnasium.registry["Broken-v0"]


def test_actions_that_begin_elsewhere(registered: None) -> None:
    environment = make(Config(game="Odd-v0"), 2)
    assert environment.reset(1, "x").stack.dtype == np.float32
    environment.send(np.array([0, 1]))
    assert environment.receive().reward.tolist() == [3, 4]
    assert environment.spec == Spec("Odd-v0", 2, (2, 3), "float32", 1, False)


# ------------------------------------------------------------------------------------------ names


def refusal(game: str | None) -> str:
    with pytest.raises(ConfigError) as caught:
        make(Config(game=game), 1)
    message = str(caught.value)
    assert message and "\n" not in message and not message.endswith(".")
    return message


def test_a_missing_library_is_one_sentence_for_pictures_too(registered: None) -> None:
    with pytest.raises(ConfigError, match="Broken-v0 cannot be made: no module named box"):
        ScreenEnvironment(Config(game="Broken-v0"))


@pytest.mark.parametrize(
    "game, word",
    [
        ("Pendulum-v1", "discrete"),
        ("MountainCarContinuous-v0", "discrete"),
        ("Broken-v0", "no module named box"),
        ("NoSuchGame", "unknown game 'NoSuchGame'"),
        ("CartPole-v7", "CartPole-v1"),
        ("cartpole-v1", "CartPole-v1"),
        ("Brekout", "Breakout"),
        ("breakot", "Breakout"),
        ("SpaceInvader", "SpaceInvaders"),
        ("mspacmen", "MsPacman"),
        ("ALE/Pnog-v5", "Pong"),
        ("Breakout-ram-v5", "Breakout"),
        # Old ids have a preprocessing of their own, so ours would come on top
        ("BreakoutNoFrameskip-v4", "try --game Breakout"),
        ("SpaceInvaders-v0", "try --game SpaceInvaders"),
        # The emulator ends the whole program when it opens one of these
        ("combat", "two players"),
        ("Warlords", "two players"),
        ("maze_craze", "two players"),
        ("ALE/Joust-v5", "two players"),
        (None, "no game given"),
        ("", "no game given"),
        ("/", "unknown game"),
        ("../Pong", "unknown game"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_sentence(
    game: str | None, word: str, registered: None
) -> None:
    assert word in refusal(game)


def test_every_rom_by_each_spelling() -> None:
    ids = {s.kwargs["game"]: i for i, s in gymnasium.registry.items() if i.startswith("ALE/")}
    names = set()
    for rom in roms.get_all_rom_ids():
        if rom not in ids:
            assert "two players" in refusal(rom)
            continue
        camel = ids[rom].removeprefix("ALE/").removesuffix("-v5")
        for spelling in (camel, rom, ids[rom], camel.lower()):
            assert resolve(spelling) == camel
            assert atari_rom(spelling) == rom
            assert display_name(spelling) == camel
        names.add(camel)
    assert len(names) == len(ids) >= 104


def test_other_ids_keep_their_name_and_make_a_plain_folder() -> None:
    assert atari_rom("CartPole-v1") is None
    assert resolve("CartPole-v1") == "CartPole-v1" == display_name("CartPole-v1")
    assert display_name("phys2d/CartPole-v1") == "phys2d-CartPole-v1"


def test_engines_refuse_a_second_send() -> None:
    engine = ClassicEngine("CartPole-v1", 1, None)
    with pytest.raises(AssertionError, match="without send"):
        engine.receive()
    engine.send(np.zeros(1, np.int64), np.zeros(1, np.int64))
    with pytest.raises(AssertionError, match="twice"):
        engine.send(np.zeros(1, np.int64), np.zeros(1, np.int64))


# ------------------------------------------------------------------------------ states with names


def test_a_number_is_shown_as_a_vector_with_a_single_one() -> None:
    """As any network and table takes it; several numbers lie behind each other."""
    environment = make(Config(game="FrozenLake-v1"), 2)
    first = environment.reset(1, "x")
    spec = environment.spec
    assert spec.one_hot and spec.frame_shape == (16,) and spec.frame_dtype == "float32"
    assert first.stack.shape == (2, 1, 16) and first.stack.dtype == np.float32
    assert first.stack[:, 0].argmax(1).tolist() == [0, 0] and first.stack.sum() == 2
    environment.send(np.array([1, 1]))
    assert environment.receive().stack.sum() == 2
    cards = make(Config(game="Blackjack-v1"), 1)
    assert not cards.spec.one_hot and cards.spec.frame_shape == (32 + 11 + 2,)
    assert cards.reset(1, "x").stack.sum() == 3
