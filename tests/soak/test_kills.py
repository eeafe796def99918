"""A training that is killed again and again at random instants ends with the same bits as one that
is left alone.

``make soak`` kills it a hundred times. The instants are new in each run of this test; their seed is
printed.
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.clusters import Suite, actors_of, finish_python, train_alone
from support.processes import start_python, wait_for
from support.runs import (
    BREAKOUT,
    CARTPOLE,
    NEVER,
    assert_same,
    checkpoints,
    finish,
    newest,
    reports,
    run_of,
    train,
)

STEPS_PER_KILL = 500
HARD = ["--replay.sampler=prioritized", "--network.noisy", "--distributed.lag=2"]
FREQUENT = "--checkpoint-minutes=0.006"  # 0.36 s


def options(kills: int) -> list[str]:
    """A run long enough for so many kills."""
    steps = STEPS_PER_KILL * kills
    return [
        *BREAKOUT, "--num-envs=4", f"--total-steps={steps}",
        f"--evaluate-period={steps // 2}", "--report-period=40",
    ]  # fmt: skip


def test_killed_at_random_instants(request, tmp_path, capsys):
    """Half of the instants are just after a checkpoint's folder appeared, a quarter soon after the
    loop began, and a quarter anywhere in the process's life."""
    kills: int = request.config.getoption("--kills")
    seed = random.SystemRandom().getrandbits(32)
    draw = random.Random(seed)
    command = options(kills)
    undisturbed = train(tmp_path / "undisturbed", command, NEVER)
    folder = tmp_path / "killed"
    run = folder / undisturbed.relative_to(tmp_path / "undisturbed")
    with capsys.disabled():
        print(f"\nseed {seed}, {kills} kills")
    writing = after_first = 0
    for number in range(kills):
        old = parts(run)
        process = start_python(folder, command, FREQUENT)
        (write_begun, loop_begun, write_begun, any_instant)[number % 4](process, run, draw)
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        assert process.returncode == -signal.SIGKILL, said
        in_a_write = bool(parts(run) - old)
        writing += in_a_write
        after_first += newest(run) > 0
        with capsys.disabled():
            where = ", while it wrote a checkpoint" if in_a_write else ""
            print(f"kill {number + 1:3d}: newest checkpoint at step {newest(run):6,}{where}")
    assert writing >= max(2, kills // 20), "too few kills in a checkpoint's write"
    assert after_first >= kills // 2, "too few kills after the first checkpoint"
    said = finish(folder, command)
    assert said.startswith(f"Continuing {run} at step ")
    assert_same(run, undisturbed)
    assert len(checkpoints(run)) <= 2
    assert not [path for path in run.iterdir() if path.suffix in (".part", ".gone")]
    with capsys.disabled():
        print(f"{writing} of {kills} while a checkpoint was written, {after_first} after the first")
        print("model, optimizer, replay, rewards.txt and evaluations.jsonl: the same bits")


@pytest.mark.ray
@pytest.mark.parametrize("more", [[], HARD], ids=["dqn", "noisy-prioritized-lag-2"])
def test_actors_and_learner_killed_at_random_instants(request, tmp_path, capsys, more):
    """Two actors in turn, then the learner, and again; a third as many kills."""
    kills = max(3, request.config.getoption("--kills") * 3 // 10)
    seed = random.SystemRandom().getrandbits(32)
    draw = random.Random(seed)
    command = [*options(kills), "--actors=2", *more]
    finish_python(tmp_path / "undisturbed", command)
    undisturbed = run_of(tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    run = folder / undisturbed.relative_to(tmp_path / "undisturbed")
    with capsys.disabled():
        print(f"\nseed {seed}, {kills} kills")
    process, lost = start_python(folder, command, FREQUENT), 0
    for number in range(kills):
        loop_begun(process, run, draw)
        actor = number % 3 < 2
        if actor:
            wait_for(process, lambda process=process: len(actors_of(process)) == 2)
            draw.choice(actors_of(process)).kill()
        else:
            process.kill()
            lost += process.communicate()[1].count("; a new one takes over.")
            process = start_python(folder, command, FREQUENT)
        with capsys.disabled():
            who = "an actor" if actor else "the learner"
            print(f"kill {number + 1:3d}: {who}, newest checkpoint at step {newest(run):6,}")
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert lost + said.count("; a new one takes over.") >= kills // 3, "too few losses were noticed"
    assert_same(run, undisturbed)


@pytest.mark.ray
def test_a_suite_killed_at_random_instants(request, tmp_path, capsys):
    """The process of a run, then the driver, and again; a twentieth as many kills."""
    kills = max(2, request.config.getoption("--kills") // 20)
    seed = random.SystemRandom().getrandbits(32)
    draw = random.Random(seed)
    folder = tmp_path / "killed"
    options = [
        *CARTPOLE, "--games=CartPole-v1", "--config=cartpole", "--seeds=2", FREQUENT,
        f"--total-steps={15_000 * kills}",
    ]  # fmt: skip
    options.remove("--game=CartPole-v1")
    with capsys.disabled():
        print(f"\nseed {seed}, {kills} kills")
    suite = Suite(folder, options)
    for number in range(kills):
        run = folder / f"CartPole-v1/cartpole-seed{draw.choice((1, 2))}"
        goal = newest(run) + draw.randint(1, 9_000)
        suite.wait_for(lambda run=run, goal=goal: newest(run) >= goal)
        if worker := number % 2 == 0:
            before = suite.notes()
            note = draw.choice(list(before))
            os.kill(before[note]["pid"], signal.SIGKILL)
            old, notes = before[note], suite.notes
            suite.wait_for(lambda note=note, old=old, notes=notes: notes().get(note, old) != old)
        else:
            suite.send_signal(signal.SIGKILL)
            suite.wait()
            suite = Suite(folder, options)
        with capsys.disabled():
            print(f"kill {number + 1:3d}: {'a run' if worker else 'the driver'}")
    status, _, said = suite.wait()
    assert status == 0, said
    train_alone(folder, tmp_path)


def any_instant(process: "subprocess.Popen[str]", run: Path, draw: random.Random) -> None:
    """Any instant of the first seconds: imports and the restoring of the emulators included."""
    time.sleep(draw.uniform(0.1, 5))


def loop_begun(process: "subprocess.Popen[str]", run: Path, draw: random.Random) -> None:
    """Some reports after the loop began, when there is a checkpoint to resume from."""
    goal = reports(run) + draw.randint(1, 6)
    while (reports(run) < goal or not newest(run)) and process.poll() is None:
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.05))


def write_begun(process: "subprocess.Popen[str]", run: Path, draw: random.Random) -> None:
    """Within some milliseconds after a checkpoint's folder appears."""
    old = parts(run)
    while not parts(run) - old and process.poll() is None:
        time.sleep(0.0005)
    time.sleep(draw.uniform(0, 0.02))


def parts(run: Path) -> set[tuple[str, int]]:
    """Unfinished checkpoints by name and inode: a later one may have the same name."""
    found = set()
    for path in run.glob(".step_*.part"):
        with contextlib.suppress(FileNotFoundError):  # it has just been completed
            found.add((path.name, path.stat().st_ino))
    return found
