"""Run lessons with several seeds, and score each once: the rows of docs/results/classic.md.

``python docs/lessons.py cartpole cartpole_reinforce --seeds 1 2 3 4 5`` trains each preset with
each seed (a run that is there goes on, a finished one is left as it is), plays 100 episodes that no
run has met, each run others, by its best checkpoint, and prints a row of the table.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from dqn.storage.saved_run import load_agent
from dqn.tabular.agent import make_model
from dqn.tabular.table import PolicyTable

ROOT = Path(__file__).parent.parent
BEST_PATH = {0: 1, 1: 1, 2: 2, 5: 3, 4: 2, 7: 1}
"""Of the maze, cell and action: S0 S1 S2 S5 S4 S7 S8."""
GOALS = {
    "maze_q_learning": -6, "maze_sarsa": -6, "maze_policy_gradient": -6, "cartpole_q_table": 195,
    "cartpole": 475, "cartpole_shaped": 475, "cartpole_reinforce": 475, "lunarlander": 200,
}  # fmt: skip


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="+", metavar="PRESET", help="such as cartpole_q_table")
    parser.add_argument("--seeds", nargs="+", default=["1", "2", "3", "4", "5"], metavar="S")
    parser.add_argument("--checkpoints-dir", default="checkpoints", metavar="FOLDER")
    options = parser.parse_args()
    for preset in options.presets:
        for seed in options.seeds:
            print(row(preset, seed, options.checkpoints_dir), flush=True)


def row(preset: str, seed: str, folder: str) -> str:
    """Preset, seed, goal, score, step of the best, last evaluation, seconds of this call's
    training."""
    began = time.monotonic()
    call(f"--config={ROOT}/configs/{preset}.yaml", f"--seed={seed}", f"--checkpoints-dir={folder}")
    seconds = time.monotonic() - began
    (run,) = Path(folder).glob(f"*/{preset}-seed{seed}")
    report = run / "scores.json"
    best = "evaluate", str(run), "--checkpoint=best", "--episodes=100"
    call(*best, f"--seed={1000 + int(seed)}", f"--json={report}")
    scores = json.loads(report.read_text())
    returns = scores["returns"]
    last = json.loads((run / "evaluations.jsonl").read_text().splitlines()[-1])
    score = f"{scores['mean']:.2f} ({min(returns):.4g} to {max(returns):.4g})"
    if preset == "maze_policy_gradient":
        score += f"; least chance on the path {least_chance(run):.4f}"
    cells = [
        f"`{preset}.yaml`", seed, str(GOALS.get(preset, "-")), score, f"{scores['step']:,}",
        f"{last['step']:,}; {last['mean']:.1f}", f"{seconds:.0f} s",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def least_chance(run: Path) -> float:
    """Of a move on the maze's best path, by the table that the run ended with."""
    table = load_agent(make_model, str(run), "latest", torch.device("cpu")).model
    assert isinstance(table, PolicyTable)
    chances = table.probabilities()
    return min(float(chances[cell, action]) for cell, action in BEST_PATH.items())


def call(*arguments: str) -> None:
    """``main.py`` in a process of its own; what it says is shown if it fails."""
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")


if __name__ == "__main__":
    main()
