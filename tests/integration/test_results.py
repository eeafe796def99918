"""The tables of docs/results/ are what docs/results/make.py makes of the raw results."""

import importlib.util
import json
import shutil
import sys
from itertools import groupby

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.processes import ROOT
from support.runs import TINY, train

from dqn.evaluation.aggregate import aggregate
from dqn.evaluation.scores import human_normalised

RESULTS = ROOT / "docs" / "results"
STUDIES = sorted(path.name for path in (RESULTS / "data").iterdir())


def load(name):
    spec = importlib.util.spec_from_file_location(name, RESULTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make, collect = load("make"), load("collect")


@pytest.mark.parametrize("study", STUDIES)
def test_a_page_has_the_table_and_the_picture_of_its_data(study, tmp_path, monkeypatch):
    page = tmp_path / f"{study}.md"
    shutil.copy(RESULTS / page.name, page)
    text = page.read_text(encoding="utf-8")
    assert f"{study}.png" in text
    row = text.index("\n", text.index(make.BEGIN)) + 1
    page.write_text(text[:row] + text[row:].partition("\n")[2], encoding="utf-8")  # a row is gone
    drawn, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda *a, **k: (drawn.append(a[0]), save(*a, **k)))
    make.make(study, tmp_path)
    axis = "minutes" if study in make.OVER_MINUTES else "step"
    assert [panel.get_xlabel() for panel in drawn[0].axes] == [axis] * len(drawn[0].axes)
    assert page.read_text(encoding="utf-8") == text
    with (
        Image.open(tmp_path / f"{study}.png") as made,
        Image.open(RESULTS / f"{study}.png") as kept,
    ):
        assert made.text["Description"] == kept.text["Description"], "drawn from other data"


@pytest.mark.parametrize("study", STUDIES)
def test_a_result_names_what_it_depends_on(study):
    for run in make.read_study(RESULTS / "data" / study):
        for name in ("commit", "machine", "protocol", "precision", "config_sha256"):
            assert run[name], (run["group"], name)
        assert all(len(line["returns"]) > 1 for line in run["evaluations"])


def test_an_evaluation_made_again_is_one_of_a_run_in_the_table():
    files = [*(RESULTS / "data").glob("*/again/*.json")]
    assert files
    for file in files:
        trained = file.parents[1] / file.name.replace("_best-", "-")
        run, again = (json.loads(f.read_bytes()) for f in (trained, file))
        evaluations = run["evaluations"]
        model = evaluations[-1]
        assert model["step"] == run["total_steps"]
        if trained.name != file.name:
            model = max(evaluations, key=lambda line: np.mean(line["returns"]))
        assert again["commit"] and again["returns"] != model["returns"]
        assert (again["game"], again["step"]) == (run["game"], model["step"])


@pytest.mark.parametrize("study", STUDIES)
def test_runs_of_a_group_differ_only_in_their_seeds(study):
    runs = make.read_study(RESULTS / "data" / study)
    for _, found in groupby(runs, key=lambda run: (run["game"], run["group"])):
        group = list(found)
        assert len({run["config_sha256"] for run in group}) == 1
        assert len({run["seed"] for run in group}) == len(group)


def test_scores_beside_published_ones_and_over_games(tmp_path):
    """Two games, two groups; the last evaluation counts."""
    scores = {
        "Boxing": {"a": (10.0, 15.0, 20.0), "b": (0.0, 1.0, 2.0)},
        "Pong": {"a": (1.0, 2.0, 3.0), "b": (5.0, 9.0, 9.5)},
    }
    runs = [
        {
            "game": game,
            "group": group,
            "evaluations": [{"returns": [99]}, {"returns": [m - 1, m + 1]}],
        }
        for game, groups in scores.items()
        for group, means in groups.items()
        for m in means
    ]
    published = tmp_path / "published.csv"
    published.write_text('game,"theirs, 5 seeds"\nBoxing,7.5\nPong,\n')
    head, _, boxing, pong = make.beside_published(runs, published).split("\n")[:4]
    assert head == "| game | a | b | theirs, 5 seeds |"
    assert boxing.startswith("| Boxing | **15.0** (95 % interval 2.6 to 27.4, 3 seeds) | **1.0** (")
    assert boxing.endswith("| 7.5 |") and pong.endswith("| - |")
    head, _, iqm, _, gap = make.over_games(runs).split("\n")[:5]
    assert head == "| over Boxing, Pong | a | b |"
    games = [[human_normalised(game, m) for m in scores[game]["a"]] for game in ("Boxing", "Pong")]
    assert iqm.startswith(f"| IQM | {aggregate(games)['IQM']} | ")
    shortfall = np.mean([max(0, 1 - score) for game in games for score in game])
    assert gap.startswith(f"| optimality gap | {shortfall:.3f} [")
    assert make.over_games(runs[6:]) == "", "one game"
    assert make.over_games(runs[1:]) == "", "two runs of a game"
    assert make.over_games(runs[:2]) == "", "no game with three runs"


def test_a_table_has_the_columns_that_its_runs_need():
    short = [_run(n, "a", [n, n + 2]) for n in range(3)]
    head, _, first, _, _, every, _ = make.table(short).split("\n")
    assert head == "| game | runs | seed | mean ± standard error | at step | in minutes | commit |"
    assert first == "| Pong | a | 0 | 1.0 ± 1.0 | 8 | 2.0 | c |"
    assert every.startswith("| Pong | a | all | **2.0** (95 % interval -0.5 to 4.5, 3 seeds) |")
    cut, best = _run(3, "a", [1, 1], minutes=None, cut=2), _run(4, "b", [5, 5])
    best["evaluations"].insert(0, best["evaluations"][0] | {"returns": [9, 9]})
    head, _, cut, best, _ = make.table([cut, best]).split("\n")
    assert head.endswith("| in minutes | best | games cut | commit |")
    assert cut.endswith("| - | 1.0 | 2 | c |") and best.endswith("| 2.0 | 9.0 | 0 | c |")


def test_evaluations_beside_published_curves_at_equal_frames():
    """Million frames 1 and 2 are steps 250,000 and 500,000; 128 environments end at 500,096."""
    curve = make.Curve("theirs", "sticky", (1.5, 2.5, 3.5))
    early = _run(1, "a", [4, 6], step=300_000, minutes=9.94)
    late = _run(2, "a", [7, 8], step=500_096, minutes=9.96)
    unclocked = _run(1, "a", [0, 0], step=1_000, minutes=None)
    assert make.at_equal_frames([unclocked], [curve]).split("\n")[2] == "| 1,000 | 0 | 0.0 |  |"
    lines = make.at_equal_frames([early, late], [curve]).split("\n")
    assert lines[0] == "| step | million frames | a, seed 1 | a, seed 2 | theirs |"
    assert lines[2] == "| 300,000 | 1.2 | 5.0 (9.9 min) |  |  |"
    assert lines[3] == "| 500,096 | 2 |  | 7.5 (10 min) | 2.5 |"


def test_few_seeds_have_no_interval():
    assert make.over_seeds([1.0]) == "**1.0** (one seed)"
    assert make.over_seeds([1.0, 4.0]) == "**2.5** (1.0, 4.0)"


def test_a_legend_names_every_group_once_whatever_games_and_seeds_it_has(tmp_path, monkeypatch):
    legends = []
    monkeypatch.setattr(Figure, "legend", lambda _, handles, names, **__: legends.append(names))
    runs = [_run(2, group, [1, 2]) for group in "abcd"]
    make.draw([*runs, _run(1, "a", [1, 2]) | {"game": "Boxing"}], tmp_path / "picture.png")
    curve = make.Curve("theirs", "sticky", (1.5, 2.5, 3.5))
    make.draw([_run(2, "a", [1, 2], step=500_000)], tmp_path / "picture.png", [curve])
    assert legends == [["a", "b", "c", "d"], ["a", "theirs"]]


@pytest.mark.parametrize("axis, report, evaluation", [("step", 6, 8), ("minutes", 1.0, 2.0)])
def test_a_picture_over_steps_or_minutes(axis, report, evaluation, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure.axes[0]))
    run = _run(1, "a", [1, 3]) | {"training": [[4, 0.5, None], [6, 1.0, 1.5]]}
    make.draw([run], tmp_path / "picture.png", (), axis)
    (panel,) = drawn
    assert panel.get_xlabel() == axis
    training, evaluations = (line.get_xydata().tolist() for line in panel.lines)
    assert training == [[report, 1.5]]
    assert evaluations == [[evaluation, 2.0]]


def test_a_run_that_was_stopped_is_collected_only_if_asked(tmp_path, monkeypatch, capsys):
    run = train(tmp_path, [*TINY, "--game=CartPole-v1", "--device=cpu"])
    finished = (run / "config.yaml").read_text()
    monkeypatch.setattr(collect, "DATA", tmp_path / "data")
    monkeypatch.setattr("sys.argv", ["collect.py", "study", f"a_b-seed1={run}", "--commit=c"])
    collect.main()
    (file,) = tmp_path.glob("data/study/*.json")
    found = json.loads(file.read_bytes())
    assert file.name == "CartPole-v1_a_b-seed1.json"
    assert (found["total_steps"], found["commit"], found["seed"]) == (40, "c", 1)
    (run / "config.yaml").write_text(finished.replace("total_steps: 40", "total_steps: 90"))
    with pytest.raises(SystemExit):
        collect.main()
    assert "is not finished: its last evaluation was at step 40" in capsys.readouterr().err
    sys.argv.append("--stopped")
    collect.main()
    assert json.loads(file.read_bytes())["total_steps"] == 90
    (run / "evaluations.jsonl").unlink()
    with pytest.raises(SystemExit):
        collect.main()
    assert f"{run} has no evaluation yet" in capsys.readouterr().err


def test_a_gpu_is_part_of_the_machine(tmp_path):
    run = train(tmp_path, [*TINY, "--game=CartPole-v1", "--device=cpu"])
    on_cpu = collect.record(str(run), "c", "")
    text = (run / "config.yaml").read_text()
    gpu = {"cuda": "13.0", "cudnn": "91900", "driver": "580.1"}
    lines = "\n".join(f"# {name} {version}" for name, version in gpu.items())
    text = text.replace("# device: cpu", f"# device: NVIDIA H100\n{lines}")
    (run / "config.yaml").write_text(text)
    on_gpu = collect.record(str(run), "c", "")
    assert on_gpu["machine"] == f"NVIDIA H100; {on_cpu['machine']}" and on_cpu["machine"]
    assert on_gpu["versions"] == on_cpu["versions"] | gpu
    assert collect.record(str(run), "c", "elsewhere")["machine"] == "elsewhere"


def _run(seed, group, returns, **evaluation):
    """A run whose training has no mean return yet."""
    last = {"step": 8, "returns": returns, "minutes": 2.0} | evaluation
    known = {"game": "Pong", "commit": "c", "evaluations": [last], "training": [[8, 2.0, None]]}
    return known | {"seed": seed, "group": group}
