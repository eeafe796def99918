"""Runs beside each other: the table by hand, real runs, the picture, what cannot be compared."""

import json
from pathlib import Path

import cv2
import pytest
from test_resume import CARTPOLE, NEVER, train

import dqn.board
from dqn.board import Board, read_seconds
from dqn.compare import draw, tell
from main import main

EVALUATION = "evaluation/mean"


class Watch:
    """A clock that a test sets."""

    now = 1_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(dqn.board, "time", Watch())
    return dqn.board.time


def make_run(
    folder: Path, watch: Watch, means: dict[int, float], pace: float, **more: object
) -> str:
    """A run of Pong whose evaluations, at these steps, come every ``pace`` minutes."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("game: Pong\n")
    board = Board(folder, 0)
    with open(folder / "evaluations.jsonl", "w") as file:
        for step, mean in means.items():
            watch.now += 60 * pace
            board.scalar(EVALUATION, mean, step)
            line = {
                "game": "Pong", "step": step, "protocol": "classic", "epsilon": 0.05,
                "returns": [mean - 1, mean + 1], "mean": mean,
            }  # fmt: skip
            file.write(json.dumps(line | more) + "\n")
    return str(folder)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_seconds_over_two_sessions_by_hand(tmp_path: Path, watch: Watch) -> None:
    first = Board(tmp_path, 0)
    for step in (10, 20, 30):
        watch.now += 30
        first.scalar(EVALUATION, 1.0, step)
    first.scalar("speed/steps_per_second", 5.0, 30)
    watch.now += 5_000  # killed; a checkpoint of step 10 is what is left
    second = Board(tmp_path, 10)
    watch.now += 7
    second.scalar(EVALUATION, 1.0, 20)
    watch.now -= 1_000  # somebody puts the clock back
    second.scalar(EVALUATION, 1.0, 30)
    assert read_seconds(tmp_path, [EVALUATION]) == {EVALUATION: {10: 30, 20: 97, 30: 97}}


def test_a_file_that_is_being_written_counts_to_its_last_whole_record(
    tmp_path: Path, watch: Watch
) -> None:
    board = Board(tmp_path, 0)
    for step in (10, 20):
        watch.now += 30
        board.scalar(EVALUATION, 1.0, step)
    (file,) = tmp_path.glob("events*")
    file.write_bytes(file.read_bytes()[:-5])
    assert read_seconds(tmp_path, [EVALUATION]) == {EVALUATION: {10: 30}}


def test_the_table_by_hand(
    tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = make_run(tmp_path / "fast-seed1", watch, {100: -20, 200: 5, 300: 4}, pace=1)
    slow = make_run(tmp_path / "slow-seed1", watch, {100: -10, 250: 8}, pace=2)
    assert main(["compare", fast, slow]) == 0
    shown = capsys.readouterr()
    head, *rows = shown.out.splitlines()[2:5]
    assert cells(head) == [
        "run", "steps", "minutes", "last", "best", "of step", "at 250 steps", "after 3 minutes",
    ]  # fmt: skip
    assert cells(rows[0]) == [
        fast,
        "300",
        "3",
        *["4.0 ± 1.0", "5.0 ± 1.0", "200"],
        *["5.0 ± 1.0", "4.0 ± 1.0"],
    ]
    assert cells(rows[1]) == [
        slow,
        "250",
        "4",
        *["8.0 ± 1.0", "8.0 ± 1.0", "250"],
        *["8.0 ± 1.0", "-10.0 ± 1.0"],
    ]
    assert shown.err == ""


def test_seeds_of_a_config_together(
    tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        make_run(tmp_path / f"laptop-seed{seed}", watch, {100: score, 200: 20}, pace=1)
        for seed, score in ((1, 10), (2, 12), (3, 14))
    ]
    lone = make_run(tmp_path / "dqn-seed1", watch, {100: 1}, pace=1)
    (Path(runs[2]) / "evaluations.jsonl").write_text(
        (Path(runs[2]) / "evaluations.jsonl").read_text().splitlines(keepends=True)[0]
    )
    assert main(["compare", *runs, lone]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "seeds, " in line]
    # 12 and 4.3027 standard errors of 2 / sqrt(3) on either side
    assert line == f"{tmp_path}/laptop, 3 seeds, at 100 steps: 12.0 (95% interval 7.0 to 17.0)"


def test_published_scores_stand_below_with_their_protocols(
    tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", make_run(tmp_path / "dqn-seed1", watch, {100: 3}, pace=1)]) == 0
    shown = capsys.readouterr().out
    assert "at 100 steps" not in shown  # one run alone
    assert "-20.7  random player\n" in shown
    assert "18.9  DQN (Mnih et al. 2015), 200 million frames, no sticky actions" in shown


def test_real_runs_of_two_seeds_and_their_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        *CARTPOLE,
        NEVER,
        "--total-steps=800",
        "--evaluate-period=400",
        "--report-period=100",
    ]
    runs = [str(train(tmp_path / str(seed), options, f"--seed={seed}")) for seed in (1, 2)]
    picture = tmp_path / "compared.png"
    assert main(["compare", *runs, f"--picture={picture}"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:5]
    assert [cells(row)[:3] for row in rows[1:]] == [[run, "800", "0"] for run in runs]
    assert "at 800 steps" in rows[0] and "after 0 minutes" in rows[0]
    assert cv2.imread(str(picture)).shape == (320, 880, 3)
    for run in map(tell, runs):
        moments = [line["minutes"] for line in run.training + run.evaluations]
        assert all(0 < moment < 2 for moment in moments)
        assert run.training[-1]["minutes"] <= run.evaluations[-1]["minutes"]


def test_without_the_clock_there_is_no_time(
    tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        make_run(tmp_path / f"dqn-seed{seed}", watch, {100: 3, 200: 5}, pace=1) for seed in (1, 2)
    ]
    for file in Path(runs[1]).glob("events*"):
        file.unlink()
    assert main(["compare", *runs]) == 0
    head, _, second = capsys.readouterr().out.splitlines()[2:5]
    assert "after" not in head and cells(second)[2] == "-"
    draw([tell(run) for run in runs], tmp_path / "steps.png", "Pong")
    assert cv2.imread(str(tmp_path / "steps.png")).shape == (320, 440, 3)


def test_other_protocols_are_warned_of(
    tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make_run(tmp_path / "a-seed1", watch, {100: 3}, pace=1)
    other = make_run(tmp_path / "b-seed1", watch, {100: 3}, pace=1, protocol="machado", epsilon=0)
    assert main(["compare", one, other]) == 0
    warning = capsys.readouterr().err
    assert warning.startswith("warning: these scores were not come by in the same way (")
    assert f"{one}: protocol classic, epsilon 0.05; {other}: protocol machado, epsilon 0" in warning


def test_what_cannot_be_compared(
    tmp_path: Path, watch: Watch, capsys: pytest.CaptureFixture[str]
) -> None:
    pong = make_run(tmp_path / "a-seed1", watch, {100: 3}, pace=1)
    breakout = make_run(tmp_path / "b-seed1", watch, {100: 3}, pace=1, game="Breakout")
    young = make_run(tmp_path / "c-seed1", watch, {}, pace=1)
    broken = make_run(tmp_path / "d-seed1", watch, {100: 3}, pace=1)
    (Path(broken) / "evaluations.jsonl").write_text("{not json}\n")
    (tmp_path / "folder.png").mkdir()
    for arguments, sentence in {
        (pong, breakout): "runs of one game compare, and these are of Breakout and Pong",
        (pong, young): f"{young} has no evaluations yet that could be compared",
        (pong, broken): f"{broken} has a damaged .jsonl file",
        (pong, f"{tmp_path}/e"): f"{tmp_path}/e is no run's folder: it has no config.yaml",
        (pong, "--picture=curve.jpg"): "--picture must be the name of a .png file, not curve.jpg",
        (pong, f"--picture={tmp_path}/folder.png"): f"cannot write {tmp_path}/folder.png: ",
        (): "no RUN given; try main.py compare checkpoints/Breakout/dqn-seed1",
    }.items():
        assert main(["compare", *arguments]) == 2
        shown = capsys.readouterr().err
        assert shown.startswith(f"error: {sentence}") and shown.count("\n") == 1, shown
    assert not list(tmp_path.glob("*.part*"))


def test_half_a_line_is_left_for_later(tmp_path: Path, watch: Watch) -> None:
    run = make_run(tmp_path / "a-seed1", watch, {100: 3, 200: 5}, pace=1)
    file = Path(run) / "evaluations.jsonl"
    file.write_text(file.read_text()[:-10])
    assert [line["step"] for line in tell(run).evaluations] == [100]
