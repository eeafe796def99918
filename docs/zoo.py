"""Put trained agents into checkpoints/, with their cards and films, and write docs/zoo.md's table.

    python docs/zoo.py add NAME RUN --about TEXT   # score a run's best model once, and ship it
    python docs/zoo.py pages                       # write the cards and the table again

An agent's folder holds what its card is made of: the run's config and all its reports and
evaluations (``config.yaml``, ``training.jsonl``, ``evaluations.jsonl``), the model (``best``), the
scores of games that chose nothing (``scores.json``), and what only a person knows (``card.json``).
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from dqn.__main__ import main as dqn
from dqn.config import Config
from dqn.config.shipped import AGENTS
from dqn.config.words import counted
from dqn.envs import ScreenEnvironment, atari_rom
from dqn.envs.atari import FRAME_SKIP
from dqn.evaluation.gif import film
from dqn.evaluation.scores import human_score, mean_interval, random_score
from dqn.report.curves import draw_curves, read_lines
from dqn.report.run_files import provenance_of
from dqn.storage.manifest import read_manifest
from dqn.storage.saved_run import run_config

ROOT = Path(__file__).parents[1]
FRESH_SEED = 1000
EPISODES = 100
AGENT_BYTES = 1_990_000  # all files of an agent
FILM_BYTES = 290_000
FILM_SECONDS = 60
PAGE = ROOT / "docs" / "zoo.md"
BEGIN, END = "<!-- written by docs/zoo.py -->\n", "<!-- up to here -->\n"

CARD = """# {game}: {mean:.1f}

    python main.py play {name} --gif {name}.gif
    python main.py watch {name}
    python main.py evaluate {name}

![{game}, played by this agent](film.gif)

{about}

| | |
|---|---|
| game | {game}, {package} |
| score | **mean {mean:.1f}** (95 % interval {low:.1f} to {high:.1f}), {spread} |
| scored on | {episodes} fresh games (`evaluate --seed {fresh_seed}`), once, after it was chosen |
| protocol | {protocol}; epsilon {epsilon:g}; raw scores of whole games |
| published | {published} |
| chosen as | the best of the run's {evaluations} |
| trained for | {step:,} steps{frames} |
| config | `{config}`, in full in `config.yaml` |
| seed, precision | {seed}, {precision} |
| commit | {commit} |
| hardware | {machine}, threads: {threads}; torch {torch}, Python {python} |

![Score, q-values, epsilon and loss of the run](curves.png)
"""


def scores_file(name: str) -> Path:
    """The scores of an agent's fresh games."""
    return ROOT / "checkpoints" / name / "scores.json"


def model_digest(folder: Path) -> str:
    """The sha256 of an agent's weights."""
    return read_manifest(folder / "best").files["model.safetensors"].sha256


def add(name: str, run: Path, about: str) -> None:
    """Copy the best model and the record of ``run`` into checkpoints/NAME; score and film it."""
    scores = scores_file(name)
    folder = scores.parent
    if scores.exists():
        raise SystemExit(f"{name} has been scored, and an agent is scored once")
    shutil.copytree(run / "best", folder / "best", dirs_exist_ok=True)
    for record in ("config.yaml", "evaluations.jsonl", "training.jsonl"):
        shutil.copy(run / record, folder)
    config = run_config(folder)
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    text = text.replace(f"dir: {config.checkpoints_dir}\n", "dir: checkpoints\n")
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    known = {"config": run.name.removesuffix(f"-seed{config.seed}"), "about": about}
    (folder / "card.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    draw_curves(folder, f"{config.game}, {run.name}", str(config.game))
    typed = [str(folder), f"--seed={FRESH_SEED}"]
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "scores.json"
        if dqn(["evaluate", *typed, f"--episodes={EPISODES}", f"--json={file}"]):
            raise SystemExit(f"{name} cannot be scored")
        result = json.loads(file.read_bytes()) | {"run": name, "model": model_digest(folder)}
    left = AGENT_BYTES - sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    _film(typed, config, folder / "film.gif", min(left, FILM_BYTES))
    scores.write_text(json.dumps(result, separators=(",", ":")) + "\n", encoding="utf-8")


def _film(typed: list[str], config: Config, file: Path, limit: int) -> None:
    """The first seconds of a game, as many as fit into ``limit`` bytes."""
    environment = ScreenEnvironment(config)
    rate = environment.decisions_per_second
    environment.close()
    with tempfile.TemporaryDirectory() as pictures:
        if dqn(["play", *typed, f"--png={pictures}"]):
            raise SystemExit("the game cannot be filmed")
        for seconds in range(FILM_SECONDS, 0, -5):
            for picture in sorted(Path(pictures).iterdir())[seconds * rate :]:
                picture.unlink()
            content, _, _ = film(Path(pictures), rate)
            if len(content) <= limit:
                break
    file.write_bytes(content)


def card(name: str) -> dict[str, Any]:
    """What is known of a shipped agent."""
    folder = AGENTS[name]
    config, made = run_config(folder), provenance_of(folder)
    scores = json.loads(scores_file(name).read_bytes())
    returns, game = scores["returns"], scores["game"]
    mean, low, high = mean_interval(returns)
    lines = read_lines(folder / "evaluations.jsonl")
    means = ", ".join(f"{line['mean']:.1f} at {line['step']:,}" for line in lines)
    known = {"a random player": random_score(game), "a human tester": human_score(game)}
    published = ", ".join(f"{who} {score:g}" for who, score in known.items() if score is not None)
    packaged = "ale-py" if atari_rom(config.game) else "gymnasium"
    known_to_a_person: dict[str, Any] = json.loads((folder / "card.json").read_bytes())
    return made | known_to_a_person | {
        "name": name, "game": game, "package": f"{packaged} {made[packaged]}",
        "mean": mean, "low": low, "high": high,
        "spread": f"median {scores['median']:g}, least {min(returns):g}, "
        f"greatest {max(returns):g}",
        "episodes": len(returns), "fresh_seed": scores["seed"],
        "protocol": scores["protocol"], "epsilon": scores["epsilon"],
        "published": f"{published} (other protocols)" if published else "-",
        "evaluations": f"{counted(len(lines), 'evaluation')} of {len(lines[0]['returns'])} games "
        f"each: {means}",
        "step": scores["step"],
        "frames": f" ({FRAME_SKIP * scores['step']:,} frames)" if atari_rom(config.game) else "",
        "seed": config.seed, "precision": config.precision,
    }  # fmt: skip


def table() -> str:
    """A line an agent."""
    lines = [
        "| | agent | score, 100 fresh games | random, human | trained for | protocol |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(AGENTS):
        about = card(name)
        lines.append(
            f"| ![{name}](../checkpoints/{name}/film.gif) "
            f"| [{name}](../checkpoints/{name}/README.md) "
            f"| **{about['mean']:.1f}** ({about['low']:.1f} to {about['high']:.1f}) "
            f"| {about['published']} | {about['step']:,} steps{about['frames']} "
            f"| {about['protocol']}, epsilon {about['epsilon']:g} |"
        )
    return "\n".join([*lines, ""])


def pages() -> dict[Path, str]:
    """The text of every card, and of docs/zoo.md with its table."""
    cards = {AGENTS[name] / "README.md": CARD.format(**card(name)) for name in AGENTS}
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return cards | {PAGE: f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"}


def main() -> None:
    """Add an agent, or only write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add")
    adding.add_argument("name")
    adding.add_argument("run", type=Path)
    adding.add_argument("--about", required=True)
    commands.add_parser("pages")
    options = parser.parse_args()
    if options.command == "add":
        add(options.name, options.run, options.about)
        AGENTS[options.name] = ROOT / "checkpoints" / options.name
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
