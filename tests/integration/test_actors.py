"""Distributed replay on real Ray clusters: actors, their node and the learner are killed, and the
result is the one that nothing disturbed."""

import signal
import sys
import time
from unittest.mock import Mock

import pytest
from support.clusters import actors_of, finish_python, nodes
from support.local_workers import play_in_this_process
from support.processes import start_python, wait_for
from support.runs import (
    BREAKOUT,
    CARTPOLE,
    NEVER,
    assert_same,
    assert_same_learning,
    newest,
    reports,
    run_of,
    train,
)

from main import main

FOUR = ["--num-envs=4", "--exploration.epsilon-end=.5"]
SHORT = [*CARTPOLE, *FOUR, "--total-steps=1000", "--evaluate-period=1000"]
LONG = [
    *BREAKOUT, *FOUR, "--actors=2", "--total-steps=12000", "--evaluate-period=6000",
    "--replay.sampler=prioritized", "--network.noisy", "--distributed.lag=2",
]  # fmt: skip
LOST = " of 2; a new one takes over."


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run that LONG leads to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish_python(folder, LONG)
    return run_of(folder)


@pytest.fixture
def run(tmp_path, undisturbed):
    """The same in this test's folder."""
    return tmp_path.joinpath(*undisturbed.parts[-2:])


@pytest.mark.ray
@pytest.mark.slow
def test_actors_and_learner_are_killed(tmp_path, run, undisturbed):
    """An actor, the other one, the learner; then an actor, and the learner with both."""
    for kills in (2, 1):
        process = start_python(tmp_path, LONG, "--checkpoint-minutes=0.01")
        for kill in range(kills):
            goal = reports(run) + 5
            wait_for(process, lambda goal=goal: reports(run) >= goal)
            wait_for(process, lambda process=process: len(actors_of(process)) == 2)
            actors_of(process)[kill].kill()
        goal, step = reports(run) + 5, newest(run)
        wait_for(process, lambda goal=goal: reports(run) >= goal)
        wait_for(process, lambda step=step: newest(run) > step)
        for victim in actors_of(process) * (kills == 1):
            victim.kill()
        process.kill()
        _, said = process.communicate()
        assert said.count(LOST) == said.count(" of 2 in ") == kills, said
    said = finish_python(tmp_path, LONG)
    assert f"\nContinuing {run} at step " in said
    assert_same(run, undisturbed)


@pytest.mark.ray
@pytest.mark.slow
def test_ctrl_c_while_a_lost_actor_is_replaced_saves_the_run(tmp_path, run, undisturbed):
    process = start_python(tmp_path, LONG, NEVER)
    wait_for(process, lambda: reports(run) >= 5)
    for actor in actors_of(process):
        actor.kill()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("Stopped by SIGINT; the same command continues.\n"), said
    assert newest(run) >= 5 * 200
    finish_python(tmp_path, LONG)
    assert_same(run, undisturbed)


@pytest.mark.ray
@pytest.mark.slow
def test_an_actor_that_cannot_start_is_refused_in_a_sentence(refused, monkeypatch):
    ours = {"torch": "1.0"}
    monkeypatch.setattr("dqn.scale.workers.probe", lambda _: (ours, "", False))
    monkeypatch.setattr("dqn.scale.cluster.log", Mock())
    said = refused([*SHORT, "--actors=1"])
    assert said.startswith(
        "actor 1 of 1 cannot start: the learner's node has torch 1.0, not torch "
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_is_killed(tmp_path, run, undisturbed):
    """One that the learner is not on: frames from it are compressed, and its actor moves."""
    with nodes(cpus=2) as cluster:
        process = start_python(tmp_path, LONG, NEVER, f"--address={cluster.address}")
        wait_for(process, lambda: reports(run) >= 5)
        cluster.kill_second()
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert said.count(LOST) == said.count(" of 2 in ") == 1, said
    assert_same(run, undisturbed)


def test_bad_input(refused):
    for typed, sentence in {
        "--actors=3": "num_envs of 8 is not a multiple of the 3 actors that share them; try "
        "--num-envs 9",
        "--actors=1 --config=maze_sarsa": "--actors has no effect with method sarsa; do not set it",
        "--distributed.lag=2": "--distributed.lag has no effect without actors; set actors too, or "
        "do not set distributed.lag",
        "--address=auto": "--address has no effect without --actors; do not set it",
        "--actors=2 --address=127.0.0.1:1": "no Ray cluster answers at 127.0.0.1:1; start one with "
        "`ray start --head`, or leave --address out",
    }.items():
        assert refused(["--game=Pong", *typed.split()]) == sentence


def test_without_ray_actors_are_refused_in_a_sentence(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refused(["--game=Pong", "--actors=2"]) == (
        "Ray is not installed; type `pip install -r requirements-ray.txt`"
    )


def test_fresh_begins_a_run_with_actors_anew(tmp_path, monkeypatch):
    play_in_this_process(monkeypatch)
    options = [*SHORT, "--actors=2"]
    run = train(tmp_path, options)
    assert main([*options, f"--checkpoints-dir={tmp_path}", "--fresh"]) == 0
    (aside,) = run.parent.glob(f"{run.name}.old-*")
    assert_same(run, aside)


@pytest.mark.ray
def test_an_actor_without_lag_gives_the_bits_of_a_run_in_one_process(tmp_path):
    alone = train(tmp_path / "alone", SHORT)
    lag = ["--distributed.lag=0", "--distributed.round-length=1"]
    finish_python(tmp_path / "actor", [*SHORT, "--actors=1"], *lag)
    assert_same_learning(run_of(tmp_path / "actor"), alone)


@pytest.mark.ray
def test_more_actors_than_the_cluster_has_cpus_are_refused(refused, monkeypatch):
    monkeypatch.setattr("dqn.scale.cluster.cores", lambda: 1)
    monkeypatch.setattr("dqn.scale.cluster.log", Mock())
    assert refused(["--game=Pong", "--actors=4"]) == (
        "the cluster has no room for 4 actors with 1 CPU each, only for 1"
    )
