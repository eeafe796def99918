"""The page of a report: its numbers, what it says of what is missing, and in a real browser."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.browser import chromium, needs_chromium, page_without_errors
from support.runs import NEVER, TINY, train

from dqn.report.tensorboard import EventWriter
from dqn.seeds import numpy_generator
from main import main

HOSTILE = "<img src=x onerror=hit()>'\"</script><script>hit()</script>&lt;b&gt;\u2028{{ 7*7 }}"
GAMES = (
    "Alien", "Amidar", "Assault", "Asterix", "Asteroids", "Atlantis", "BankHeist", "BattleZone",
    "BeamRider", "Berzerk", "Bowling", "Boxing",
)  # fmt: skip
PROTOCOLS = "evaluated under different protocols"


@pytest.fixture
def clock(monkeypatch):
    """The wall time of event files."""
    clock = SimpleNamespace(now=1_000.0, time=lambda: clock.now)
    monkeypatch.setattr("dqn.report.tensorboard.time", clock)
    return clock


def write_run(folder, clock, means, returns=(-1, 0, 1), settings="", **more):
    """A run with evaluations ``{step: mean}``, a minute and three training reports apart."""
    folder.mkdir(parents=True)
    seed = folder.name.partition("-seed")[2] or 1
    head = "# device: cpu\n# threads: 2\n# machine: a box\n# commit: 0123abc\n# dqn 0.1.0\n"
    (folder / "config.yaml").write_text(f"{head}game: Pong\nseed: {seed}\n{settings}")
    events = EventWriter(folder, 0, {})
    evaluations, training = [], []
    for step, mean in means.items():
        for at in (step - 20, step - 10, step):
            clock.now += 20
            events.scalar("speed/steps_per_second", 1.0, at)
            training.append({"step": at, "mean_return": mean - 1, "loss": 0.5, "epsilon": 0.1})
        events.scalar("evaluation/mean", mean, step)
        evaluations.append(
            {
                "game": "Pong", "step": step, "protocol": "classic", "epsilon": 0.05,
                "returns": [mean + part for part in returns], "mean": mean, "held_out_q": 1.5,
            } | more
        )  # fmt: skip
    for name, lines in (("evaluations", evaluations), ("training", training)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


class Page(HTMLParser):
    """What a page says: texts of its elements, and the labels of its charts."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.labels: list[str] = []
        self._open: list[str] = []
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)
        data = self.source.partition('id="figures">')[2].partition("</script>")[0]
        self.figures = json.loads(data)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "link", "input"):
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if dict(attributes).get("role") == "img":
            self.labels.append(dict(attributes)["aria-label"])

    def handle_endtag(self, tag):
        self._open.pop()

    def handle_data(self, data):
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def rows(self):
        return [[cell.strip() for cell in re.split(r"\n+", row)] for row in self.texts["tr"]]


def report(page, *runs):
    assert main(["report", *map(str, runs), f"--html={page}"]) == 0
    return Page(Path(page))


def test_medians_intervals_and_the_table_by_hand(tmp_path, clock):
    for seed, last in enumerate((18, 12, 13), 1):
        write_run(tmp_path / f"laptop-seed{seed}", clock, {100: 5 * seed, 200: last})
    other = write_run(tmp_path / "dqn-seed1", clock, {200: 3}, settings="num_envs: 4\n")
    fresh = {
        "game": "Pong", "step": 200, "protocol": "classic", "epsilon": 0.05, "seed": 0,
        "checkpoint": "best", "returns": [1, 2, 3], "mean": 2.0,
    }  # fmt: skip
    (other / "scores.json").write_text(json.dumps(fresh))
    (other / "notes.json").write_text("[1, 2]")
    page = report(tmp_path / "page.html", tmp_path)
    steps, minutes, boxes, *_ = page.labels
    assert steps == (
        "Pong: score over steps. dqn-seed1: 3 at step 200. laptop, 3 seeds: median 13 at step 200, "
        "interval 12 to 18. Published: random player -20.7 and human 14.6."
    )
    assert "laptop, 3 seeds: median 13 at 2 minutes, interval 12 to 18" in minutes
    assert "dqn-seed1, last evaluation: median 3 of 3 games from 2 to 4" in boxes
    source = page.source
    assert "75% with 3 seeds" in source
    traces = page.figures["chart-0"]["data"]
    (median,) = [trace for trace in traces if trace.get("name") == "laptop (median of 3 seeds)"]
    assert (median["x"], median["y"]) == ([100, 200], [10, 13])
    assert [trace["y"] for trace in traces if trace["line"].get("width") == 0] == [
        [5, 12],
        [15, 18],
    ]
    cells = re.findall(r'<th scope="row">dqn-seed1</th>(.*?)</tr>', source)[1]
    assert re.findall(r"<td>(.*?)</td>", cells) == [
        "200 of 50,000,000", "1 min", "3 ± 0.58", "3 ± 0.58 at step 200",
        "2 ± 0.58 (scores.json, best)", "3", "cpu, a box, threads: 2", "float32",
        "dqn 0.1.0, commit 0123abc", "classic, epsilon 0.05",
    ]  # fmt: skip
    assert "<mark>8</mark>" in source, "num_envs of the second config"
    assert PROTOCOLS not in source
    assert "Not all published scores were measured" in source and "sticky actions .25" in source


def test_what_is_missing_is_said(tmp_path, clock, capsys):
    """One section a game; young, damaged and clockless runs; protocols that differ."""
    write_run(tmp_path / "a-seed1", clock, {100: 3})
    write_run(tmp_path / "b-seed1", clock, {100: 4}, protocol="machado", settings="num_envs: 2\n")
    young = write_run(tmp_path / "c-seed1", clock, {100: 4})
    (young / "evaluations.jsonl").unlink()
    broken = write_run(tmp_path / "d-seed1", clock, {100: 4})
    (broken / "evaluations.jsonl").write_text("{no json}\n")
    lost = write_run(tmp_path / "e-seed1", clock, {100: 7, 200: 8}, settings="num_envs: 3\n")
    (events,) = lost.glob("events*")
    events.write_bytes(events.read_bytes()[:90] + bytes(500))
    write_run(tmp_path / "f-seed1", clock, {100: 40}, game="Breakout")
    shipped = tmp_path / "g-seed1"
    shipped.mkdir()
    (shipped / "config.yaml").write_text("game: Pong\n")
    page = report(tmp_path / "page.html", tmp_path)
    assert page.texts["h2"] == ["Not shown", "Breakout", "Pong"]
    said = capsys.readouterr()
    assert f"{broken}/evaluations.jsonl is damaged" in said.err
    assert "6 runs of 2 games" in said.out
    text = " ".join(page.texts["p"] + page.texts["li"])
    for sentence in (
        "c-seed1 has no evaluations yet, only what training tells.",
        "e-seed1 is shown without wall time: the event files",
        "g-seed1: neither evaluations nor training reports, so no curves.",
        f"{PROTOCOLS}, so scores of one do not compare with those of another: ",
        ": classic, epsilon 0.05 (a-seed1, e-seed1); machado, epsilon 0.05 (b-seed1).",
        f"{broken}/evaluations.jsonl is damaged",
        "There are no films; runs with --render keep one of each evaluation.",
    ):
        assert sentence in text, sentence
    over_minutes = [label for label in page.labels if "over wall time" in label]
    assert "e-seed1: no evaluation to draw" in over_minutes[1]
    assert "e-seed1: 7 at step 100 and 8" not in page.source
    assert "e-seed1: 8 at step 200" in page.source


def test_each_config_is_in_the_legend_once_whatever_its_first_run_lacks(tmp_path, clock):
    """By the first line that is drawn; training's has marks and a seed where it is alone."""
    for name, settings in {"a": "num_envs: 2\n", "b": "", "c": "num_envs: 3\n"}.items():
        for seed in (1, 2):
            write_run(tmp_path / f"{name}-seed{seed}", clock, {100: 3, 200: 4}, settings=settings)
    for young in ("a-seed1", "b-seed1", "b-seed2"):
        (tmp_path / young / "evaluations.jsonl").unlink()
    (tmp_path / "a-seed1" / "training.jsonl").write_text("")
    page = report(tmp_path / "page.html", tmp_path)
    for number, title in enumerate(("steps", "wall time", "games", "loss", "q-values", "epsilon")):
        if title != "games":
            traces = [trace for trace in page.figures[f"chart-{number}"]["data"]
                      if "meta" not in trace and trace["showlegend"]]  # fmt: skip
            named = [re.sub(r" \(.*", "", trace["name"]) for trace in traces]
            assert named == (["a", "c"] if title == "q-values" else ["a", "b", "c"]), title
            assert all(trace["mode"] == "lines+markers" for trace in traces)
    traces = page.figures["chart-0"]["data"]
    assert [trace["hovertext"] for trace in traces if trace.get("name") == "b"] == [
        "b, seed 1, training", "b, seed 2, training"
    ]  # fmt: skip
    assert "10 reports, with marks where a run has no evaluations." in page.source


def test_a_median_is_promised_where_there_is_one(tmp_path, clock):
    """Not where one seed ended before another was first evaluated."""
    write_run(tmp_path / "a-seed1", clock, {100: 3})
    write_run(tmp_path / "a-seed2", clock, {100: 3, 200: 4})
    slow = write_run(tmp_path / "b-seed1", clock, {100: 3}, settings="num_envs: 2\n")
    late = write_run(tmp_path / "b-seed2", clock, {100: 3, 200: 4}, settings="num_envs: 2\n")
    lines = (late / "evaluations.jsonl").read_text().splitlines(keepends=True)
    (late / "evaluations.jsonl").write_text(lines[1])
    promise, lack = "The median is that of", "There is no median of b: no time at which all"
    source = report(tmp_path / "page.html", tmp_path).source
    assert promise in source and lack in source
    source = report(tmp_path / "page.html", slow, late).source
    assert promise not in source and lack in source and "Thick, with marks" not in source
    source = report(tmp_path / "page.html", *tmp_path.glob("a-*")).source
    assert promise in source and "There is no median" not in source
    assert "Thick, with marks" in source


def test_a_suite_has_its_scores_over_games(tmp_path, clock, capsys, monkeypatch):
    """As suite.json has them; a suite that is damaged, or leads out of its folder, is refused."""
    suite = tmp_path / "suites" / "two"
    suite.mkdir(parents=True)
    runs, scores = [], {}
    for game, values in {"Pong": (14.6, -20.7), "Breakout": (1.7, 1.7)}.items():
        for seed, mean in enumerate(values, 1):
            label = f"{game}/dqn-seed{seed}"
            write_run(tmp_path / label, clock, {100: mean}, game=game)
            runs.append({"run": label, "identity": "x", "state": "finished"})
        scores[game] = {"game": game, "config": "dqn", "scores": values}
    how = "final evaluation at step 100"
    content = {"runs": runs, "scores": {"how": [how], "games": list(scores.values())}}
    file = suite / "suite.json"
    file.write_text(json.dumps(content))
    bootstraps = []
    monkeypatch.setattr(
        "dqn.evaluation.aggregate.numpy_generator",
        lambda *owner: bootstraps.append(owner) or numpy_generator(*owner),
    )
    page = report(tmp_path / "page.html", suite)
    assert len(bootstraps) == 2, "of the statistics, of the profile"
    assert page.texts["h2"] == ["Suite two", "Breakout", "Pong"]
    assert f"Scores: {how}." in page.texts["p"]
    aggregates, profile, *_ = page.labels
    assert "dqn: IQM 0.000 [0.000, 0.500], median 0.250 [0.000, 0.500]" in aggregates
    assert "<td>0.250 [0.000, 0.500]</td>" in page.source
    assert "dqn: 25% of runs above random play, 0% above the human" in profile
    for wrong in (content | {"runs": [runs[0] | {"run": "../x"}]}, {"runs": 3}):
        file.write_text(json.dumps(wrong))
        assert main(["report", str(suite), f"--html={tmp_path}/other.html"]) == 2
        assert f"error: {file} is damaged: " in capsys.readouterr().err
    assert not (tmp_path / "other.html").exists()


def test_what_cannot_be_reported(refused, tmp_path, clock):
    run = write_run(tmp_path / "a-seed1", clock, {100: 3})
    (tmp_path / "folder.html").mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, sentence in {
        (): "no RUN|FOLDER|SUITE given; try python main.py report checkpoints/Pong",
        ("nowhere",): "there is no folder nowhere; try",
        (300 * "x",): f"{300 * 'x'} cannot be read: File name too long",
        (str(empty),): f"{empty} is not a run's folder (no config.yaml), and there are no runs in "
        "it or one folder below",
        (str(run), "--html=page.pdf"): "--html must be the name of a .html file, not page.pdf",
        (str(run), "--html=folder.html"): "cannot write folder.html: Is a directory",
        (str(run), "--html=a-seed1/config.yaml/x.html"): "cannot write a-seed1/config.yaml/x.html",
        (str(run), "--every=0"): "--every must be a number from 1 to 86,400, or null, not 0",
    }.items():
        assert refused(["report", *arguments]).startswith(sentence), arguments


def test_every_rewrites_the_page_until_ctrl_c(tmp_path, clock, monkeypatch, capsys):
    """A run that is gone meanwhile is a warning, and the page stays."""
    run = write_run(tmp_path / "a-seed1", clock, {100: 3})
    page = tmp_path / "page.html"
    seen = []

    def sleep(seconds):
        seen.append((seconds, "4 at step 200" in page.read_text()))
        if len(seen) == 1:
            shutil.rmtree(run)
            write_run(run, clock, {100: 3, 200: 4})
        elif len(seen) == 2:
            shutil.rmtree(run)
            run.symlink_to(300 * "x")
        elif len(seen) == 3:
            run.unlink()
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("dqn.commands.report.time.sleep", sleep)
    assert main(["report", str(run), f"--html={page}", "--every=60"]) == 130
    assert seen == [(60, False), (60, True), (60, True), (60, True)]
    assert '<meta http-equiv="refresh" content="60">' in page.read_text()
    said = capsys.readouterr().err
    assert f"warning: {run} cannot be read: File name too long" in said
    assert f"warning: there is no folder {run}" in said
    assert "refresh" not in report(page, write_run(run, clock, {100: 3})).source.split("<body>")[0]


@pytest.mark.slow
@pytest.mark.parametrize("games, seeds, drawn", [(1, 10, 200), (12, 5, 100)])
def test_a_long_report_is_below_8_megabytes(games, seeds, drawn, tmp_path, clock):
    """Runs of 50 million steps, evaluated 200 times over 30 games."""
    lines = [{"step": 5000 * n, "mean_return": n / 7, "loss": 1 / n, "epsilon": 0.1}
             for n in range(1, 2_001)]  # fmt: skip
    training = "".join(json.dumps(line) + "\n" for line in lines)
    for game in GAMES[:games]:
        for seed in range(1, seeds + 1):
            means = {250_000 * n: n / 3 for n in range(1, 201)}
            folder = tmp_path / game / f"a-seed{seed}"
            run = write_run(folder, clock, means, returns=range(30), game=game)
            (run / "training.jsonl").write_text(training)
    page = report(tmp_path / "page.html", tmp_path)
    assert len(page.source.encode()) < 8e6
    assert "median 66.7 at step 50,000,000" in page.labels[0]
    (median,) = [trace for trace in page.figures["chart-0"]["data"]
                 if "median" in trace.get("name", "")]  # fmt: skip
    assert len(median["x"]) == drawn
    assert ("Curves show 100 evaluations of a run, evenly spaced" in page.source) == (drawn < 200)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@needs_chromium
@pytest.mark.slow
def test_the_page_in_a_browser(browser, tmp_path, clock):
    """From the disk, on a screen and on a phone, in light and dark: nothing is loaded but the page
    and its films, no error is logged, charts have marks, films play, the keyboard reaches all."""
    folder = tmp_path / "Läufe von heute"
    runs = [train(folder / str(seed), ["--game=CartPole-v1", *TINY, NEVER], "--render",
                  f"--seed={seed}") for seed in (1, 2)]  # fmt: skip
    runs += [write_run(folder / f"Pong/a-seed{n}", clock, {100: n, 200: n + 9}) for n in (1, 2)]
    for films in ((), ("--films",)):
        file = folder / "Bericht.html"
        assert main(["report", *map(str, runs), f"--html={file}", *films]) == 0
        for width, scheme in ((1280, "light"), (390, "dark")):
            look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
            with page_without_errors(browser, **look) as page:
                requests = []
                page.on("request", lambda request, to=requests: to.append(request.url))
                page.goto(file.as_uri())
                page.wait_for_selector(".chart .main-svg")
                check_charts(page)
                check_film(page)
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                red = int(re.findall(r"\d+", page.evaluate("getComputedStyle(document.body)."
                                                           "backgroundColor"))[0])  # fmt: skip
                assert (red < 60) == (scheme == "dark")
                assert {url.partition(":")[0] for url in requests} <= {"file", "data"}
                assert any(url.endswith(".mp4") for url in requests) is not bool(films)
                check_keyboard(page)


def check_charts(page):
    charts = page.locator(".chart")
    assert charts.count() >= 8
    for index in range(charts.count()):
        chart = charts.nth(index)
        chart.scroll_into_view_if_needed()
        chart.locator(".main-svg").first.wait_for()
        assert chart.locator(".trace path, .trace .point").count() > 0
        assert re.search(r"\d", chart.get_attribute("aria-label"))


def check_film(page):
    """It plays to its end. By a loop of ours: the page's policy forbids playwright's own."""
    shown = page.evaluate(
        """async () => {
            const film = document.querySelector("video");
            await film.play();
            for (let i = 0; i < 200 && !film.ended; i++) await new Promise(r => setTimeout(r, 50));
            return [film.ended, film.videoWidth];
        }"""
    )
    assert shown == [True, 1200]


def check_keyboard(page):
    """Enter opens a list, Space draws a published score and all of a published curve."""
    page.locator("details.published summary").focus()
    page.keyboard.press("Enter")
    ticks = "[...document.querySelectorAll('.published')].at(-1).closest('section')"
    ticks += ".querySelector('.chart').layout"
    page.locator("button.far").focus()
    assert page.evaluate(f"{ticks}.xaxis.range[1]") < 1000
    page.keyboard.press("Space")
    assert page.evaluate(f"{ticks}.xaxis.range[1]") == 50e6
    box = page.locator("input[data-key=rainbow_noop]")
    box.focus()
    shape = f"{ticks}.shapes.find(shape => shape.name === 'rainbow_noop').visible"
    assert page.evaluate(shape) is False
    page.keyboard.press("Space")
    assert page.evaluate(shape) is True


@needs_chromium
@pytest.mark.slow
def test_what_is_open_stays_open_when_the_page_loads_itself_again(browser, tmp_path, clock):
    file = tmp_path / "page.html"
    report(file, write_run(tmp_path / "a-seed1", clock, {100: 3, 200: 4}))
    opened = "[...document.querySelectorAll('details')].map(one => one.open)"
    remembered = """async () => {
        const count = () => JSON.parse(Object.values(sessionStorage)[0] || "[]").length;
        for (let i = 0; i < 200 && count() < 2; i++) await new Promise(r => setTimeout(r, 20));
    }"""
    with page_without_errors(browser) as page:
        page.goto(file.as_uri())
        for summary in ("details.published summary", "figure summary >> nth=-1"):
            page.locator(summary).press("Enter")
        before = page.evaluate(opened)
        page.evaluate(remembered)
        page.reload()
        assert page.evaluate(opened) == before and before.count(True) == 2


@needs_chromium
@pytest.mark.slow
def test_hostile_names_and_files_execute_nothing(browser, tmp_path, clock):
    """They are shown as they are, in the page and in its charts."""
    name = HOSTILE.replace("/", "|")
    texts = {"game": HOSTILE, "protocol": HOSTILE, "held_out_q": 1.0}
    run = write_run(tmp_path / f"{name}-seed1", clock, {100: 3, 200: 4}, **texts)
    write_run(tmp_path / f"{name}-seed2", clock, {100: 3, 200: 4}, **texts)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("cpu", HOSTILE.replace("\u2028", "")))
    file = tmp_path / "page.html"
    assert main(["report", str(tmp_path), f"--html={file}"]) == 0
    with page_without_errors(browser) as page:
        page.add_init_script("window.hit = () => { window.was_hit = true }")
        page.goto(file.as_uri())
        page.wait_for_selector(".chart .main-svg")
        page.locator(".chart .point").first.hover(force=True)
        assert page.evaluate("window.was_hit") is None
        assert page.locator("img, main a").count() == 0
        assert "<img src=x onerror=hit()>" in page.locator("h2").first.inner_text()
        assert "<img src=x" in page.locator(".legendtext").first.text_content()
    # Not even if the escaping had failed: the page's policy runs its own scripts alone.
    planted = file.read_text().replace("<main>", "<main><script>document.title = 'hit'</script>")
    (tmp_path / "planted.html").write_text(planted)
    page = browser.new_page()
    page.goto((tmp_path / "planted.html").as_uri())
    assert page.title() != "hit"
    page.close()


def test_films_lie_beside_the_page_or_in_it(tmp_path, clock):
    run = write_run(tmp_path / "a-seed1", clock, {100: 3})
    (run / "eval_001.mp4").write_bytes(b"film")
    beside = report(tmp_path / "page.html", run).source
    assert "./a-seed1/eval_001.mp4" in beside and "data:video" not in beside
    inside = report(tmp_path / "page.html", run, "--films").source
    assert "data:video/mp4;base64,ZmlsbQ==" in inside and "eval_001.mp4" not in inside


def test_runs_that_were_moved_aside_are_not_in_the_report_of_their_folder(tmp_path, clock):
    for name in ("a-seed1", "a-seed1.old-20260101-120000-000001"):
        write_run(tmp_path / "Pong" / name, clock, {100: 3})
    page = report(tmp_path / "page.html", tmp_path)
    assert page.labels[0].startswith("Pong: score over steps. a-seed1: 3 at step 100. Published: ")
