"""``curves.png``: returns, evaluations, epsilon and loss of a run so far, in one picture."""

import json
from pathlib import Path
from typing import Any

from dqn import scores


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def draw_curves(folder: Path, title: str, game: str) -> None:
    """Draw ``training.jsonl`` and ``evaluations.jsonl`` into ``curves.png``.

    Raises:
        OSError: it cannot be written; an older picture stays.
    """
    # Imported here: it takes a second, and a run without a picture never needs it.
    from matplotlib.figure import Figure

    training = read_lines(folder / "training.jsonl")
    evaluations = read_lines(folder / "evaluations.jsonl")
    figure = Figure(figsize=(11, 7))
    figure.suptitle(title)
    # margins by hand: to have them computed doubles the time
    figure.subplots_adjust(0.07, 0.07, 0.98, 0.93, wspace=0.18, hspace=0.06)
    (returns, values), (epsilon, loss) = figure.subplots(2, 2, sharex=True)

    ended = [line for line in training if line["mean_return"] is not None]
    returns.plot(
        [line["step"] for line in ended], [line["mean_return"] for line in ended],
        color="tab:gray", alpha=0.7, label="training episodes (mean of each report)",
    )  # fmt: skip
    steps = [line["step"] for line in evaluations]
    if steps:
        returns.fill_between(
            steps, [min(e["returns"]) for e in evaluations],
            [max(e["returns"]) for e in evaluations],
            color="tab:blue", alpha=0.15, label="evaluation, worst to best",
        )  # fmt: skip
        means = [e["mean"] for e in evaluations]
        returns.plot(steps, means, "o-", color="tab:blue", label="evaluation, mean")
        values.plot(steps, [e["held_out_q"] for e in evaluations], "o-", color="tab:green")
    random = scores.random_score(game)
    if random is not None:
        returns.axhline(random, color="tab:red", linestyle=":", label="random player (published)")
    returns.set_ylabel("score")
    returns.legend(fontsize=8, loc="upper left")
    values.set_ylabel("mean greatest q on held-out states")
    epsilon.plot([line["step"] for line in training], [line["epsilon"] for line in training])
    epsilon.set_ylabel("epsilon")
    learnt = [line for line in training if line["loss"] is not None]
    loss.plot([line["step"] for line in learnt], [line["loss"] for line in learnt], color="tab:red")
    loss.set_ylabel("loss")
    for axes in (returns, values, epsilon, loss):
        axes.grid(alpha=0.3)
    for axes in (epsilon, loss):
        axes.set_xlabel("step")
    aside = folder / ".curves.part.png"
    figure.savefig(aside, dpi=90)
    aside.replace(folder / "curves.png")
