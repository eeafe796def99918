"""No dead setting: each field of the config is read, and changes a bit of a run or a call."""

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.reads import record_reads
from support.runs import checkpoints, content, train

import dqn.envs.atari
from dqn.config import MAY_CHANGE_ON_RESUME, Config, EnvConfig, ReplayConfig, flatten
from dqn.device import resolve_device
from dqn.learning.factory import make_agent
from dqn.replay.arrays import PlainFrames
from dqn.replay.compressed import CompressedFrames

SMALL = [
    "--game=CartPole-v1", "--total-steps=400", "--num-envs=4", "--learning-starts=40",
    "--threads=1", "--replay.capacity=240", "--report-period=100", "--evaluate-period=200",
    "--exploration.epsilon-decay-steps=200", "--evaluation.episodes=2",
    "--evaluation.held-out-states=2", "--checkpoint-minutes=1e6",
]  # fmt: skip
CARTPOLE = [
    *SMALL, "--env.reseed-steps=40", "--network.mlp-units=[8]", "--learner.batch-size=8",
    "--learner.target-period=40", "--learner.loss=mse", "--optimizer.learning-rate=1e-2",
]  # fmt: skip
PRIORITIZED = [*CARTPOLE, "--replay.sampler=prioritized", "--replay.beta-steps=300"]
SCHEDULED = [
    *CARTPOLE, "--optimizer.learning-rate-end=1e-4", "--optimizer.learning-rate-decay-steps=200"
]  # fmt: skip
RMSPROP = [*CARTPOLE, "--optimizer.name=rmsprop"]
BREAKOUT = [
    "--game=Breakout", "--total-steps=320", "--num-envs=2", "--learning-starts=40",
    "--threads=1", "--env.threads=1", "--env.max-episode-frames=200", "--replay.capacity=2000",
    "--evaluate-period=320", "--report-period=160", "--network.hidden-units=8",
    "--learner.batch-size=4", "--learner.update-period=32", "--evaluation.episodes=1",
    "--evaluation.epsilon=.5", "--evaluation.held-out-states=1", "--checkpoint-minutes=1e6",
]  # fmt: skip

Q_TABLE = [
    *SMALL, "--method=q_learning", "--device=cpu", "--learner.update-period=1",
    "--optimizer.learning-rate=.1", "--tabular.limits=[2.4,3,.2,2]",
]  # fmt: skip
MAZE = [
    "--game=Maze-v0", "--method=policy_gradient", "--device=cpu", "--total-steps=400",
    "--num-envs=1", "--learning-starts=2", "--threads=1", "--replay.capacity=400",
    "--report-period=10", "--evaluate-period=400", "--learner.update-period=1",
    "--optimizer.learning-rate=1", "--exploration.epsilon-start=0", "--exploration.epsilon-end=0",
    "--evaluation.episodes=1", "--evaluation.epsilon=0", "--checkpoint-minutes=1e6",
]  # fmt: skip

IMPALA = [*BREAKOUT, "--network.torso=impala"]
NOISY = [*CARTPOLE, "--network.noisy=true"]
C51 = [*CARTPOLE, "--learner.loss=huber", "--values.kind=categorical"]
QR = [*CARTPOLE, "--learner.loss=huber", "--values.kind=quantile", "--values.quantiles=5"]
IQN = [*CARTPOLE, "--learner.loss=huber", "--values.kind=implicit_quantile"]
MUNCHAUSEN = [*CARTPOLE, "--learner.target_policy=munchausen"]

QBERT = [*BREAKOUT, "--game=Qbert", "--env.max-episode-frames=2000"]
"""Where a random player soon gains 25 points at once."""

MODEL, ROWS = "model.safetensors", "rows"
EVALUATIONS, TRAINING = "evaluations.jsonl", "training.jsonl"

CHANGES: list[tuple[list[str], str, list[str]]] = [
    (CARTPOLE, ROWS, [
        "game=Acrobot-v1", "seed=2", "num_envs=2", "env.max_episode_steps=8", "env.reseed_steps=10",
        "replay.shape_reward=cartpole", "exploration.epsilon_start=0.3",
        "exploration.epsilon_end=0.5", "exploration.epsilon_decay_steps=100",
        "exploration.epsilon_off_step=200", "exploration.spread=7",
    ]),
    (Q_TABLE, MODEL, ["method=sarsa", "tabular.limits=[1,1,.1,1]", "tabular.bins=5"]),
    (CARTPOLE, MODEL, [
        "precision=bfloat16",
        "learning_starts=80", "replay.capacity=120", "replay.n_step=2", "replay.gamma=0.9",
        "replay.sampler=prioritized", "network.mlp_units=[8,4]", "network.center=true",
        "network.layer_norm=true", "network.dueling=true", "network.noisy=true",
        "learner.target_policy=double", "optimizer.name=rmsprop", "optimizer.learning_rate=2e-2",
        "optimizer.epsilon=1e-2", "learner.batch_size=9", "learner.update_period=8",
        "learner.loss=huber", "learner.target_period=80", "learner.target_tau=0.5",
        "learner.max_gradient_norm=0.01",
    ]),
    (CARTPOLE, EVALUATIONS, [
        "evaluate_period=400", "evaluation.episodes=3", "evaluation.epsilon=1.0",
        "evaluation.held_out_states=16",
    ]),
    (CARTPOLE, TRAINING, ["report_period=200"]),
    (BREAKOUT, ROWS, [
        "env.protocol=machado", "env.full_action_set=true", "env.frame_size=48",
        "env.max_episode_frames=160",
    ]),
    (BREAKOUT, EVALUATIONS, ["evaluation.max_steps_without_reward=20"]),
    (QBERT, ROWS, ["replay.clip_reward=false"]),
    (PRIORITIZED, MODEL, [
        "replay.alpha=0.9", "replay.beta_start=0.1", "replay.beta_end=0.6", "replay.beta_steps=100",
    ]),
    (BREAKOUT, MODEL, ["network.torso=nips", "network.hidden_units=9"]),
    (IMPALA, MODEL, ["network.width=2", "network.pool=6", "network.spectral_norm=true"]),
    (NOISY, MODEL, ["network.noisy_sigma=0.1"]),
    (IQN, MODEL, ["values.kind=quantile", "values.num_taus=8", "values.num_cosines=8"]),
    (C51, MODEL, ["values.atoms=21", "values.v_min=-5", "values.v_max=5"]),
    (QR, MODEL, ["values.quantiles=6", "values.kappa=0.1"]),
    (IQN, EVALUATIONS, ["values.num_policy_taus=2"]),
    (MUNCHAUSEN, MODEL, [
        "learner.munchausen_alpha=0.5", "learner.munchausen_temperature=0.3",
        "learner.munchausen_clip_min=-0.001",
    ]),
    (SCHEDULED, MODEL, [
        "optimizer.learning_rate_end=1e-5", "optimizer.learning_rate_decay_steps=100",
    ]),
    (RMSPROP, MODEL, ["optimizer.decay=0.5"]),
    (MAZE, ROWS, ["tabular.policy_change=10"]),
]  # fmt: skip
"""A run, what is then another, and the fields with the other values that make it so."""

CASES = {
    field: (options, value, what)
    for options, what, changes in CHANGES
    for field, _, value in (change.partition("=") for change in changes)
}

TESTS = Path(__file__).parents[1]

ELSEWHERE = {
    "test_devices": ["device", "replay.device"],
    "test_storage": ["replay.storage"],
    "test_threads": ["threads"],
    "test_threads_of_the_emulators": ["env.threads"],
    "test_niceness_of_the_emulators": ["env.niceness"],
    "test_cuda_graphs_are_used_where_everything_is_on_the_gpu_unless_told_not_to": ["cuda_graphs"],
    "test_deterministic_operations_are_asked_for": ["deterministic"],
    "test_what_is_no_part_of_a_runs_identity": [
        "total_steps", "render", "keep_checkpoints", "checkpoint_minutes", "checkpoints_dir",
    ],
}  # fmt: skip
"""Tests, and the fields of which they see that they change a call, or what lies in the folder."""


def test_every_field_has_a_case() -> None:
    fields = [change.partition("=")[0] for _, _, changes in CHANGES for change in changes]
    elsewhere = [field for fields in ELSEWHERE.values() for field in fields]
    assert sorted([*fields, *elsewhere]) == sorted(flatten(Config())), "not one case for each field"
    assert set(elsewhere) > MAY_CHANGE_ON_RESUME
    tests = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    assert [test for test in ELSEWHERE if f"def {test}(" not in tests] == []


def traces(run: Path) -> dict[str, bytes]:
    """What a run leaves that could be another: checkpoint, evaluations and reports."""
    files = content(checkpoints(run)[-1])
    rows = b"".join(files.pop(name) for name in sorted(files) if name.startswith("rows_"))
    texts = {name: (run / name).read_bytes() for name in (EVALUATIONS, TRAINING)}
    return files | texts | {ROWS: rows}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, bytes]]:
    """What an unchanged run leaves; each is trained once, when it is first asked for."""

    @functools.cache
    def left(name: str) -> dict[str, bytes]:
        return traces(train(tmp_path_factory.mktemp("before"), FAMILIES[name]))

    return left


def family(options: list[str]) -> str:
    """A run's options in a word: the name of the list above."""
    return next(name for name, value in globals().items() if value is options)


FAMILIES = {family(options): options for options, _, _ in CASES.values()}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_reads_the_fields_it_is_the_case_of(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick stand-in for the next test: what nobody reads changes nothing."""
    read = record_reads(monkeypatch)
    train(tmp_path, FAMILIES[name])
    assert {field for field, case in CASES.items() if case[0] is FAMILIES[name]} - read == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_field_changes_a_bit(name: str, before: Any, tmp_path: Path) -> None:
    options, value, what = CASES[name]
    run = train(tmp_path, [*options, f"--{name}={value}"])
    assert traces(run)[what] != before(family(options))[what]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CARTPOLE", "RMSPROP", "BREAKOUT", "QBERT"])
def test_the_same_fields_give_the_same_bits(name: str, before: Any, tmp_path: Path) -> None:
    """So a difference above is the field's own."""
    assert traces(train(tmp_path, FAMILIES[name])) == before(name)


def test_storage() -> None:
    """Equal bits, so another class is all there is to see; on the CPU only."""
    for storage, kind in (("plain", PlainFrames), ("compressed", CompressedFrames)):
        config = Config(game="CartPole-v1", replay=ReplayConfig(capacity=100, storage=storage))
        agent = make_agent(config, torch.device("cpu"))
        agent.environment.close()
        assert isinstance(agent.replay._frames, kind)


def test_threads(tmp_path: Path) -> None:
    for threads in (2, 1):
        train(tmp_path / f"{threads}", [*CARTPOLE, f"--threads={threads}", "--total-steps=40"])
        assert torch.get_num_threads() == threads


def test_threads_of_the_emulators(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Noted(dqn.envs.atari.AtariVectorEnv):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            asked.append(keywords["num_threads"])
            super().__init__(*arguments, **keywords)

    monkeypatch.setattr(dqn.envs.atari, "AtariVectorEnv", Noted)
    for threads in (0, 1, 2):
        dqn.envs.make(Config(game="Pong", env=EnvConfig(threads=threads)), 4).close()
    assert asked == [0, 1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere niceness is the whole process's")
def test_niceness_of_the_emulators() -> None:
    """Theirs alone: what the learner's threads would wait for."""
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    for niceness in (0, 7):
        before = set(niceness_of_threads())
        environment = dqn.envs.make(Config(game="Pong", env=EnvConfig(niceness=niceness)), 2)
        time.sleep(0.5)  # the thread that made them is gone for Python before it is for the system
        theirs = [nice for thread, nice in niceness_of_threads().items() if thread not in before]
        assert sorted(theirs)[-2:] == [min(mine + niceness, 19)] * 2
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine
        environment.close()


def niceness_of_threads() -> dict[int, int]:
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            found[int(task.name)] = os.getpriority(os.PRIO_PROCESS, int(task.name))
    return found


def test_devices() -> None:
    """cpu is the CPU wherever there is a GPU, and cuda is one or an error."""
    assert resolve_device("cpu").type == "cpu"
    config = Config(game="CartPole-v1", replay=ReplayConfig(capacity=1000, device="cpu"))
    agent = make_agent(config, torch.device("cpu"))
    assert agent.replay.device.type == "cpu"
    agent.environment.close()
    if torch.cuda.is_available():
        assert resolve_device("cuda").type == resolve_device("auto").type == "cuda"
    else:  # cuda is refused, see test_bad_input.py
        assert resolve_device("auto").type == "cpu"


def test_what_is_no_part_of_a_runs_identity(tmp_path: Path) -> None:
    """None of these changes a bit of the training, and each of them something else."""
    options = [*CARTPOLE, "--total-steps=200"]
    plain = train(tmp_path / "plain", options)
    assert [path.name for path in checkpoints(plain)] == ["step_000000200"]
    assert not list(plain.glob("eval_*"))
    longer = train(tmp_path / "longer", [*options, "--total-steps=240"])
    assert [path.name for path in checkpoints(longer)] == ["step_000000200", "step_000000240"]
    often = ["--checkpoint-minutes=1e-9", "--keep-checkpoints=3", "--render"]
    often_saved = train(tmp_path / "often", [*options, *often])
    assert traces(often_saved) == traces(plain)
    assert len(checkpoints(often_saved)) == 3
    assert (often_saved / "eval_001" / "000000.png").exists()
    assert plain.parent.parent == tmp_path / "plain"
