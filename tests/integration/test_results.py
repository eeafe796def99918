"""The tables of docs/results/ are what docs/results/make.py makes of the raw results."""

import importlib.util
import shutil

import numpy as np
import pytest
from PIL import Image
from support.processes import ROOT

from dqn.evaluation.aggregate import aggregate
from dqn.evaluation.scores import human_normalised

RESULTS = ROOT / "docs" / "results"
STUDIES = sorted(path.name for path in (RESULTS / "data").iterdir())

spec = importlib.util.spec_from_file_location("make", RESULTS / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


@pytest.mark.parametrize("study", STUDIES)
def test_a_page_has_the_table_and_the_picture_of_its_data(study, tmp_path):
    page = tmp_path / f"{study}.md"
    shutil.copy(RESULTS / page.name, page)
    text = page.read_text(encoding="utf-8")
    assert f"{study}.png" in text
    row = text.index("\n", text.index(make.BEGIN)) + 1
    page.write_text(text[:row] + text[row:].partition("\n")[2], encoding="utf-8")  # a row is gone
    make.make(study, tmp_path)
    assert page.read_text(encoding="utf-8") == text
    with (
        Image.open(tmp_path / f"{study}.png") as made,
        Image.open(RESULTS / f"{study}.png") as kept,
    ):
        assert made.size == kept.size


@pytest.mark.parametrize("study", STUDIES)
def test_a_result_names_what_it_depends_on(study):
    for run in make.read_study(RESULTS / "data" / study):
        for name in ("commit", "machine", "protocol", "precision", "config_sha256"):
            assert run[name], (run["group"], name)
        assert all(len(line["returns"]) > 1 for line in run["evaluations"])


def test_scores_beside_published_ones_and_over_games(tmp_path):
    """Two games, two groups, two seeds; the last evaluation counts."""
    scores = {
        "Boxing": {"a": (10.0, 20.0), "b": (0.0, 1.0)},
        "Pong": {"a": (1.0, 3.0), "b": (5.0, 9.0)},
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
    assert boxing.startswith("| Boxing | **15.0** (") and boxing.endswith("; 2 seeds) | 7.5 |")
    assert pong.startswith("| Pong | **2.0** (") and pong.endswith("| - |")
    head, _, iqm, _, gap = make.over_games(runs).split("\n")[:5]
    assert head == "| over Boxing, Pong | a | b |"
    games = [[human_normalised(game, m) for m in scores[game]["a"]] for game in ("Boxing", "Pong")]
    assert iqm.startswith(f"| IQM | {aggregate(games)['IQM']} | ")
    shortfall = np.mean([max(0, 1 - score) for game in games for score in game])
    assert gap.startswith(f"| optimality gap | {shortfall:.3f} [")
    assert make.over_games(runs[4:]) == "", "one game"
