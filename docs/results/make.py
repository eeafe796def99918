"""Make the tables and pictures of docs/results/ from the raw results in docs/results/data/.

``python docs/results/make.py`` draws ``STUDY.png`` for each folder of ``data/``, and writes its
table into ``STUDY.md`` between the comments that mark it. collect.py fills the folders.
"""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

sys.path.insert(0, str(Path(__file__).parents[2]))

from dqn.evaluation.scores import mean_interval
from dqn.report.curves import running_mean

HERE = Path(__file__).parent
BEGIN, END = "<!-- written by docs/results/make.py -->\n", "<!-- up to here -->\n"
SMOOTHED = 4  # reports
STYLES = (("tab:blue", "-"), ("tab:orange", "--"), ("tab:green", ":"))

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
    """A line a run, and one a group of three seeds or more: mean and 95 % interval."""
    lines = [
        "| game | runs | seed | last evaluation: mean ± standard error | at step | best | commit |",
        "|---|---|---|---|---|---|---|",
    ]
    for (game, group), found in groupby(runs, key=lambda run: (run["game"], run["group"])):
        scores = []
        for run in found:
            last = run["evaluations"][-1]
            means = [np.mean(line["returns"]) for line in run["evaluations"]]
            scores.append(means[-1])
            error = np.std(last["returns"], ddof=1) / len(last["returns"]) ** 0.5
            lines.append(
                f"| {game} | {group} | {run['seed']} | {means[-1]:.1f} ± {error:.1f} "
                f"| {last['step']:,} | {max(means):.1f} | {run['commit']} |"
            )
        if len(scores) > 2:
            mean, low, high = mean_interval(scores)
            interval = f"95 % interval over seeds {low:.1f} to {high:.1f}"
            lines.append(f"| {game} | {group} | all | **{mean:.1f}** ({interval}) | | | |")
    return "\n".join([*lines, ""])


def draw(runs: list[Run], file: Path) -> None:
    """A panel a game: training returns of each run, and its evaluations as dots."""
    games = sorted({run["game"] for run in runs})
    figure = Figure(figsize=(5.5 * len(games) + 2, 4), layout="constrained")
    panels = figure.subplots(1, len(games), squeeze=False)[0]
    for game, panel in zip(games, panels, strict=True):
        _draw_game([run for run in runs if run["game"] == game], panel)
        panel.set_title(game)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(file, dpi=80)


def _draw_game(runs: list[Run], panel: Axes) -> None:
    names = list(dict.fromkeys(run["group"] for run in runs))
    for run in runs:
        first = run["seed"] == min(other["seed"] for other in runs)
        color, dash = STYLES[names.index(run["group"])]
        known = [(step, value) for step, _, value in run["training"] if value is not None]
        steps, returns = zip(*known, strict=True)
        smooth = running_mean(list(returns), SMOOTHED)
        label = run["group"] if first else None
        panel.plot(steps, smooth, dash, color=color, linewidth=1.2, label=label)
        evaluated = [(line["step"], np.mean(line["returns"])) for line in run["evaluations"]]
        panel.plot(*zip(*evaluated, strict=True), "o", color=color, mec="black")
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.set_xlabel("step")
    panel.set_ylabel(f"return (lines: training, mean of {SMOOTHED} reports;\ndots: evaluations)")
    panel.grid(alpha=0.3)


def make(study: str, folder: Path = HERE) -> None:
    """Draw a study's picture, and write its table."""
    runs = read_study(HERE / "data" / study)
    draw(runs, folder / f"{study}.png")
    page = folder / f"{study}.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}{table(runs)}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    for path in sorted((HERE / "data").iterdir()):
        make(path.name)
