"""What a run says when something goes wrong, or is not new: every line, word by word.

Two environments of written games; an update for every two steps after the fourth, a report each 16.
"""

import errno
import itertools
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import gymnasium
import numpy as np
import pytest
import safetensors.torch
import torch
from gymnasium.envs.registration import EnvSpec
from support.runs import checkpoints, lines, run_of, scalars
from support.scripted import GYM, Game, ScriptedGym, script_gym
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dqn.run.session
from dqn.config import ConfigError
from dqn.learning import factory
from dqn.learning.actor import Actor
from dqn.report.metrics import Metrics
from dqn.run.resume import RunStopped
from dqn.storage.checkpoint import Checkpoints
from dqn.storage.manifest import read_manifest
from dqn.storage.provenance import as_text, versions
from dqn.types import Batch
from main import main

OPTIONS = [
    "--total-steps=32", "--num-envs=2", "--learning-starts=4", "--device=cpu", "--threads=1",
    "--report-period=16", "--evaluate-period=100", "--replay.capacity=100",
    "--network.mlp-units=[4]", "--learner.batch-size=4", "--learner.update-period=2",
    "--evaluation.episodes=1", "--evaluation.epsilon=0", "--evaluation.held-out-states=1",
    "--checkpoint-minutes=1e6",
]  # fmt: skip
EACH_STEP = "--checkpoint-minutes=1e-9"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

AGAIN = "it is tried once more"
START = "Starting RUN at step 0 of 32, on cpu, threads: 1."


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Train with more options; returns the exit status and what was said."""
    game = script_gym(monkeypatch, *[Game((5, -2, 0.5, 100))] * 20)
    monkeypatch.setattr(dqn.run.session, "time", SimpleNamespace(monotonic=lambda: 0))
    monkeypatch.setattr("dqn.report.progress.RATE_SECONDS", inf)  # no line depends on the speed

    def train(*more: str, folder: str = "run") -> tuple[int, list[str]]:
        capfd.readouterr()
        status = main([f"--game={game}", *OPTIONS, f"--checkpoints-dir={tmp_path / folder}", *more])
        said = capfd.readouterr().err.replace(str(tmp_path / folder / game / "dqn-seed1"), "RUN")
        assert not {"\r", "\x1b"} & set(said), "stderr is no terminal"
        return status, said.splitlines()

    return train


def failing(outcomes: Iterator[bool], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function on a disk that is full whenever the next outcome is False."""

    def attempt(*arguments: Any) -> Any:
        if not next(outcomes):
            raise FULL
        return function(*arguments)

    return attempt


def test_a_save_that_fails_is_tried_once_more(run, monkeypatch):
    """The second failure in a row ends the run, however many there were before."""
    outcomes = iter([False, True, False, True, False, False])
    monkeypatch.setattr(Checkpoints, "save", failing(outcomes, Checkpoints.save))
    failed = "step {} is not saved (No space left on device); {}; {}.".format
    over = "the same command continues from there"
    assert run(EACH_STEP) == (1, [
        START,
        failed(0, "there is no checkpoint yet", AGAIN),
        "step 2: saved as step_000000002 (0.0 s)",
        failed(4, "step_000000002 is the last checkpoint", AGAIN),
        "step 6: saved as step_000000006 (0.0 s)",
        failed(8, "step_000000006 is the last checkpoint", AGAIN),
        f"error: {failed(10, 'step_000000006 is the last checkpoint', over)}",
    ])  # fmt: skip


def test_without_any_checkpoint_nothing_is_promised(run, monkeypatch):
    monkeypatch.setattr(Checkpoints, "save", failing(iter([False, False]), Checkpoints.save))
    failed = "step {} is not saved (No space left on device); there is no checkpoint yet".format
    assert run(EACH_STEP)[1][1:] == [f"{failed(0)}; {AGAIN}.", f"error: {failed(2)}."]


def test_there_is_no_best_model_before_a_checkpoint(run, monkeypatch):
    """Of which nothing could continue: the same command then starts."""
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", failing(itertools.repeat(False), Checkpoints.save))
        status, said = run("--evaluate-period=8")
        assert status == 1 and said[-1].startswith("error: step 8 is not saved (No space")
    status, said = run("--evaluate-period=8")
    assert (status, said[0]) == (0, START)


def test_a_last_save_that_fails_is_tried_once_more(run, monkeypatch):
    """The first is the one before the first evaluation."""
    outcomes = iter([True, False, True])
    monkeypatch.setattr(Checkpoints, "save", failing(outcomes, Checkpoints.save))
    status, said = run()
    full, safe = "(No space left on device)", "step_000000032 is the last checkpoint"
    assert (status, said[2:4]) == (0, [
        f"step 32 is not saved {full}; {safe}; {AGAIN}.",
        "step 32: saved as step_000000032 (0.0 s)",
    ])  # fmt: skip


def test_a_best_model_that_is_not_written_is_written_later_as_it_was(run, monkeypatch):
    """Evaluated at step 16, and written with the checkpoint of step 18, an update later."""
    given: list[dict[str, torch.Tensor]] = []
    write = failing(iter([False, False, True, True]), dqn.run.session.write_model)

    def watched(folder: Path, weights: dict[str, torch.Tensor], *about: Any) -> None:
        given.append({name: value.clone() for name, value in weights.items()})
        write(folder, weights, *about)

    monkeypatch.setattr(dqn.run.session, "write_model", watched)
    status, said = run(EACH_STEP, "--evaluate-period=16")
    assert status == 0
    full = "(No space left on device)"
    assert said[10:13] == [
        f"The best model is not on disk yet {full}.",
        f"step 16 is not saved {full}; step_000000014 is the last checkpoint; {AGAIN}.",
        "step 18: saved as step_000000018 (0.0 s)",
    ]
    evaluated, _, written, last = (list(weights.values()) for weights in given)
    assert all(map(torch.equal, evaluated, written))
    assert not all(map(torch.equal, evaluated, last))


def harm_the_third_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward of its batch is infinite."""
    make_agent = factory.make_agent

    def made(*arguments: Any) -> Any:
        agent = make_agent(*arguments)
        update, number = agent.learner.update, itertools.count(1)

        def harmed(batch: Batch, steps: int) -> Any:
            factor = inf if next(number) == 3 else 1
            return update(batch._replace(reward=batch.reward * factor), steps)

        agent.learner.update = harmed
        return agent

    monkeypatch.setattr(factory, "make_agent", made)


NOT_FINITE = (
    "error: {}, led to numbers that are not finite; {}; a lower learning rate may help, or smaller "
    "rewards."
)


def test_an_update_that_is_not_finite_ends_the_run(run, tmp_path, monkeypatch):
    """Before anything of it is shown, evaluated or saved; the batch is kept."""
    harm_the_third_update(monkeypatch)
    kept, none = "its batch is in RUN/not_finite.safetensors", "there is no checkpoint yet"
    for more, step, safe, evaluated in (
        ("--keep=2", 16, none, []),  # a report
        ("--evaluate-period=4", 12, "step_000000004 is the last checkpoint", [4, 8]),
        (EACH_STEP, 10, "step_000000008 is the last checkpoint", []),
    ):
        status, (*_, last) = run(more, folder=more)
        where = f"update 3, before step {step}"
        assert (status, last) == (1, NOT_FINITE.format(where, f"{kept}; {safe}")), more
        folder = run_of(tmp_path / more)
        scores = lines(folder / "evaluations.jsonl") if evaluated else []
        assert [line["step"] for line in scores] == evaluated
        assert not (folder / "training.jsonl").exists()
        batch = safetensors.torch.load_file(folder / "not_finite.safetensors")
        assert set(batch) == set(Batch._fields) and not batch["reward"].isfinite().all()
    full = failing(iter([False]), dqn.run.session.write_batch)
    monkeypatch.setattr(dqn.run.session, "write_batch", full)
    lost = "its batch could not be written (No space left on device)"
    said = NOT_FINITE.format("update 3, before step 16", f"{lost}; {none}")
    assert run(folder="full") == (1, [START, said])


def test_weights_that_are_not_finite_end_the_run_whatever_harmed_them(run, monkeypatch):
    sync = dqn.run.session.Session.report

    def report(session: dqn.run.session.Session) -> None:
        next(iter(session.agent.model.state_dict().values())).fill_(nan)
        sync(session)

    monkeypatch.setattr(dqn.run.session.Session, "report", report)
    where = "an update up to 6, before step 16"
    unknown = "its batch is unknown; there is no checkpoint yet"
    assert run() == (1, [START, NOT_FINITE.format(where, unknown)])


def test_a_recorded_episode_is_told_of(run, tmp_path, monkeypatch):
    """Neither a picture nor a film that cannot be made ends the run."""
    drawn: list[tuple[Any, ...]] = []
    draw = failing(iter([True, False]), lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr(dqn.run.session, "draw_curves", draw)
    monkeypatch.setattr(Metrics, "film", failing(iter([False, True]), Metrics.film))
    for name in ("LINE_SECONDS", "SHOW_SECONDS"):
        monkeypatch.setattr(f"dqn.report.progress.{name}", 0)
    _, said = run("--render", "--evaluate-period=16", "--env.max-episode-steps=3")
    of_bars = re.compile(r"step \d+/32|Learning|evaluation: |step \d+: evaluation")
    game = [
        "recording eval_00{0}: 0 of 1 game, 1 step, return 5",
        "recording eval_00{0}: 0 of 1 game, 2 steps, return 3",
        "recording eval_00{0}: 0 of 1 game, 3 steps, return 3.5",
    ]
    assert [line for line in said if not of_bars.match(line)][1:-4] == [
        *(line.format(1) for line in game),
        "TensorBoard has no film of step 16: [Errno 28] No space left on device.",
        "step 16: eval_001 shows an episode of 3 steps with a return of 3.5",
        "Not all pictures of the run could be drawn: [Errno 28] No space left on device.",
        *(line.format(2) for line in game),
        "step 32: eval_002 shows an episode of 3 steps with a return of 3.5",
    ]
    folder = run_of(tmp_path / "run")
    title = f"{GYM}, dqn-seed1, gymnasium, at most 3 steps"
    assert drawn == [(folder, title, GYM)]
    board = EventAccumulator(str(folder)).Reload()
    assert [film.step for film in board.Images("evaluation/film")] == [32]


def test_a_recorded_episode_without_rewards_is_cut(run, monkeypatch):
    script_gym(monkeypatch)
    _, said = run("--render", "--evaluation.max-steps-without-reward=7")
    assert "over 1 episode, 1 of them stuck and cut off (gymnasium, stuck games cut" in said[1]
    assert said[2] == (
        "step 32: eval_001 shows an episode of 7 steps with a return of 0, cut off there: no "
        "reward for too long"
    )


def test_a_renderer_that_fails_ends_no_training(run, tmp_path, monkeypatch):
    """It can only fail later: a game that cannot be rendered at all is refused before."""
    painted = iter([True] * 3)  # as it is tried, twice, and the start of the game

    def render(env: ScriptedGym) -> Any:
        if next(painted, False):
            return np.zeros((8, 8, 3), np.uint8)
        raise RuntimeError("the display is gone")

    monkeypatch.setattr(ScriptedGym, "render", render)
    status, said = run("--render")
    assert status == 0
    assert f"Cannot record eval_001: {GYM} cannot be rendered: the display is gone." in said
    assert not [*run_of(tmp_path / "run").glob("*eval_001*")]


def test_a_game_that_cannot_be_rendered_is_refused_at_the_start(run, tmp_path, monkeypatch):
    monkeypatch.setattr(ScriptedGym, "render", lambda _: np.zeros((8, 8, 4), np.uint8))
    status, said = run("--render")
    assert (status, said) == (
        2, [f"error: {GYM} cannot be rendered: it shows no RGB picture"]
    )  # fmt: skip
    assert not (tmp_path / "run").exists()


CONTINUING = "Continuing RUN at step {} of {}, on cpu, threads: 1."
RESTORING = "Restoring the emulators by replaying their recorded actions."


def test_a_terminal_shows_how_many_steps_are_restored(run, terminal):
    """Of both environments."""
    run("--total-steps=16")
    screen = terminal(80)
    run()
    assert "| 0/16 [" in screen.getvalue()


def damage(checkpoint: Path) -> str:
    """Empty its model; returns what is said of it."""
    (checkpoint / "model.safetensors").write_bytes(b"")
    return f"{checkpoint.name}/model.safetensors does not match its digest"


def test_damaged_checkpoints_are_named_and_set_aside(run, tmp_path):
    for steps in (16, 20, 24):
        status, said = run("--keep=all", f"--total-steps={steps}")
    assert (status, said[:2]) == (0, [CONTINUING.format(20, 24), RESTORING])
    folder = run_of(tmp_path / "run")
    _, old, newest = checkpoints(folder)
    bad = [damage(newest), damage(old)]
    half_written = folder / ".step_000000028.part"
    half_written.mkdir()
    status, said = run("--keep=all")
    assert not half_written.exists()
    assert (status, said[:6]) == (0, [
        CONTINUING.format(16, 32),
        *(f"{reason}: continuing from the checkpoint before it." for reason in bad),
        RESTORING,
        "RUN/step_000000024 is kept as step_000000024.damaged.",
        "RUN/step_000000020 is kept as step_000000020.damaged.",
    ])  # fmt: skip
    bad = [damage(newest) for newest in reversed(checkpoints(folder))]
    whole = f"no checkpoint in RUN is whole ({'; '.join(bad)}); --fresh moves the run aside"
    assert run("--total-steps=50") == (2, [f"error: {whole} and starts anew"])
    for checkpoint in checkpoints(folder):
        shutil.rmtree(checkpoint)
    rewards = (folder / "rewards.txt").read_text()
    lost = "RUN has a best model and no checkpoint to continue from; --fresh moves it aside"
    assert run() == (2, [f"error: {lost} and starts anew"])
    assert (folder / "rewards.txt").read_text() == rewards != ""


def test_a_checkpoint_that_cannot_be_continued(run, monkeypatch):
    """An emulator of another version, say."""

    def refuse(*_: object) -> None:
        raise ValueError("another screen")

    run("--total-steps=16")
    monkeypatch.setattr(Checkpoints, "restore", refuse)
    monkeypatch.setattr("dqn.run.resume.versions", lambda: {"torch": "3.0"})
    why = f"(another screen); it was saved with {as_text(versions())}, this is torch 3.0"
    said = f"error: RUN/step_000000016 cannot be continued {why}; --fresh moves the run aside and"
    assert run() == (2, [CONTINUING.format(16, 32), f"{said} starts anew"])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RunStopped("actor 1 of 2 is gone"), "error: actor 1 of 2 is gone."),
        (MemoryError(), "error: the run failed; what was saved in RUN is still there."),
    ],
)
def test_what_fails_beside_a_checkpoint_is_no_fault_of_it(error, said, run, monkeypatch):
    """An actor that is lost again and again while it is restored; memory that runs out."""

    def fail(*_: object) -> None:
        raise error

    run("--total-steps=16")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "restore", fail)
        status, lines = run()
    assert (status, lines[:2]) == (1, [CONTINUING.format(16, 32), said])
    assert "--fresh" not in "".join(lines)
    assert run()[0] == 0


def test_a_disk_that_fails_before_the_first_step(run, monkeypatch):
    """Python names the file only where it was opened, not where it was written."""
    for error, what in (
        (OSError(5, "broken", "a"), "broken (a)"),
        (OSError(5, "broken"), "broken"),
    ):
        monkeypatch.setattr(dqn.run.session, "replace_file", Mock(side_effect=error))
        said = f"error: {what}; what was saved in RUN is still there."
        assert run(folder=what) == (1, [START, said])


@pytest.mark.parametrize("kind", [RunStopped, ConfigError])
def test_a_run_that_loses_its_actors_for_good_is_saved(kind, run, monkeypatch):
    """Lost again and again, or the new one's node has another version of the program; the disk is
    full just then."""
    turns = iter(range(3))

    def ready(_: Actor) -> bool:
        if next(turns, None) is None:
            raise kind("actor 1 of 2 is gone")
        return True

    with monkeypatch.context() as patch:
        patch.setattr(Actor, "ready", ready)
        outcomes = iter([False, True])
        patch.setattr(Checkpoints, "save", failing(outcomes, Checkpoints.save))
        status, lines = run()
    safe = "step_000000006 is the last checkpoint; the same command continues"
    assert (status, lines[-1]) == (1, f"error: actor 1 of 2 is gone; {safe}.")
    status, lines = run()
    assert (status, lines[0]) == (0, CONTINUING.format(6, 32))


def test_a_signal_stops_the_restoring_of_the_emulators_too(run, tmp_path, monkeypatch):
    """It may take two minutes. Nothing is lost, and nothing is written."""
    read = Checkpoints.read

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return read(*arguments)

    run("--total-steps=16")
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".log"]
    before = {path: path.read_bytes() for path in files}
    monkeypatch.setattr(Checkpoints, "read", interrupted)
    stopped = "Stopped before a new step; no checkpoint was changed."
    assert run() == (128 + signal.SIGTERM, [CONTINUING.format(16, 32), RESTORING, stopped])
    assert before == {path: path.read_bytes() for path in files}


def test_a_checkpoint_of_another_game_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setitem(gymnasium.registry, "Other-v0", EnvSpec("Other-v0", ScriptedGym))
    run("--total-steps=2")
    run("--total-steps=4", "--game=Other-v0", folder="other")
    folder = run_of(tmp_path / "run")
    shutil.copytree(run_of(tmp_path / "other") / "step_000000004", folder / "step_000000004")
    said = f"error: RUN/step_000000004 belongs to another game: game is Other-v0, not {GYM}"
    assert run() == (2, [said])


def test_a_signal_during_an_evaluation_ends_it_at_once(run, tmp_path, monkeypatch):
    """It is made when the run goes on."""
    evaluate = dqn.run.session.evaluate

    def interrupted(*arguments: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return evaluate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(dqn.run.session, "evaluate", interrupted)
        status, said = run("--evaluate-period=16")
    assert (status, said) == (128 + signal.SIGTERM, [
        START,
        "step 16: saved as step_000000016 (0.0 s)",
        "Stopped by SIGTERM; the same command continues.",
    ])  # fmt: skip
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _, said = run("--evaluate-period=16")
    assert [line.partition(":")[0] for line in said[2:4]] == ["step 16", "step 32"]
    assert [step for step, _ in scalars(run_of(tmp_path / "run"), "evaluation/mean")] == [16, 32]


def test_observations_that_are_no_pictures_are_not_shown_as_such(run, tmp_path, monkeypatch):
    for kind, shape in (("uint8", (2,)), ("float32", (2, 2))):
        space = gymnasium.spaces.Box(0, 200, shape, kind)
        monkeypatch.setattr(ScriptedGym, "observation_space", space)
        monkeypatch.setattr(ScriptedGym, "_screen", lambda _, space=space: space.low.copy())
        assert run(folder=kind)[0] == 0, kind
        assert EventAccumulator(str(run_of(tmp_path / kind))).Reload().Tags()["images"] == []


def test_text_of_a_run_that_left_no_checkpoint_is_not_kept(run, tmp_path):
    folder = tmp_path / "run" / GYM / "dqn-seed1"
    folder.mkdir(parents=True)
    (folder / "rewards.txt").write_text("  1        2 7.0\n")
    (folder / ".step_000000002.part").mkdir()
    run()
    assert not (folder / ".step_000000002.part").exists()
    assert (folder / "rewards.txt").read_text() == "  1       32 103.5\n"


def test_a_table_that_has_converged_ends_the_run_and_is_drawn(tmp_path, monkeypatch, capfd):
    """There is no q of held-out states to tell."""
    drawn: list[Path] = []
    monkeypatch.setattr("dqn.tabular.table.draw_table", lambda folder, *_: drawn.append(folder))
    options = [
        "--config=maze_policy_gradient",
        "--tabular.policy-change=2",
        f"--checkpoints-dir={tmp_path}",
    ]
    assert main(options) == 0
    first = capfd.readouterr().err
    assert re.search(r"^step 91: evaluation 1: mean .*, epsilon 0\), \d+ s$", first, re.MULTILINE)
    run = tmp_path / "Maze-v0" / "maze_policy_gradient-seed1"
    assert drawn == [run]
    assert main(options) == 0
    again = f"{run} is finished at step 91; its learner has converged."
    assert capfd.readouterr().err.startswith(f"{again}\nBest evaluation: mean ")


def test_a_checkpoint_of_other_versions_is_continued_with_a_warning(run, monkeypatch):
    run("--total-steps=16")
    ours = versions()
    monkeypatch.setattr("dqn.storage.provenance.versions", lambda: {"torch": "3.0"})
    _, said = run()
    assert said[1] == (
        f"This checkpoint was made with versions {as_text(ours)}, now torch 3.0: the run "
        "continues, but not bit for bit."
    )


def test_a_run_names_all_the_commits_that_made_it(run, tmp_path, monkeypatch):
    made = [("", 8), ("1st", 16), ("1st", 24), ("2nd-dirty", 32)]
    for commit, steps in made:
        monkeypatch.setattr("dqn.storage.provenance.commit", lambda commit=commit: commit)
        run(f"--total-steps={steps}")
    (folder,) = (tmp_path / "run").glob("*/*")
    assert "\n# commit: 1st, 2nd-dirty\n" in (folder / "config.yaml").read_text()
    assert read_manifest(checkpoints(folder)[-1]).provenance.commit == "1st, 2nd-dirty"


def test_a_finished_run_says_what_extends_it_and_how_to_watch_it(run):
    _, first = run("--total-steps=16", folder="my runs")
    watch = "Watch it: python main.py play 'RUN' --gif game.gif"
    end = ["Best evaluation: mean 103.5, at step 16.", watch]
    longer = "RUN is finished at step 16; a larger --total-steps extends it."
    assert first[-2:] == end
    assert run("--total-steps=16", folder="my runs") == (0, [longer, *end])


def test_a_run_too_short_to_learn_says_so(run):
    said = "Nothing will be learned: total_steps is not above learning_starts."
    for steps, too_short in ((2, True), (4, True), (6, False)):
        assert (said in run(f"--total-steps={steps}", folder=str(steps))[1]) == too_short, steps
