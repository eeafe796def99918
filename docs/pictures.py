"""The two pictures of the lessons that no run draws by itself.

``python docs/pictures.py checkpoints`` reads the runs of cartpole.yaml and cartpole_shaped.yaml
there (every seed that is found) and writes into docs/pictures/.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent.parent))

from dqn.curves import read_lines

HERE = Path(__file__).parent / "pictures"


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


def draw_shaped(checkpoints: Path) -> None:
    """Evaluations of plain and shaped runs, in the same unshaped score."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for preset, color in (("cartpole", "tab:blue"), ("cartpole_shaped", "tab:orange")):
        runs = sorted((checkpoints / "CartPole-v1").glob(f"{preset}-seed*/evaluations.jsonl"))
        curves = [read_lines(run) for run in runs]
        for lines in curves:
            axes.plot(
                [e["step"] for e in lines], [e["mean"] for e in lines], color=color, alpha=0.35
            )
        if not curves:
            sys.exit(f"there is no run of {preset}.yaml in {checkpoints}")
        common = range(min(map(len, curves)))
        means = [np.mean([lines[i]["mean"] for lines in curves]) for i in common]
        steps = [curves[0][i]["step"] for i in common]
        name = f"{preset}.yaml, {len(curves)} seeds and their mean"
        axes.plot(steps, means, color=color, linewidth=2, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("score (unshaped)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(HERE / "cartpole_shaped.png", dpi=80)


if __name__ == "__main__":
    draw_huber()
    draw_shaped(Path(sys.argv[1]))
