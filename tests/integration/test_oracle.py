"""A run whose games are written in advance: every number it reports, predicted by hand.

Two emulators train for 32 steps, three play each evaluation, five show the held-out states. The
network answers (.5, 2, 1) everywhere and hardly learns, so the greedy action is always 1. ::

    step          0  2  4  6  8 10 12 14 16 18 20 ... 32
    emulator 0    .  5  0 -2 .5  .  1  . 10  .  0          a life lost at 4, over at 8 and 16
    emulator 1    .  0  0  7  0  0  0 -1  .  3  .          lives lost at 8, over at 14

The games with 1 and 3 are cut by a time limit, at 12 and 18.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.replays import draw
from support.runs import assert_same, lines, scalars, train
from support.scripted import Game, ScriptedAtari, script_atari, script_gym
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dqn.learning import factory
from dqn.run.session import Session
from dqn.storage.checkpoint import Checkpoints
from dqn.storage.manifest import read_manifest
from dqn.storage.tensors import MODEL_FILE, read_tensors
from dqn.types import Batch
from main import main

TRAINING = [
    [Game((5, 0, -2, 0.5), lives=(3, 2, 2, 0)), Game((1,), timeout=True), Game((10,))],
    [Game((0, 0, 7, 0, 0, 0, -1), lives=(3, 3, 3, 1, 1, 1, 0)), Game((3,), timeout=True)],
]
EVALUATIONS = [
    # Scores 10, -3 and 2.5: lost lives end nothing, and a second game does not count.
    [
        [Game((4, 3, 3), lives=(2, 1, 0))],
        [Game((-3,)), Game((50, 50))],
        [Game((0.5,) * 5, (), True)],
    ],
    # 3, 3 and 3: the better median
    [[Game((1, 1, 1))], [Game((3,))], [Game((0, 3))]],
    # 9.5, 0 and 0: the mean of the first again
    [[Game((9.5,))], [Game((0,))], [Game((0, 0))]],
    # 2, 4 and 6, for the command, and again
    *[[[Game((2,))], [Game((0, 4))], [Game((1, 2, 3))]]] * 2,
]
OPTIONS = [
    "--game=Pong", "--total-steps=32", "--num-envs=2", "--learning-starts=4", "--device=cpu",
    "--report-period=8", "--evaluate-period=12", "--env.frame-size=12", "--replay.capacity=100",
    "--network.mlp-units=[4]", "--optimizer.learning-rate=1e-6", "--learner.batch-size=4",
    "--learner.update-period=2", "--exploration.epsilon-decay-steps=20", "--threads=1",
    "--evaluation.episodes=3", "--evaluation.epsilon=0", "--evaluation.held-out-states=5",
    "--checkpoint-minutes=1e6",
]  # fmt: skip


def known_network(patch: pytest.MonkeyPatch) -> None:
    """Networks answer (.5, 2, 1)."""
    make = factory.make_q_network

    def made(*arguments: Any) -> Any:
        network, values = make(*arguments)
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
        *_, bias = network.parameters()
        bias.data = torch.tensor([0.5, 2.0, 1.0])
        return network, values

    patch.setattr(factory, "make_q_network", made)


def watched(patch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Keeps the agent, of each update the mean TD error, of each evaluation the online weights and
    the step of the best."""
    seen = SimpleNamespace(agent=None, errors=[], online={}, best=[])
    make_agent, evaluate, write = factory.make_agent, Session.evaluate, Checkpoints.save

    def keep_agent(*arguments: Any) -> Any:
        seen.agent = make_agent(*arguments)
        update = seen.agent.learner.update

        def keep_error(batch: Batch, steps: int) -> torch.Tensor:
            priority: torch.Tensor = update(batch, steps)
            seen.errors += priority.view(steps, -1).mean(1).tolist()
            return priority

        seen.agent.learner.update = keep_error
        return seen.agent

    def keep_weights(session: Session) -> None:
        online = seen.agent.learner.online.state_dict()
        seen.online[session.step] = {name: value.clone() for name, value in online.items()}
        evaluate(session)
        seen.best.append(read_manifest(session._folder / "best").step)

    def save(*arguments: Any) -> Path:
        ScriptedAtari.seconds += 50
        return write(*arguments)

    patch.setattr(Checkpoints, "save", save)
    for module in ("run.session", "report.metrics", "report.progress"):
        patch.setattr(
            f"dqn.{module}.time", SimpleNamespace(monotonic=lambda: ScriptedAtari.seconds)
        )
    patch.setattr(factory, "make_agent", keep_agent)
    patch.setattr(Session, "evaluate", keep_weights)
    return seen


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The run, what was seen of it, and the emulators it made."""
    with pytest.MonkeyPatch.context() as patch:
        two_games = [[Game((1,))], [Game((2,))]]
        emulators = script_atari(patch, {2: [TRAINING, two_games], 3: EVALUATIONS})
        known_network(patch)
        seen = watched(patch)
        patch.setattr("dqn.report.progress.LINE_SECONDS", 0)  # a line for each refresh
        run = train(tmp_path_factory.mktemp("oracle"), OPTIONS)
        yield SimpleNamespace(run=run, seen=seen, made=emulators.made, replay=seen.agent.replay)


def rows(played: SimpleNamespace, name: str) -> list[list[float]]:
    """What the replay memory holds, one list for each emulator."""
    held: torch.Tensor = played.replay.rows(0, played.replay.time)[name]
    return held.T.tolist()


def test_training_learns_from_clipped_rewards(played):
    """Cut at -1 and 1, so .5 stays what it is."""
    assert rows(played, "reward") == [
        [0, 1, 0, -1, 0.5, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0, 0, 0],
    ]


def test_training_takes_a_lost_life_for_terminal_and_a_timeout_not(played):
    assert rows(played, "terminal") == [
        [0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert rows(played, "last") == [
        [0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0],
    ]
    assert rows(played, "first") == [
        [1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0],
    ]


def test_a_timeout_is_bootstrapped_and_a_lost_life_is_not(played):
    """From emulator 0's screens to the 5, the lost life, the end, the time-out, the end."""
    batch = draw(played.replay, [2 * row for row in (0, 1, 3, 5, 7)])
    assert batch.reward.tolist() == [1, 0, 0.5, 1, 1]
    assert batch.discount.tolist() == pytest.approx([0.99, 0, 0, 0.99, 0])
    assert batch.state[:, :, 0, 0].tolist() == [
        [0, 0, 0, 1], [0, 0, 1, 2], [1, 2, 3, 4], [0, 0, 0, 6], [0, 0, 0, 8]
    ]  # fmt: skip
    assert batch.next_state[:, -1, 0, 0].tolist() == [2, 3, 5, 7, 9]


def test_every_screen_is_stored_with_the_action_taken_on_it(played):
    screens = played.replay.rows(0, 16)["frame"][:, :, 0, 0].T.tolist()
    assert screens == [list(range(1, 17)), list(range(101, 117))]
    training, *_ = emulators(played, 2)
    assert rows(played, "action") == torch.tensor(training.actions).T.tolist()


def emulators(played: SimpleNamespace, count: int) -> list[ScriptedAtari]:
    """Those that were made ``count`` at once."""
    return [made for made in played.made if made.num_envs == count]


def test_reports_are_of_the_whole_games_since_the_last_one_and_raw(played):
    reports = lines(played.run / "training.jsonl")
    assert [
        (line["step"], line["epsilon"], line["episodes"], line["mean_return"]) for line in reports
    ] == [
        (8, pytest.approx(0.82), 1, 3.5),
        (16, pytest.approx(0.46), 3, (1 + 6 + 10) / 3),
        (24, pytest.approx(0.1), 1, 3),
        (32, pytest.approx(0.1), 0, None),
    ]


def test_reports_are_of_the_updates_since_the_last_one(played):
    """One for every two steps after the fourth."""
    told = [line["td_error"] for line in lines(played.run / "training.jsonl")]
    errors = played.seen.errors
    updates = errors[:2], errors[2:6], errors[6:10], errors[10:]
    assert len(errors) == 14
    assert told == [pytest.approx(sum(part) / len(part), rel=1e-5) for part in updates]


def test_the_record_of_each_evaluation(played):
    def line(step: int, returns: list[float], lengths: list[int], median: float) -> dict[str, Any]:
        mean = pytest.approx(sum(returns) / 3)
        normalised = pytest.approx((sum(returns) / 3 + 20.7) / (14.6 + 20.7))  # Pong's
        return {
            "game": "Pong", "step": step, "protocol": "classic, 12x12 pictures",
            "epsilon": 0, "returns": returns, "lengths": lengths, "mean": mean, "median": median,
            "human_normalised": normalised, "held_out_q": pytest.approx(2, abs=1e-4),
        }  # fmt: skip

    assert lines(played.run / "evaluations.jsonl") == [
        line(12, [10, -3, 2.5], [3, 1, 5], 2.5),
        line(24, [3, 3, 3], [3, 1, 2], 3),
        line(32, [9.5, 0, 0], [1, 1, 2], 0),
    ]
    assert (played.run / "rewards.txt").read_text() == (
        "  1       12 3.2\n"
        "  2       24 3.0\n"
        "  3       32 3.2\n"
    )  # fmt: skip


def test_points_in_tensorboard(played):
    points = {
        "episode/return": [(7, 3.5), (11, 1), (14, 6), (15, 10), (18, 3)],
        "episode/steps": [(7, 4), (11, 1), (14, 7), (15, 1), (18, 1)],
        "evaluation/mean": [(12, 9.5 / 3), (24, 3), (32, 9.5 / 3)],
        "evaluation/median": [(12, 2.5), (24, 3), (32, 0)],
        "evaluation/return_max": [(12, 10), (24, 3), (32, 9.5)],
        "evaluation/return_min": [(12, -3), (24, 3), (32, 0)],
        "evaluation/score_human_normalised": [(12, 0.67611), (24, 0.67139), (32, 0.67611)],
        "exploration/epsilon": [(8, 0.82), (16, 0.46), (24, 0.1), (32, 0.1)],
        "learner/held_out_q": [(12, 2), (24, 2), (32, 2)],
        # Two emulators take two seconds for two steps; evaluations and checkpoints do not count.
        "speed/steps_per_second": [(8, 1), (16, 1), (24, 1), (32, 1)],
        "speed/frames_per_second": [(8, 4), (16, 4), (24, 4), (32, 4)],
        "speed/updates_per_second": [(8, 2 / 8), (16, 4 / 8), (24, 4 / 8), (32, 4 / 8)],
        # Three emulators play 5, 3 and 2 steps; five played 4 for the held-out states.
        "evaluation/seconds": [(12, 15 + 20), (24, 9), (32, 6)],
        "learner/learning_rate": [(8, 1e-6), (16, 1e-6), (24, 1e-6), (32, 1e-6)],
        "replay/fill": [(8, 4 / 50), (16, 8 / 50), (24, 12 / 50), (32, 16 / 50)],
    }
    for tag, expected in points.items():
        assert scalars(played.run, tag) == [
            (step, pytest.approx(value, rel=1e-4)) for step, value in expected
        ], tag
    board = EventAccumulator(str(played.run)).Reload()
    (config,) = board.Tensors("run/config/text_summary")
    file = (played.run / "config.yaml").read_text()
    shown = config.tensor_proto.string_val[0].decode().removeprefix("```yaml\n")
    assert shown.startswith("game: Pong\n") and file.endswith(shown.removesuffix("\n```"))
    (*_, image) = board.Images("input/stack")
    pixels = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), 0)
    frame = np.pad(np.ones((12, 12)), ((0, 0), (0, 2)))  # and a white line beside it
    expected = [screen * frame + 255 * (1 - frame) for screen in (14, 15, 16, 17)]
    assert image.step == 32 and pixels.tolist() == np.hstack(expected).tolist()


def test_the_log_line_by_line(played):
    """With a line for each refresh of the bar: the mean of all finished games, a speed that no
    pause changes, the time left once the speed of learning is known, the loss last reported."""
    log = (played.run / "train.log").read_text().replace(str(played.run), "RUN")
    losses = [f"loss {line['loss']:.4f}" for line in lines(played.run / "training.jsonl")]
    over = "over 3 episodes (classic, 12x12 pictures, epsilon 0), mean max Q 2.000"
    end = f"32/32: return 4.7, 1 steps/s, 0 s left, {losses[2]}, epsilon 0.100"
    assert [line[20:] for line in log.splitlines()] == [
        "Starting RUN at step 0 of 32, on cpu, threads: 1.",
        "step 2/32: 1 steps/s, epsilon 1.000",
        "step 6/32: 1 steps/s, epsilon 0.910",
        "step 8/32: return 3.5, 1 steps/s, epsilon 0.820",
        "Learning began at step 4: 1 steps/s, 1 before; 22 s left.",
        f"step 10/32: return 3.5, 1 steps/s, 22 s left, {losses[0]}, epsilon 0.730",
        f"step 12/32: return 2.2, 1 steps/s, 20 s left, {losses[0]}, epsilon 0.640",
        "evaluation: 1 of 3 games, 3 steps, best return -3",
        "evaluation: 1 of 3 games, 5 steps, best return -3",
        "evaluation: 2 of 3 games, 7 steps, best return 10",
        "evaluation: 2 of 3 games, 8 steps, best return 10",
        "evaluation: 3 of 3 games, 9 steps, best return 10",
        f"step 12: evaluation 1: mean 3.2, median 2.5, min -3.0, max 10.0 {over}, 35 s",
        f"step 14/32: return 3.5, 1 steps/s, 18 s left, {losses[0]}, epsilon 0.550",
        f"step 16/32: return 5.1, 1 steps/s, 16 s left, {losses[0]}, epsilon 0.460",
        f"step 18/32: return 4.7, 1 steps/s, 14 s left, {losses[1]}, epsilon 0.370",
        f"step 20/32: return 4.7, 1 steps/s, 12 s left, {losses[1]}, epsilon 0.280",
        f"step 22/32: return 4.7, 1 steps/s, 10 s left, {losses[1]}, epsilon 0.190",
        f"step 24/32: return 4.7, 1 steps/s, 8 s left, {losses[1]}, epsilon 0.100",
        "evaluation: 1 of 3 games, 3 steps, best return 3",
        "evaluation: 2 of 3 games, 5 steps, best return 3",
        "evaluation: 3 of 3 games, 6 steps, best return 3",
        f"step 24: evaluation 2: mean 3.0, median 3.0, min 3.0, max 3.0 {over}, 9 s",
        *(
            f"step {step}/32: return 4.7, 1 steps/s, {32 - step} s left, {losses[2]}, epsilon 0.100"
            for step in (26, 28, 30, 32)
        ),
        "evaluation: 2 of 3 games, 3 steps, best return 9.5",
        "evaluation: 3 of 3 games, 4 steps, best return 9.5",
        f"step 32: evaluation 3: mean 3.2, median 0.0, min 0.0, max 9.5 {over}, 6 s",
        "step 32: saved as step_000000032 (50.0 s)",
        f"step {end}",
        "Done: 32 steps.",
        "Best evaluation: mean 3.2, at step 32.",
        "Watch it: python main.py play RUN --gif game.gif",
    ]


def test_an_evaluation_plays_by_its_own_epsilon(played):
    """Greedily while training still explores; where the game is over nothing is chosen."""
    first, *_ = emulators(played, 3)
    assert first.actions == [[1, 1, 1], [1, 0, 1], [1, 0, 1], [0, 0, 1], [0, 0, 1]]
    training, *_ = emulators(played, 2)
    assert {action for pair in training.actions for action in pair} == {0, 1, 2}


def test_the_best_network_has_the_greatest_mean_and_is_the_latest_of_equals(played):
    assert played.seen.best == [12, 12, 32]


def test_the_best_network_is_the_online_one_that_was_evaluated(played):
    best = played.run / "best"
    kept = read_tensors(best, read_manifest(best), MODEL_FILE)
    online, target = played.seen.online[32], played.seen.agent.learner.target.state_dict()
    assert all(torch.equal(kept[name], online[name]) for name in online)
    for other in (target, played.seen.online[12], played.seen.online[24]):
        assert not all(torch.equal(kept[name], other[name]) for name in online)
    assert read_manifest(best).evaluation["returns"] == [9.5, 0, 0]


def test_the_command_plays_and_prints(played, tmp_path, capsys):
    """Games of its own, even with the seed of the run, and others with another seed; no two of a
    run's have the same."""
    evaluate, file = ["evaluate", str(played.run), "--checkpoint=best"], tmp_path / "scores.json"
    for seed in (1, 2):
        assert main([*evaluate, f"--seed={seed}", f"--json={file}"]) == 0
        # 2, 4 and 6: deviation 2, error 2 / sqrt(3), Student's t of 4.3027
        assert capsys.readouterr().out == (
            f"Pong, {played.run}, best, step 32: mean 4.0 (95% interval -1.0 to 9.0), median 4.0, "
            "min 2.0, max 6.0 over 3 episodes; protocol classic, 12x12 pictures, epsilon 0, "
            f"seed {seed}\nhuman-normalised 70.0% (0: random, 100: human)\nwrote {file}\n"
        )
        written = json.loads(file.read_text())
        assert written["returns"] == [2, 4, 6] and written["lengths"] == [1, 2, 3]
    training, (held_out,) = emulators(played, 2)[0], emulators(played, 5)
    seeds = [seed for made in (training, held_out, *emulators(played, 3)) for seed in made.seeds]
    assert len(set(seeds)) == len(seeds) == 2 + 5 + 3 * 3 + 2 * 3
    assert main([*evaluate, "--episodes=2"]) == 0
    assert "mean 1.5 (95% interval -4.9 to 7.9)" in capsys.readouterr().out  # .5 by a t of 12.706


def test_a_run_is_saved_and_seeded_as_in_the_first_release(played):
    """Or older checkpoints are of no use. Both emulators play a game without an end, one since
    step 18, the other since 20."""
    training, *_ = emulators(played, 2)
    assert training.seeds == [1123540691, 735720172]
    folder = played.run / "step_000000032"
    manifest = read_manifest(folder)
    assert set(manifest.state) == {
        "environment", "replay", "learner", "actor", "metrics", "session"
    }  # fmt: skip
    assert manifest.state["session"] == {"evaluated": 32}
    assert manifest.state["metrics"] == {
        "returns": {"array": "numpy"}, "lengths": {"array": "numpy"}, "since_report": [],
        "recent": [3.5, 1, 6, 10, 3], "evaluations": 3, "best": pytest.approx(9.5 / 3),
    }  # fmt: skip
    arrays = read_tensors(folder, manifest, "state.safetensors")
    assert arrays["metrics/returns"].tolist() == [0, 0]
    assert arrays["metrics/lengths"].tolist() == [7, 6]
    assert arrays["metrics/lengths"].dtype == torch.int64


def test_a_continued_run_keeps_the_same_best(tmp_path, monkeypatch):
    """The mean to beat, or to equal, is part of the checkpoint; speeds are of each part alone."""
    runs, steps = [], []
    watched(monkeypatch)
    for name, ends in (("whole", [32]), ("in_parts", [12, 24, 32])):
        script_atari(monkeypatch, {2: [TRAINING] * 3, 3: EVALUATIONS})
        for end in ends:
            run = train(tmp_path / name, OPTIONS, f"--total-steps={end}")
            steps.append(read_manifest(run / "best").step)
        runs.append(run)
    assert_same(*runs)
    assert steps == [32, 12, 12, 32]
    for tag in ("speed/steps_per_second", "speed/updates_per_second"):
        assert scalars(runs[0], tag) == scalars(runs[1], tag) != []
    texts = EventAccumulator(str(runs[1])).Reload().Tensors("run/config/text_summary")
    assert [text.step for text in texts] == [0, 12, 24]


def test_a_new_run_is_centered_on_its_held_out_states(tmp_path, monkeypatch):
    """Those of five emulators after four steps; the screens of emulator i are 100 i + 2 .. 5."""
    script_atari(monkeypatch, {3: EVALUATIONS})
    for steps in (4, 8):
        run = train(tmp_path, OPTIONS, "--network.center=true", f"--total-steps={steps}")
        folder = run / f"step_{steps:09d}"
        center = read_tensors(folder, read_manifest(folder), MODEL_FILE)["center"]
        shown = [[(100 * i + k) % 256 for k in (2, 3, 4, 5)] for i in range(5)]
        assert center[:, 0, 0].tolist() == pytest.approx((np.mean(shown, 0) / 255).tolist())
        assert (center == center[:, :1, :1]).all()


def test_outside_atari_rewards_are_raw_everywhere(tmp_path, monkeypatch):
    """A time limit of three steps cuts each game of four; the lives it tells of do not count."""
    game = script_gym(monkeypatch, *[Game((5, -2, 0.5, 100), lives=(3, 2, 1, 0))] * 20)
    seen = watched(monkeypatch)
    options = [option for option in OPTIONS if not option.startswith("--env.")]
    run = train(tmp_path, [*options, f"--game={game}", "--env.max-episode-steps=3"])
    held = seen.agent.replay.rows(0, 8)
    for name, expected in {
        "reward": [0, 5, -2, 0.5, 0, 5, -2, 0.5],
        "first": [1, 0, 0, 0, 1, 0, 0, 0],
        "last": [0, 0, 0, 1, 0, 0, 0, 1],
        "terminal": [0] * 8,
    }.items():
        assert held[name].T.tolist() == [expected, expected], name
    for line in lines(run / "evaluations.jsonl"):
        assert (line["returns"], line["lengths"]) == ([3.5] * 3, [3] * 3)
        assert line["protocol"] == "gymnasium, at most 3 steps" and line["human_normalised"] is None
    reports = lines(run / "training.jsonl")
    assert [(line["episodes"], line["mean_return"]) for line in reports] == [(2, 3.5)] * 4
    frames, steps = (scalars(run, f"speed/{what}_per_second") for what in ("frames", "steps"))
    assert frames == steps
