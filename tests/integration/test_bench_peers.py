"""``bench --emulator`` and ``bench --peers``: ALE alone, EnvPool and Stable-Baselines3."""

import json
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from dqn.commands import bench_emulator, bench_peers
from dqn.config import Config
from main import main


@pytest.fixture
def two_sizes(monkeypatch):
    monkeypatch.setattr(bench_emulator, "ENVIRONMENTS", (1, 2))
    monkeypatch.setattr(bench_emulator, "cores", lambda: 2)


@pytest.mark.usefixtures("two_sizes")
def test_emulators(tmp_path, capsys):
    file = tmp_path / "emulators.json"
    assert main(["bench", "--emulator", "--game=pong", "--seconds=.1", f"--json={file}"]) == 0
    rows = json.loads(file.read_text())["emulators"]
    sizes = [(row["game"], row["threads"], row["num_envs"]) for row in rows]
    assert sizes == [("Pong", 1, 1), ("Pong", 1, 2), ("Pong", 2, 1), ("Pong", 2, 2)]
    assert all(row["ale_frames_per_second"] > 100 for row in rows), rows
    printed = capsys.readouterr()
    assert max(map(len, printed.out.splitlines())) < 80
    _, table, sentence = printed.out.split("\n\n")
    _, head, *lines = map(str.split, table.splitlines())
    assert head == ["game", "by", "threads", "1", "2", "1", "2"]
    assert [line[:3] for line in lines] == [["Pong", "ALE", "1"], ["Pong", "ALE", "2"]]
    for line, (one, two), used in zip(lines, (rows[:2], rows[2:]), ((1, 1), (1, 2)), strict=True):
        frames = [row["ale_frames_per_second"] for row in (one, two)]
        per_core = [number / threads for number, threads in zip(frames, used, strict=True)]
        assert line[3:] == [f"{number:,.0f}" for number in frames + per_core]
    assert sentence.startswith("One core makes ")
    assert printed.err.splitlines()[3] == "measuring Pong, 2 threads, 2 environments"


ENVPOOL = """
import time
made = []
class Pool:
    class action_space: n = 4
    def reset(self): pass
    def step(self, action):
        time.sleep(.02)
        assert action.shape == (made[-1]["num_envs"],) and action.max() < 4
    def close(self): made[-1]["closed"] = True
def make_gymnasium(game, **settings):
    made.append({"game": game, **settings})
    return Pool()
"""


@pytest.mark.usefixtures("two_sizes")
def test_envpool_beside_it(tmp_path, monkeypatch, capsys):
    """It is not among the test requirements: a stand-in sees what it would be asked."""
    (tmp_path / "envpool.py").write_text(ENVPOOL)
    (tmp_path / "envpool-9.8.7.dist-info").mkdir()
    (tmp_path / "envpool-9.8.7.dist-info" / "METADATA").write_text("Version: 9.8.7\n")
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--game=space_invaders", "--seconds=.05", "--env.protocol=machado"]
    file = tmp_path / "emulators.json"
    assert main(["bench", "--emulator", "--peers", f"--json={file}", *options]) == 0
    figures = json.loads(file.read_text())
    assert figures["versions"]["envpool"] == "9.8.7"
    for row in figures["emulators"]:  # 4 frames in .02 s or somewhat more, in each environment
        assert 60 < row["envpool_frames_per_second"] / row["num_envs"] <= 200
    lines = capsys.readouterr().out.split("\n\n")[1].splitlines()[2:]
    assert [line.split()[:3] for line in lines] == [
        ["SpaceInvaders", program, threads] for threads in "12" for program in ("ALE", "EnvPool")
    ]
    import envpool

    asked = [SimpleNamespace(**pool) for pool in envpool.made]
    assert [(pool.num_threads, pool.num_envs) for pool in asked] == [(1, 1), (1, 2), (1, 1), (2, 2)]
    for pool in asked:
        assert (pool.game, pool.frame_skip, pool.stack_num) == ("SpaceInvaders-v5", 4, 1)
        assert (pool.repeat_action_probability, pool.max_episode_steps) == (0.25, 27_000)
        assert pool.closed


def test_the_end_of_the_emulators_says_what_cores_make():
    """1.5 and 2 times as many; their median."""
    rows = [
        {"game": "Pong", "threads": threads, "num_envs": n, "ale_frames_per_second": frames}
        for threads, n, frames in ((1, 8, 1000.0), (1, 32, 4000.0), (2, 8, 1500.0), (2, 32, 8000.0))
    ]
    alone = (
        "One core makes 1,000 frames/s (Pong in 8 environments) to 4,000 frames/s (Pong in 32 "
        "environments) with ALE"
    )
    assert bench_emulator.conclusion(rows) == f"{alone}; 2 make 1.75 times as many."
    assert bench_emulator.conclusion(rows[:2]) == f"{alone}."


NO_PEER = {
    "--config=iqn": "--peers compares plain DQN; leave --values.kind out",
    "--config=double": "leave --learner.target-policy out",
    "--env.frame-size=48": "leave --env.frame-size out",
    "--learning-starts=80": "leave --learning-starts out",
    "--learner.update-period=12": "a learner.update_period that divides 8 or is a multiple of it",
    "--game=CartPole-v1": "--peers compares Atari games, not CartPole-v1",
}


def test_a_peer_that_would_do_something_else_is_refused(refused, monkeypatch, subtests):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    for typed, said in NO_PEER.items():
        with subtests.test(typed):
            assert said in refused(["bench", "--peers", *typed.split()])


class Trained:
    """In place of a process that trains: so many steps a second while it is not suspended."""

    made: ClassVar[list["Trained"]] = []
    speeds: ClassVar = {("train_ours", 8): 900, ("train_peer", 1): 100, ("train_peer", 8): 300}

    def __init__(self, target: Any, args: Any, daemon: bool) -> None:
        _, num_envs, self.counter = args
        self.speed = self.speeds[target.__name__, num_envs]
        self.pid, self.runs, self.killed = len(self.made), False, False
        self.made.append(self)

    def start(self) -> None:
        self.runs = True

    resume = start

    def suspend(self) -> None:
        self.runs = False

    def kill(self) -> None:
        self.killed = True

    def is_alive(self) -> bool:
        return True

    def join(self) -> None: ...


def test_peers_run_in_turns_and_the_faster_of_the_peers_counts(monkeypatch):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        running = [process for process in Trained.made if process.runs]
        assert len(running) == 1, "the others are suspended"
        running[0].counter.value += running[0].speed * seconds

    clock.sleep = sleep
    monkeypatch.setattr(Trained, "made", [])
    processes = SimpleNamespace(Value=lambda *_: SimpleNamespace(value=0), Process=Trained)
    monkeypatch.setattr(bench_peers.multiprocessing, "get_context", lambda _: processes)
    monkeypatch.setattr(bench_peers.psutil, "Process", Trained.made.__getitem__)
    monkeypatch.setattr(bench_peers, "time", clock)
    assert bench_peers.measure_peers(Config(), 10) == {
        "training_steps_per_second_beside_peer": pytest.approx(900),
        "peer_training_steps_per_second_1_environment": pytest.approx(100),
        "peer_training_steps_per_second_8_environments": pytest.approx(300),
        "peer_training_steps_per_second": pytest.approx(300),
        "times_the_peer": pytest.approx(3),
    }
    assert all(process.killed for process in Trained.made)
