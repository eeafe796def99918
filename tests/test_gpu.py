"""What only a GPU can show. Left out where torch can use none."""

import signal
from pathlib import Path

import pytest
from test_resume import BREAKOUT, NEVER, assert_same, finish, interrupt, run_of, train

from dqn.config import Config

ON_GPU = [*BREAKOUT, "--num-envs=8", "--device=cuda", "--deterministic=true"]


@pytest.mark.gpu
@pytest.mark.parametrize("replay", ["cuda", "cpu"])
def test_the_same_bits_twice_and_across_a_resume(replay: str, tmp_path: Path) -> None:
    options = [*ON_GPU, f"--replay.device={replay}"]
    once = train(tmp_path / "once", options, NEVER)
    again = tmp_path / "again"
    finish(again, options)
    assert_same(run_of(again), once)
    resumed = tmp_path / "resumed"
    for number in (signal.SIGKILL, signal.SIGTERM):
        interrupt(resumed, options, number, after=6)
    finish(resumed, options)
    assert_same(run_of(resumed), once)


@pytest.mark.parametrize("wanted", [True, False])
def test_deterministic_operations_are_asked_for(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The knob is read; that it helps is the test above."""
    asked = []
    monkeypatch.setattr(
        "dqn.train.use_deterministic_operations", lambda device: asked.append(device.type)
    )
    small = [
        "--game=CartPole-v1", "--total-steps=16", "--learning-starts=16", "--device=cpu",
        "--replay.capacity=100", "--evaluation.episodes=1", "--evaluation.held-out-states=2",
    ]  # fmt: skip
    train(tmp_path, [*small, f"--deterministic={str(wanted).lower()}"])
    assert asked == (["cpu"] if wanted else [])
    assert not Config().deterministic
