"""Parts of a report, each alone."""

import json
import math
from pathlib import Path

from dqn.config import Config
from dqn.report.run_record import RunRecord
from dqn.storage.suite_record import SuiteRecord, SuiteRun, SuiteScores
from dqn.web.report_charts import distributions
from dqn.web.report_curves import learning_curves
from dqn.web.report_game import game_section
from dqn.web.report_page import Report, render
from dqn.web.report_parts import (
    Section,
    evenly,
    finite,
    for_plotly,
    make_figure,
    number,
    style_of,
)  # fmt: skip
from dqn.web.report_published import draw_published_curves, published_rows
from dqn.web.report_suite import suite_section
from dqn.web.report_tables import runs_table


def run(folder, means, path=Path()):
    lines = [
        {"game": "Pong", "step": 100 * i, "minutes": None, "mean": mean, "returns": [mean, mean],
         "protocol": "classic", "epsilon": 0.05}
        for i, mean in enumerate(means, 1)
    ]  # fmt: skip
    return RunRecord(folder, path, Config(game="Pong"), [], lines)


def test_text_numbers_and_styles():
    assert for_plotly("<b>&\n") == "&lt;b&gt;&amp;"
    name = for_plotly("x" * 500 + "-seed1")
    assert len(name) == 80 and name.endswith("-seed1")
    assert finite([1, None, math.nan, math.inf, 1 / 3]) == [1, None, None, None, 0.333333]
    assert [number(x) for x in (0.126, 3, -20.7, 1234.56)] == ["0.13", "3", "-20.7", "1,234.6"]
    assert evenly("abcdefg", 4) == ["a", "c", "e", "g"] and evenly("ab", 3) == ["a", "b"]
    assert evenly("abc", 1) == ["c"] and evenly("", 1) == []
    for one, other in ((0, 1), (0, 5), (2, 4)):
        assert all(a != b for a, b in zip(style_of(one), style_of(other), strict=True))
    assert len({style_of(i) for i in range(40)}) == 40


def test_of_many_evaluations_some_have_a_box():
    chart = distributions("Pong", [("a", [run("a", range(1, 101))])])
    steps = [row[1].text for row in chart.numbers.rows]
    assert len(steps) == 24 and steps[0] == "100" and steps[-1] == "10,000"
    groups = [(str(i), [run(str(i), range(9))]) for i in range(25)]
    assert len(distributions("Pong", groups).numbers.rows) == 25, "the last one of each run"


def test_a_box_and_its_whiskers_are_the_numbers_in_the_table():
    record = run("a", [0])
    record.evaluations[0]["returns"] = [1, 2, 3, 100]
    chart = distributions("Pong", [("a", [record])])
    (box,) = chart.figure["data"]
    whole = ["lowerfence", "q1", "median", "q3", "upperfence"]
    assert [box[name] for name in whole] == [[1], [1.75], [2.5], [27.25], [100]]
    assert [cell.text for cell in chart.numbers.rows[0][2:]] == ["1", "1.75", "2.5", "27.2", "100"]


def test_what_is_unlike_most_runs_is_marked_and_nothing_on_a_tie(tmp_path):
    runs = []
    for device in ("cpu", "cuda", "cpu"):
        folder = tmp_path / str(len(runs))
        folder.mkdir()
        (folder / "config.yaml").write_text(f"# device: {device}\ngame: Pong\n")
        runs.append(run(folder.name, [1], folder))
    marked = [[cell.marked for cell in row] for row in runs_table([("a", runs)]).rows]
    assert [row.count(True) for row in marked] == [0, 1, 0]
    assert not any(cell.marked for row in runs_table([("a", runs[:2])]).rows for cell in row)


def test_how_published_scores_differ_from_runs():
    rows = {row.key: row.differs for row in published_rows("Pong", ["machado, epsilon 0"])}
    assert rows["human"] == "no sticky actions"
    assert rows["dopamine_dqn_40m"] == rows["curve:Dopamine DQN"] == "training return"
    rows = {row.key: row.differs for row in published_rows("Pong", ["classic, 48x48 pictures"])}
    assert rows["rainbow_noop"] == "best snapshot, 84x84 pictures"
    assert rows["dopamine_dqn_40m"] == "sticky actions, training return, 84x84 pictures"
    assert published_rows("Maze-v0", []) == []


def test_the_best_run_shows_its_films(tmp_path):
    """At most six, the best first; by a path from the page, or embedded."""
    good, poor = (tmp_path / name for name in ("gut & schön", "poor"))
    for folder in (good, poor):
        folder.mkdir()
        for index in range(1, 21):
            (folder / f"eval_{index:03d}.mp4").write_bytes(b"film")
    means = [*range(1, 20), 3]
    runs = [run("poor", [0] * 20, poor), run("good", means, good)]
    (tmp_path / "pages").mkdir()
    section = game_section("Pong", "x", runs, tmp_path / "pages" / "p.html", False, 9)
    sources = [film.source for film in section.films]
    assert sources[0] == "./../gut%20%26%20sch%C3%B6n/eval_019.mp4"
    assert sources[1].endswith("eval_020.mp4") and len(set(sources)) == len(sources) <= 6
    assert section.films[0].title == (
        "good, best evaluation with a film: mean 19 at step 1,900"
    )  # fmt: skip
    embedded = game_section("Pong", "x", runs, tmp_path / "p.html", True, 9).films
    assert {film.source for film in embedded} == {"data:video/mp4;base64,ZmlsbQ=="}


def test_text_stays_text_in_the_page_and_in_its_data():
    text = "</script><b>'\"&\u2028"
    section = Section(
        text, "x", sentences=[text], curves=[distributions("Pong", [(text, [run(text, [1])])])]
    )
    page = render(Report(text, [section], [text]))
    shown, _, rest = page.partition('id="figures">')
    data, _, scripts = rest.partition("</script>")
    assert "<b>" not in shown and shown.count("&lt;/script&gt;&lt;b&gt;") >= 5
    assert "\u2028" not in data and scripts.count("<script") == 2
    assert json.loads(data)["chart-0"]["data"][0]["name"].startswith("&lt;/script&gt;")


def test_a_suite_says_how_many_of_its_runs_are_finished():
    states = ("finished", "failed", "finished")
    runs = [SuiteRun(f"Pong/a-seed{n}", "x", state) for n, state in enumerate(states, 1)]
    assert suite_section("two", "x", SuiteRecord(runs, SuiteScores())).sentences == [
        "2 of 3 runs are finished.",
        "The suite has no scores yet; they come when its command ends.",
    ]


def test_long_runs_are_drawn_over_hours():
    """Whatever is drawn of two seeds: training, evaluations, their median and its band."""
    training = [{"step": n, "minutes": 60.0 * n, "mean_return": 1.0} for n in (1, 2, 3, 4)]
    runs = [
        RunRecord(
            f"a-seed{seed}", Path(), Config(game="Pong", seed=seed), training,
            [{"step": n, "minutes": 60.0 * n, "mean": 1.0, "returns": [1.0]} for n in (2, 4)],
        )
        for seed in (1, 2)
    ]  # fmt: skip
    figure = learning_curves("Pong", [("a", runs)], "minutes", [], 200).figure
    assert figure["layout"]["xaxis"]["title"]["text"] == "wall time, hours"
    drawn = [list(trace["x"]) for trace in figure["data"]]
    assert len(drawn) == 7 and drawn[:2] == [[1, 2, 3, 4]] * 2, "training first"
    assert drawn[2:] == [[2, 4]] * 5


def test_published_curves_are_over_steps_of_four_frames():
    """A point for each of 200 million frames; at first as far as a fifth beyond the runs."""
    published = published_rows("Pong", ["classic"])
    figure = make_figure("step", "score")
    draw_published_curves(figure, "Pong", 1_000_000, published)
    near, far = [trace for trace in figure.data if trace.meta["published"] == "curve:Dopamine DQN"]
    assert list(far.x[:2]) == [250_000, 500_000] and (len(far.x), far.x[-1]) == (200, 50_000_000)
    assert list(near.x) == [250_000, 500_000, 750_000, 1_000_000]
    assert (near.visible, far.visible) == (True, False)
