"""Comparing runs: the table by hand, real runs, the picture, what cannot be compared."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
from matplotlib.figure import Figure
from support.runs import CARTPOLE, NEVER, train

from dqn.commands.compare import draw
from dqn.config import Config
from dqn.report.run_record import RunRecord, read_run
from dqn.report.tensorboard import EventWriter, read_seconds
from main import main

EVALUATION, SPEED = "evaluation/mean", "speed/steps_per_second"


@pytest.fixture
def watch(monkeypatch):
    """A clock that a test sets."""
    clock = SimpleNamespace(now=1_000.0, time=lambda: clock.now)
    monkeypatch.setattr("dqn.report.tensorboard.time", clock)
    return clock


def make_run(folder, watch, means, pace=1, gamma=0.99, **more):
    """A run of Pong with evaluations ``{step: mean}`` every ``pace`` minutes."""
    folder.mkdir(parents=True)
    seed = folder.name.partition("-seed")[2]
    (folder / "config.yaml").write_text(f"game: Pong\nseed: {seed}\nreplay: {{gamma: {gamma}}}\n")
    events = EventWriter(folder, 0, {})
    with open(folder / "evaluations.jsonl", "w") as file:
        for step, mean in means.items():
            watch.now += 60 * pace
            events.scalar(EVALUATION, mean, step)
            line = {
                "game": "Pong", "step": step, "protocol": "classic", "epsilon": 0.05,
                "returns": [mean - 1, mean + 1], "mean": mean,
            }  # fmt: skip
            file.write(json.dumps(line | more) + "\n")
    return str(folder)


def cells(line):
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_seconds_over_two_sessions_by_hand(tmp_path, watch):
    first = EventWriter(tmp_path, 0, {})
    for step in (10, 20, 30):
        watch.now += 30
        first.scalar(EVALUATION, 1.0, step)
    first.scalar(SPEED, 5.0, 30)
    watch.now += 5_000  # killed; resumed at step 10
    second = EventWriter(tmp_path, 10, {})
    watch.now += 7
    second.scalar(EVALUATION, 1.0, 20)
    watch.now -= 1_000  # the clock is set back
    second.scalar(EVALUATION, 1.0, 30)
    watch.now += 60
    second.scalar(EVALUATION, 1.0, 40)
    assert read_seconds(tmp_path, [EVALUATION, SPEED]) == {
        EVALUATION: {10: 30, 20: 97, 30: 97, 40: 157},
        SPEED: {},  # lost and not repeated
    }
    newest = max(tmp_path.glob("events*"))
    newest.write_bytes(newest.read_bytes()[:-5])  # as a running run may leave it
    assert read_seconds(tmp_path, [EVALUATION]) == {EVALUATION: {10: 30, 20: 97, 30: 97}}


def test_the_table_by_hand(tmp_path, watch, capsys):
    """And published scores below it, with their protocols."""
    fast = make_run(tmp_path / "fast-seed1", watch, {100: 5, 200: 5, 300: 4})
    slow = make_run(tmp_path / "slow-seed1", watch, {100: -10, 250: 8}, pace=2)
    assert main(["compare", fast, slow]) == 0
    shown = capsys.readouterr()
    head, *rows = shown.out.splitlines()[2:5]
    assert cells(head) == [
        "run", "steps", "time", "last", "best", "at step", "by 250 steps", "in 3 min",
    ]  # fmt: skip
    assert cells(rows[0]) == [
        "fast-seed1", "300", "3 min", "4.0 ± 1.0", "5.0 ± 1.0", "200", "5.0 ± 1.0", "4.0 ± 1.0",
    ]  # fmt: skip
    assert cells(rows[1]) == [
        "slow-seed1", "250", "4 min", "8.0 ± 1.0", "8.0 ± 1.0", "250", "8.0 ± 1.0", "-10.0 ± 1.0",
    ]  # fmt: skip
    assert shown.err == ""
    assert "-20.7  random player\n        14.6  human\n" in shown.out
    assert "18.9  DQN (Mnih et al. 2015), 200 million frames, no sticky actions" in shown.out


def test_seeds_of_a_config_are_averaged(tmp_path, watch, capsys):
    runs = [
        make_run(tmp_path / f"laptop-seed{seed}", watch, {100: score, 200: 20}, gamma=0.98)
        for seed, score in ((1, 10), (2, 12), (3, 14))
    ]
    lone = make_run(tmp_path / "dqn-seed1", watch, {100: 1})
    file = Path(runs[2]) / "evaluations.jsonl"
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    assert main(["compare", *runs, lone]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "runs, " in line]
    # 12 and 4.3027 standard errors of 2 / sqrt(3) on either side
    assert line == "laptop, 3 runs, by 100 steps: 12.0 (95% interval 7.0 to 17.0)"


def test_a_run_of_two_names_counts_once(capsys):
    assert main(["compare", "pong-laptop", "checkpoints/pong-laptop"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("pong-laptop") == 1 and "2 runs" not in printed


def test_real_runs_of_two_seeds_and_their_picture(tmp_path, capsys):
    options = [*CARTPOLE, NEVER, "--total-steps=800", "--evaluate-period=400"]
    options.append("--report-period=100")
    runs = [str(train(tmp_path / str(seed), options, f"--seed={seed}")) for seed in (1, 2)]
    picture = tmp_path / "compared.png"
    assert main(["compare", *runs, f"--picture={picture}"]) == 0
    *rows, wrote = capsys.readouterr().out.splitlines()[2:]
    assert wrote == f"wrote {picture}"
    assert [cells(row)[:2] for row in rows[1:3]] == [["dqn-seed1", "800"], ["dqn-seed2", "800"]]
    assert "by 800 steps" not in rows[0], "the same as last"
    assert re.fullmatch(r"\d+ (s|min)", cells(rows[1])[2])
    pixels = cv2.imread(str(picture))
    assert pixels.shape == (352, 880, 3)
    assert (pixels == (180, 119, 31)).all(-1).sum() > 50, "curves of the first color"
    for run in map(read_run, runs):
        assert all(0 < line["minutes"] < 2 for line in run.training + run.evaluations)
        assert run.training[-1]["minutes"] <= run.evaluations[-1]["minutes"]


def test_without_tensorboard_files_there_are_no_minutes(tmp_path, watch, capsys):
    runs = [make_run(tmp_path / f"dqn-seed{seed}", watch, {100: 3, 200: 5}) for seed in (1, 2)]
    for file in Path(runs[1]).glob("events*"):
        file.unlink()
    assert main(["compare", *runs]) == 0
    head, _, second = capsys.readouterr().out.splitlines()[2:5]
    assert " in " not in head and cells(second)[2] == "-"
    draw([read_run(run) for run in runs], tmp_path / "steps.png", "Pong")
    assert cv2.imread(str(tmp_path / "steps.png")).shape == (352, 440, 3)


def test_a_damaged_event_file_costs_the_minutes_and_no_evaluation(tmp_path, watch):
    run = Path(make_run(tmp_path / "a-seed1", watch, {100: 3, 200: 5, 300: 4}))
    (file,) = run.glob("events*")
    whole = file.read_bytes()
    for kept in (0, len(whole) // 2):
        file.write_bytes(whole[:kept] + b"\xff" * (len(whole) - kept))
        record = read_run(str(run))
        assert [(line["step"], line["minutes"]) for line in record.evaluations] == [
            (100, None), (200, None), (300, None)
        ]  # fmt: skip
        assert not record.has_clock


def test_different_protocols_are_a_warning_and_a_column(tmp_path, watch, capsys):
    """Also a run's own, as after a game was cut off in one of the evaluations."""
    run = make_run(tmp_path / "a-seed1", watch, {100: 5, 200: 3})
    file = Path(run) / "evaluations.jsonl"
    file.write_text(file.read_text().replace('"classic"', '"classic, cut"', 1))
    other = make_run(tmp_path / "b-seed1", watch, {200: 3}, protocol="machado", epsilon=0)
    assert main(["compare", run, other]) == 0
    shown = capsys.readouterr()
    assert shown.err == "warning: not all of these scores are of one protocol\n"
    assert [cells(row)[-1] for row in shown.out.splitlines()[2:5]] == [
        "protocol", "classic, epsilon 0.05 and classic, cut, epsilon 0.05", "machado, epsilon 0"
    ]  # fmt: skip


def test_names_are_as_short_as_they_are_unique(tmp_path, watch, capsys):
    places = ["one/Pong/dqn-seed1", "two/Pong/dqn-seed1", "two/Pong/dqn-seed2"]
    runs = [make_run(tmp_path / place, watch, {100: 3}) for place in places]
    for compared, names in ((runs[1:], ["dqn-seed1", "dqn-seed2"]), (runs, places)):
        assert main(["compare", *compared]) == 0
        rows = capsys.readouterr().out.splitlines()[3 : 3 + len(compared)]
        assert [cells(row)[0] for row in rows] == names


def test_what_cannot_be_compared(tmp_path, watch, capsys):
    pong = make_run(tmp_path / "a-seed1", watch, {100: 3})
    breakout = make_run(tmp_path / "b-seed1", watch, {100: 3}, game="Breakout")
    young = make_run(tmp_path / "c-seed1", watch, {})
    broken = make_run(tmp_path / "d-seed1", watch, {100: 3})
    (Path(broken) / "evaluations.jsonl").write_text("{not json}\n")
    untyped = make_run(tmp_path / "f-seed1", watch, {100: 3}, mean=None)
    hidden = make_run(tmp_path / "g-seed1", watch, {100: 3})
    (tmp_path / "g-seed1/events.out.tfevents.0000000001.dqn").mkdir()
    (tmp_path / "folder.png").mkdir()
    (loop := tmp_path / "loop").symlink_to(loop)
    for arguments, sentence in {
        (pong, breakout): "only runs of one game can be compared, not Breakout and Pong",
        (young,): "none of the runs has an evaluation to compare",
        (pong, broken): f"{broken}/evaluations.jsonl is damaged: ",
        (pong, untyped): f"{untyped}/evaluations.jsonl is damaged: line 1 has missing or invalid",
        (pong, hidden): f"cannot read the files of {hidden}: Is a directory",
        (pong, f"{tmp_path}/e"): f"there is no folder {tmp_path}/e; ",
        (pong, str(loop)): f"there is no folder {loop}; ",
        (pong, "--picture=curve.jpg"): "--picture must be the name of a .png file, not curve.jpg",
        (pong, f"--picture={tmp_path}/folder.png"): f"cannot write {tmp_path}/folder.png: ",
    }.items():
        assert main(["compare", *arguments]) == 2
        shown = capsys.readouterr().err
        *_, last = shown.splitlines()
        assert last.startswith(f"error: {sentence}") and "Traceback" not in shown, shown
    assert not list(tmp_path.glob("*.part*"))


def test_only_runs_that_differ_in_the_seed_alone_are_averaged(tmp_path, watch, capsys):
    one = make_run(tmp_path / "dqn-seed1", watch, {100: 3, 200: 4})
    late = make_run(tmp_path / "dqn-seed3", watch, {300: 5})
    odd = make_run(tmp_path / "dqn-seed4", watch, {100: 5}, gamma=0.98)
    for run in (f"{one}/", late, odd):  # late: no evaluation by step 200
        assert main(["compare", one, run]) == 0
        assert "runs, by" not in capsys.readouterr().out


def test_a_run_without_evaluations_is_skipped(tmp_path, watch, capsys):
    run = make_run(tmp_path / "a-seed1", watch, {100: 3})
    young = make_run(tmp_path / "b-seed1", watch, {})
    assert main(["compare", young, run]) == 0
    shown = capsys.readouterr()
    assert shown.err == f"warning: {young} has no evaluations; skipping it\n"
    assert young not in shown.out


def test_what_a_running_run_has_not_written_yet_is_ignored(tmp_path, watch):
    """The minutes of an evaluation are written after its line; the last line may be incomplete."""
    run = make_run(tmp_path / "a-seed1", watch, {100: 3, 200: 4})
    file = Path(run) / "evaluations.jsonl"
    *_, last = file.read_text().splitlines()
    line = json.dumps(json.loads(last) | {"step": 300})
    file.write_text(f"{file.read_text()}{line}\n{line[:-9]}")
    minutes = {line["step"]: line["minutes"] for line in read_run(run).evaluations}
    assert minutes == {100: 1, 200: 2}


def test_configs_that_share_a_color_differ_in_their_dashes(tmp_path, watch, monkeypatch):
    drawn = []
    monkeypatch.setattr("dqn.commands.compare._draw_run", lambda *given: drawn.append(given[3]))
    runs = [make_run(tmp_path / f"r{i}-seed1", watch, {100: i}) for i in range(15)]
    for i, run in enumerate(runs):
        (Path(run) / "config.yaml").write_text(f"game: Pong\nreplay: {{n_step: {i + 1}}}\n")
    draw([read_run(run) for run in runs], tmp_path / "many.png", "Pong")
    styles = {tuple(style.values()) for style in drawn}
    assert len(styles) == 15 and len({color for color, _ in styles}) == 10


def test_each_panel_draws_over_its_own_axis(tmp_path, monkeypatch):
    """Reports and evaluations of a run, 30 minutes apart; reports as a running mean of ten."""
    figures, savefig = [], Figure.savefig

    def save(figure, *given, **named):
        figures.append(figure)
        savefig(figure, *given, **named)

    monkeypatch.setattr(Figure, "savefig", save)
    training = [{"step": 50 * n, "minutes": 30 * n, "mean_return": 6 * n} for n in (1, 2, 3)]
    evaluations = [{"step": 100 * n, "minutes": 60 * n, "mean": 20 * n} for n in (1, 2)]
    record = RunRecord("a-seed1", Path(), Config(game="Pong"), training, evaluations)
    draw([record], tmp_path / "a.png", "Pong")
    (figure,) = figures
    for panel, label, reports, evaluated in zip(
        figure.axes, ("step", "wall time in minutes"), ([50, 100, 150], [30, 60, 90]),
        ([100, 200], [60, 120]), strict=True,
    ):  # fmt: skip
        assert panel.get_xlabel() == label
        thin, thick, random = panel.lines
        assert (list(thin.get_xdata()), list(thin.get_ydata())) == (reports, [6, 9, 12])
        assert (list(thick.get_xdata()), list(thick.get_ydata())) == (evaluated, [20, 40])
        assert set(random.get_ydata()) == {-20.7}
