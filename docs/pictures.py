"""The pictures of the lessons that no run draws by itself.

``python docs/pictures.py checkpoints`` reads the runs of cartpole.yaml and cartpole_shaped.yaml
there, and those beside them that the guide's commands make (every seed that is found), and draws
what it has the runs for into docs/pictures/.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent.parent))

from dqn.report.curves import read_lines

HERE = Path(__file__).parent / "pictures"
COLORS = ("tab:blue", "tab:orange", "tab:green")


def draw_huber() -> None:
    """Both losses, and what they make of an error in the gradient."""
    error = torch.linspace(-4, 4, 401, requires_grad=True)
    losses = {
        "squared: error^2 / 2": error.square() / 2,
        "Huber: straight beyond 1": F.huber_loss(error, torch.zeros(401), reduction="none"),
    }
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss.sum(), error)
        left.plot(error.detach(), loss.detach(), label=name)
        right.plot(error.detach(), gradient)
    left.set_ylabel("loss")
    right.set_ylabel("its slope")
    left.legend()
    for axes in (left, right):
        axes.set_xlabel("target - value")
        axes.grid(alpha=0.3)
    figure.savefig(HERE / "huber.png", dpi=80)


COMPARED = {
    "shaped": {
        "one for each step": "CartPole-v1/cartpole-seed*",
        "shaped reward": "CartPole-v1/cartpole_shaped-seed*",
    },
    "memory": {
        "30,000 rows": "CartPole-v1/cartpole-seed*",
        "30,000 rows, prioritized": "prioritized/CartPole-v1/cartpole-seed*",
        "200 rows": "short/CartPole-v1/cartpole-seed*",
    },
    "target": {
        "a second network, soft": "CartPole-v1/cartpole-seed*",
        "a second network, hard": "hard/CartPole-v1/cartpole-seed*",
        "none": "none/CartPole-v1/cartpole-seed*",
    },
    "loss": {
        "Huber": "CartPole-v1/cartpole-seed*",
        "squared": "mse/CartPole-v1/cartpole-seed*",
    },
}
"""Pictures of CartPole: the name of each group of runs, and where in the checkpoints folder they
are."""


def draw_compared(checkpoints: Path, name: str) -> None:
    """Evaluations of groups of runs over the steps: each run's, and the mean of a group."""
    groups = {label: list(checkpoints.glob(runs)) for label, runs in COMPARED[name].items()}
    if not all(groups.values()):
        print(f"cartpole_{name}.png is not drawn: it needs {', '.join(COMPARED[name].values())}")
        return
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for color, (label, runs) in zip(COLORS, groups.items(), strict=False):
        curves = [read_lines(run / "evaluations.jsonl") for run in runs]
        common = range(min(map(len, curves)))
        steps = [curves[0][i]["step"] for i in common]
        scores = np.array([[lines[i]["mean"] for i in common] for lines in curves])
        axes.plot(steps, scores.T, color=color, alpha=0.3, linewidth=1)
        seeds = f"{len(curves)} seeds" if len(curves) > 1 else "1 seed"
        axes.plot(steps, scores.mean(0), color=color, linewidth=2, label=f"{label}: {seeds}")
    axes.set_xlabel("step")
    axes.set_ylabel("score of an evaluation")
    axes.set_ylim(0, 520)
    figure.legend(loc="outside upper center", ncols=len(groups), fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(HERE / f"cartpole_{name}.png", dpi=80)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[2])
    draw_huber()
    for name in COMPARED:
        draw_compared(Path(sys.argv[1]), name)
