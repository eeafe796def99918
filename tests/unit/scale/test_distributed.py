"""Rounds of distributed replay, with workers in this process instead of Ray's."""

import dataclasses
import os
import signal

import numpy as np
import pytest
import torch
from support.local_workers import LocalWorkers, play_in_this_process
from support.runs import (
    BREAKOUT,
    CARTPOLE,
    assert_same,
    assert_same_learning,
    checkpoints,
    content,
    newest,
    run_of,
    train,
)

from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.learning.factory import make_q_network
from dqn.run import session
from dqn.run.resume import StoppedEarly
from dqn.scale.compression import FramesInTransit, compress, decompress
from dqn.scale.rollouts import OutOfOrder, RolloutWorker, store_bytes
from main import main

CARTPOLE = [
    *CARTPOLE, "--total-steps=2000", "--evaluate-period=2000", "--num-envs=4",
    "--exploration.epsilon-end=.3", "--exploration.spread=2",
]  # fmt: skip
BREAKOUT = [
    *BREAKOUT, "--total-steps=800", "--evaluate-period=800", "--exploration.epsilon-end=.5",
    "--env.max-episode-frames=200",
]  # fmt: skip
NOISY = [
    *CARTPOLE, "--network.noisy", "--network.dueling", "--values.kind=categorical",
    "--replay.sampler=prioritized",
]  # fmt: skip
WITHOUT_LAG = ["--distributed.lag=0", "--distributed.round-length=1"]


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch):
    play_in_this_process(monkeypatch)


@pytest.mark.parametrize("options", [CARTPOLE, NOISY, BREAKOUT], ids=["CartPole", "noisy", "Atari"])
def test_one_worker_without_lag_gives_the_bits_of_a_run_in_one_process(options, tmp_path):
    alone = train(tmp_path / "alone", options)
    run = train(tmp_path / "worker", options, "--actors=1", *WITHOUT_LAG)
    assert_same_learning(run, alone)


@pytest.mark.parametrize(
    "options",
    [pytest.param(NOISY, id="noisy"), pytest.param(BREAKOUT, id="Atari", marks=pytest.mark.slow)],
)
def test_the_number_of_workers_changes_no_bit(options, tmp_path):
    """Not even that of the network's batches, with these networks on the CPU."""
    one, *others = [train(tmp_path / str(k), options, f"--actors={k}") for k in (1, 2, 4)]
    for run in others:
        assert_same_learning(run, one)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_a_round_is_played_with_the_weights_of_lag_rounds_ago(lag, tmp_path, monkeypatch):
    """Recorded before each turn, when the loop asks whether there is one."""
    before, ask = [], session.Session.before_step

    def asked(self):
        before.append(self.agent.learner.online.state_dict()["head.advantage.0.bias"].tolist())
        return ask(self)

    monkeypatch.setattr(session.Session, "before_step", asked)
    options = ["--actors=2", f"--distributed.lag={lag}", "--distributed.round-length=5"]
    train(tmp_path, CARTPOLE, *options)
    (workers,) = LocalWorkers.made
    assert [request[:2] for request in workers.log] == [(5 * r, 5) for r in range(100 + lag)]
    assert len({*map(tuple, before)}) > 20
    for r, (*_, weights) in enumerate(workers.log):
        known = before[5 * max(0, r - lag)]
        assert weights["head.advantage.0.bias"].tolist() == known, r


def test_a_run_resumed_within_a_round_continues_it(tmp_path):
    """Twice, with three sets of weights in use; 250 and 377 turns are 15.6 and 23.6 rounds."""
    options = [*NOISY, "--actors=2", "--distributed.lag=2"]
    undisturbed = train(tmp_path / "a", options)
    for steps in (1000, 1508, 2000):
        run = train(tmp_path / "b", options, f"--total-steps={steps}")
    begun = [request[:2] for request in LocalWorkers.made[2].log[:3]]
    assert begun == [(250, 6), (256, 16), (272, 16)]
    ours, theirs = content(checkpoints(run)[-1]), content(checkpoints(undisturbed)[-1])
    # It was evaluated more often, which the state counts.
    assert [name for name in theirs if ours[name] != theirs[name]] == ["state"]


def test_a_run_that_is_stopped_while_it_waits_is_saved(tmp_path, monkeypatch):
    undisturbed = train(tmp_path / "a", [*NOISY, "--actors=2"])
    receive = LocalWorkers.receive

    def stopped(self, snapshot):
        if snapshot().turn < 320:
            return receive(self, snapshot)
        os.kill(os.getpid(), signal.SIGTERM)
        raise StoppedEarly

    with monkeypatch.context() as patch:
        patch.setattr(LocalWorkers, "receive", stopped)
        typed = [*NOISY, "--actors=2", f"--checkpoints-dir={tmp_path / 'b'}"]
        assert main(typed) == 128 + signal.SIGTERM
    run = run_of(tmp_path / "b")
    assert newest(run) == 4 * 320
    assert_same(train(tmp_path / "b", [*NOISY, "--actors=2"]), undisturbed)


def test_a_worker_plays_each_turn_once_and_a_new_one_none():
    config = parse(TrainOptions, [*CARTPOLE, "--actors=2"]).settings
    worker, new = RolloutWorker(config, 1), RolloutWorker(config, 1)
    worker.reset()
    network, _ = make_q_network(config, worker._environment.spec)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    first = worker.play(0, 3, weights)
    environment, actor = worker._environment.state_dict(), worker._actor.state_dict()
    for turn in (0, 2, 4):
        with pytest.raises(OutOfOrder):
            worker.play(turn, 1, weights)
    with pytest.raises(OutOfOrder):
        new.play(3, 1, weights)
    new.restore(3, environment, actor)
    ours, theirs = worker.play(3, 40, weights), new.play(3, 40, weights)
    assert first.action.shape == (3, 2) and ours.steps.frame.shape == (40, 2, 4)
    for mine, other in zip((ours.action, *ours.steps), (theirs.action, *theirs.steps), strict=True):
        assert np.array_equal(mine, other)


def test_a_worker_has_its_own_threads_and_float32_where_the_learner_has_tf32():
    typed = ["--game=CartPole-v1", "--actors=2", "--threads=1", "--distributed.threads=2"]
    config = parse(TrainOptions, typed).settings
    worker = RolloutWorker(dataclasses.replace(config, precision="tf32"), 0)
    assert worker._network.preprocess(torch.ones(1, 1, 4)).dtype == torch.float32
    assert torch.get_num_threads() == 2


def test_the_object_store_holds_every_round_that_is_under_way():
    typed = ["--game=Pong", "--actors=2", "--distributed.lag=2", "--distributed.round-length=5"]
    assert store_bytes(parse(TrainOptions, typed).settings) == (2 + 1 + 1) * 5 * 8 * 84 * 84


def test_frames_are_compressed_without_loss():
    frames = np.random.default_rng(1).integers(0, 3, (5, 2, 84, 84)).astype(np.uint8)
    packed = compress(frames)
    assert isinstance(packed, FramesInTransit) and len(packed.data) < frames.nbytes / 2
    again = decompress(packed)
    assert again.dtype == frames.dtype and np.array_equal(again, frames)
