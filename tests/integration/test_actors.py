"""Distributed replay on a real Ray cluster: actors, their node and the learner are killed, and the
result is the one that nothing disturbed."""

import os
import signal

import psutil
import pytest
from ray.cluster_utils import Cluster
from support.processes import start_python, wait_for
from support.runs import BREAKOUT, CARTPOLE, NEVER, assert_same, newest, reports, run_of

pytestmark = pytest.mark.ray

ACTORS = ["--num-envs=4", "--actors=2", "--exploration.epsilon-end=.5"]
SHORT = [*CARTPOLE, *ACTORS, "--total-steps=4000", "--evaluate-period=4000"]
LONG = [*BREAKOUT, *ACTORS, "--total-steps=12000", "--evaluate-period=6000"]


def finish(folder, options, *more):
    """Train to the end; returns the run's folder and stderr."""
    process = start_python(folder, options, NEVER, *more)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return run_of(folder), said


def actors_of(process):
    """The processes of a run's actors."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            found += [child] * child.cmdline()[0].startswith("ray::RemoteWorker")
        except psutil.Error:  # it ended
            continue
    return found


def kill_one_actor(process, number):
    """Once it plays."""
    wait_for(process, lambda: len(actors_of(process)) == 2)
    victim = actors_of(process)[number % 2]
    os.kill(victim.pid, signal.SIGKILL)


@pytest.mark.slow
def test_actors_and_learner_are_killed(tmp_path):
    """Two actors, then the learner, an actor, and the learner with both."""
    undisturbed, _ = finish(tmp_path / "a", LONG)
    folder = tmp_path / "b"
    run = folder / undisturbed.relative_to(tmp_path / "a")
    for kills in (2, 1):
        process = start_python(folder, LONG, "--checkpoint-minutes=0.01")
        for kill in range(kills):
            goal = reports(run) + 5
            wait_for(process, lambda goal=goal: reports(run) >= goal)
            kill_one_actor(process, kill)
        step = newest(run)
        wait_for(process, lambda step=step: newest(run) > step)
        for victim in actors_of(process) * (kills == 1):
            victim.kill()
        process.kill()
        _, said = process.communicate()
        assert said.count(" of 2 was lost; a new one takes over.") >= kills, said
        assert said.count(" of 2 is restored (") >= kills, said
    run, said = finish(folder, LONG)
    assert said.startswith(f"Continuing {run} at step ")
    assert_same(run, undisturbed)


@pytest.fixture
def two_nodes():
    """A head without CPUs, on which the learner runs, and two nodes of one CPU."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster, nodes
    cluster.shutdown()


@pytest.mark.slow
def test_a_node_is_killed(tmp_path, two_nodes):
    """Frames cross between nodes, compressed; the lost actor moves to a new node."""
    cluster, nodes = two_nodes
    options = [*LONG, "--total-steps=8000", "--evaluate-period=8000"]
    undisturbed, _ = finish(tmp_path / "a", options)
    folder = tmp_path / "b"
    run = folder / undisturbed.relative_to(tmp_path / "a")
    process = start_python(folder, options, NEVER, f"--address={cluster.address}")
    wait_for(process, lambda: reports(run) >= 5)
    cluster.remove_node(nodes[0], allow_graceful=False)
    cluster.add_node(num_cpus=1)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert " of 2 was lost; a new one takes over." in said
    assert_same(run, undisturbed)


def test_bad_input(refused):
    for typed, sentence in {
        "--actors=3": "num_envs of 8 is not a multiple of the 3 actors that share them",
        "--actors=2 --config=maze": "actors has no effect with method policy_gradient; do not set it",
        "--distributed.lag=2": "--distributed.lag has no effect without actors; set actors too, or do "
        "not set distributed.lag",
        "--address=auto": "--address has no effect without --actors; do not set it",
        "--actors=2 --address=127.0.0.1:1": "no Ray cluster answers at 127.0.0.1:1; start one with "
        "`ray start --head`, or leave --address out",
    }.items():  # fmt: skip
        assert refused(["--game=Pong", *typed.split()]) == sentence
