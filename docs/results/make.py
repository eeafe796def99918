"""Make the tables and pictures of docs/results/ from the raw results in docs/results/data/.

``python docs/results/make.py`` draws ``STUDY.png`` for each folder of ``data/``, and writes its
tables into ``STUDY.md`` between the comments that mark them. collect.py fills the folders; a
``published.csv`` in one has scores of others, a line a game; its ``again/`` has what
``evaluate --json`` wrote about some of the runs, in files named as theirs (``a_best-seed1`` is of
the best model of ``a-seed1``), and the ``commit`` it was made at, added by hand.
"""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import StrMethodFormatter

sys.path.insert(0, str(Path(__file__).parents[2]))

from dqn.envs.atari import FRAME_SKIP
from dqn.evaluation.aggregate import STATISTICS, aggregate, normalised_scores
from dqn.evaluation.scores import Curve, mean_interval, published_curves, standard_error
from dqn.report.curves import running_mean
from dqn.report.run_record import Axis
from dqn.storage.files import sha256

HERE = Path(__file__).parent
BEGIN, END = "<!-- written by docs/results/make.py -->\n", "<!-- up to here -->\n"
SMOOTHED = 4  # reports
BESIDE_CURVES = ("breakout_h100", "breakout_long", "pong_machado")
"""Studies of one game that are shown beside the published learning curves of it."""
OVER_MINUTES = ("breakout_h100",)
"""Studies drawn over minutes, so without those curves, which have no clock."""
ROW: dict[Axis, int] = {"step": 0, "minutes": 1}
"""Where a training report has them."""
STYLES = (
    ("tab:blue", "-"),
    ("tab:orange", "--"),
    ("tab:green", ":"),
    ("tab:purple", "-."),
    ("tab:red", "-"),
)

Run = dict[str, Any]
"""What collect.py wrote of a run."""


def read_study(folder: Path) -> list[Run]:
    """The runs of a study, each with the ``group`` that its file names."""
    runs = []
    for file in folder.glob("*.json"):
        run = json.loads(file.read_bytes())
        group = file.stem.removeprefix(f"{run['game']}_").removesuffix(f"-seed{run['seed']}")
        runs.append(run | {"group": group.replace("_", " ")})
    return sorted(runs, key=lambda run: (run["game"], run["group"], run["seed"]))


def table(runs: list[Run]) -> str:
    """A line a run, with columns only for what the study has, and one a group of three seeds."""
    columns = ["game", "runs", "seed", "mean ± standard error", "at step"]
    columns += ["in minutes"] if any(run["evaluations"][-1]["minutes"] for run in runs) else []
    columns += ["best"] if any(len(run["evaluations"]) > 1 for run in runs) else []
    columns += ["games cut"] if any(run["evaluations"][-1].get("cut") for run in runs) else []
    columns += ["commit"]
    lines = [_row(columns), "|---" * len(columns) + "|"]
    for (game, group), found in groupby(runs, key=lambda run: (run["game"], run["group"])):
        scores = []
        for run in found:
            last = run["evaluations"][-1]
            means = [np.mean(line["returns"]) for line in run["evaluations"]]
            scores.append(float(means[-1]))
            error = standard_error(last["returns"])
            cells = {
                "game": game,
                "runs": group,
                "seed": run["seed"],
                "mean ± standard error": f"{means[-1]:.1f} ± {error:.1f}",
                "at step": f"{last['step']:,}",
                "in minutes": f"{last['minutes']:.1f}" if last["minutes"] else "-",
                "best": f"{max(means):.1f}",
                "games cut": last.get("cut", 0),
                "commit": run["commit"],
            }
            lines.append(_row(cells[column] for column in columns))
        if len(scores) > 2:
            every = [game, group, "all", over_seeds(scores)]
            lines.append(_row([*every, *[""] * (len(columns) - len(every))]))
    return "\n".join([*lines, ""])


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def over_seeds(means: list[float]) -> str:
    """The mean with its 95 % interval over seeds; the scores themselves where they are two."""
    mean, low, high = mean_interval(means)
    if len(means) > 2:
        return f"**{mean:.1f}** (95 % interval {low:.1f} to {high:.1f}, {len(means)} seeds)"
    seeds = ", ".join(f"{score:.1f}" for score in means) if len(means) > 1 else "one seed"
    return f"**{mean:.1f}** ({seeds})"


def means_by_game(runs: list[Run]) -> dict[tuple[str, str], list[float]]:
    """The mean of each run's last evaluation, by game and group."""
    means: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        last = run["evaluations"][-1]["returns"]
        means.setdefault((run["game"], run["group"]), []).append(float(np.mean(last)))
    return means


def beside_published(runs: list[Run], file: Path) -> str:
    """A line a game: each group's mean over seeds with its 95 % interval, and published scores."""
    with file.open(newline="", encoding="utf-8") as stream:
        published = {row.pop("game"): row for row in csv.DictReader(stream)}
    means = means_by_game(runs)
    groups = sorted({group for _, group in means})
    sources = list(next(iter(published.values())))
    lines = [_row(["game", *groups, *sources]), "|---" * (1 + len(groups) + len(sources)) + "|"]
    for game in sorted({game for game, _ in means}):
        cells = [game]
        for group in groups:
            values = means.get((game, group), [])
            cells.append(over_seeds(values) if values else "-")
        lines.append(_row(cells + [published[game][name] or "-" for name in sources]))
    return "\n".join([*lines, "", ""])


def evaluated_again(folder: Path) -> str:
    """A line an evaluation that was made after the training; empty if there was none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        return ""
    columns = ["game", "runs", "seed", "at step", "epsilon", "games", "mean ± standard error"]
    columns += ["games cut", "commit"]
    lines = [_row(columns), "|---" * len(columns) + "|"]
    for file in files:
        found = json.loads(file.read_bytes())
        group, _, seed = file.stem.removeprefix(f"{found['game']}_").rpartition("-seed")
        score = f"{found['mean']:.1f} ± {standard_error(found['returns']):.1f}"
        cells = [found["game"], group.replace("_", " "), seed, f"{found['step']:,}"]
        cells += [f"{found['epsilon']:g}", len(found["returns"]), score]
        lines.append(_row([*cells, found.get("cut", 0), found["commit"]]))
    return "\n".join([*lines, "", ""])


def at_equal_frames(runs: list[Run], curves: Sequence[Curve]) -> str:
    """A line a step at which a run was evaluated: the scores there, with the minutes they took, and
    what the published agents returned in training in the million frames up to there."""
    evaluations = [{line["step"]: line for line in run["evaluations"]} for run in runs]
    names = [f"{run['group']}, seed {run['seed']}" for run in runs]
    columns = ["step", "million frames", *names, *(curve.agent for curve in curves)]
    lines = [_row(columns), "|---" * len(columns) + "|"]
    for step in sorted(set().union(*evaluations)):
        cells = []
        for found in evaluations:
            line = found.get(step)
            cells += [f"{np.mean(line['returns']):.1f}{_minutes(line)}" if line else ""]
        # 128 environments are evaluated up to 127 steps late
        millions = round(step * FRAME_SKIP / 1e6, 2)
        whole = millions >= 1 and millions.is_integer()
        cells += [f"{curve.returns[int(millions) - 1]:.1f}" if whole else "" for curve in curves]
        lines.append(_row([f"{step:,}", f"{millions:g}", *cells]))
    return "\n".join([*lines, "", ""])


def _minutes(line: dict[str, Any]) -> str:
    minutes = line["minutes"]
    return f" ({minutes:.{1 if minutes < 9.95 else 0}f} min)" if minutes is not None else ""


def over_games(runs: list[Run]) -> str:
    """Statistics of human-normalised scores over the games of which every group has three runs or
    more; empty if they are fewer than two games."""
    means = means_by_game(runs)
    groups = {group for _, group in means}
    complete = {game for game, _ in means if all(len(means.get((game, g), [])) > 2 for g in groups)}
    games, normalised = normalised_scores({k: v for k, v in means.items() if k[0] in complete})
    if len(games) < 2:
        return ""
    estimates = {group: aggregate(values) for group, values in normalised.items()}
    lines = [_row([f"over {', '.join(games)}", *estimates]), "|---" * (1 + len(estimates)) + "|"]
    for statistic in STATISTICS:
        lines += [_row([statistic, *(found[statistic] for found in estimates.values())])]
    return "\n".join([*lines, "", ""])


def curves_beside(study: str, runs: list[Run]) -> Sequence[Curve]:
    """The published learning curves that a study is shown beside."""
    return published_curves(runs[0]["game"]) if study in BESIDE_CURVES else ()


def tables(runs: list[Run], folder: Path) -> str:
    """Everything that a page says of a study's runs."""
    published = folder / "published.csv"
    beside = beside_published(runs, published) if published.exists() else ""
    if curves := curves_beside(folder.name, runs):
        beside += at_equal_frames(runs, curves)
    return beside + evaluated_again(folder / "again") + over_games(runs) + table(runs)


def draw(runs: list[Run], file: Path, curves: Sequence[Curve] = (), axis: Axis = "step") -> None:
    """A panel a game: training returns of each run, its evaluations as dots, and thin lines of
    published returns over steps, as far as the runs go."""
    games = sorted({run["game"] for run in runs})
    columns = min(len(games), 3)
    rows = -(-len(games) // columns)
    figure = Figure(figsize=(5.5 * columns + 2, 4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for unused in panels[len(games) :]:
        unused.remove()
    groups = sorted({run["group"] for run in runs})
    styles = dict(zip(groups, cycle(STYLES), strict=False))
    for game, panel in zip(games, panels, strict=False):
        _draw_game([run for run in runs if run["game"] == game], styles, panel, axis)
        panel.set_title(game)
    handles = [Line2D([], [], color=color, linestyle=dash) for color, dash in styles.values()]
    million = 1_000_000 // FRAME_SKIP
    end = max(run["evaluations"][-1]["step"] for run in runs) // million
    for curve, (_, dash) in zip(curves, STYLES, strict=False):
        steps = [million * count for count in range(1, end + 1)]
        handles += panels[0].plot(steps, curve.returns[:end], dash, color="gray", linewidth=0.8)
    names = [*groups, *(curve.agent for curve in curves)]
    figure.legend(handles, names, loc="outside upper center", ncols=4 if len(names) < 8 else 3)
    figure.savefig(file, dpi=80, metadata={"Description": digest(runs)})


def digest(runs: list[Run]) -> str:
    """The digest of a picture's data, which the picture carries."""
    return sha256(json.dumps(runs, sort_keys=True).encode())


def _draw_game(
    runs: list[Run], styles: dict[str, tuple[str, str]], panel: Axes, axis: Axis
) -> None:
    for run in runs:
        color, dash = styles[run["group"]]
        known = [line for line in run["training"] if line[2] is not None]
        smooth = running_mean([value for _, _, value in known], SMOOTHED)
        at = [line[ROW[axis]] for line in known]
        panel.plot(at, smooth, dash, color=color, linewidth=1.2)
        evaluated = [(line[axis], np.mean(line["returns"])) for line in run["evaluations"]]
        panel.plot(*zip(*evaluated, strict=True), "o", color=color, mec="black")
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.set_xlabel(axis)
    panel.set_ylabel(f"return (lines: training, mean of {SMOOTHED} reports;\ndots: evaluations)")
    panel.grid(alpha=0.3)


def make(study: str, folder: Path = HERE) -> None:
    """Draw a study's picture, and write its table."""
    runs = read_study(HERE / "data" / study)
    axis: Axis = "minutes" if study in OVER_MINUTES else "step"
    curves = curves_beside(study, runs) if axis == "step" else ()
    draw(runs, folder / f"{study}.png", curves, axis)
    page = folder / f"{study}.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = tables(runs, HERE / "data" / study)
    page.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    for path in sorted((HERE / "data").iterdir()):
        make(path.name)
