"""Bring what runs recorded into docs/results/data/, a JSON file a run.

    python docs/results/collect.py STUDY NAME=RUN [NAME=RUN ...] [--commit C] [--machine M]
                                   [--stopped]

``STUDY`` is a folder of ``data/``; ``NAME`` ends in the seed: ``bfloat16-seed1``. Commit and
machine are read from the run's config.yaml unless the options name them. A run that was stopped
before its end is refused without ``--stopped``.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from dqn.config import Config
from dqn.config.yaml_file import as_yaml
from dqn.report.run_files import provenance_of
from dqn.report.run_record import read_run
from dqn.storage.files import sha256

DATA = Path(__file__).parent / "data"
VERSIONS = ("python", "torch", "ale-py", "gymnasium")
GPU_VERSIONS = ("cuda", "cudnn", "driver")
SHOWN = ("step", "minutes", "returns", "lengths", "protocol", "epsilon")


def record(run: str, commit: str, machine: str) -> dict[str, Any]:
    """What a results table must name, every evaluation, and the mean return of every report."""
    found = read_run(run)
    head = provenance_of(found.path)
    reports = [[line["step"], line["minutes"], line["mean_return"]] for line in found.training]
    on_gpu = head["device"] != "cpu"
    if not machine and "machine" in head:
        machine = f"{head['device']}; {head['machine']}" if on_gpu else head["machine"]
    # config_sha256 is the same for all seeds
    default = Config()
    settings = dataclasses.replace(
        found.config, seed=default.seed, checkpoints_dir=default.checkpoints_dir
    )
    return {
        "game": found.config.game,
        "seed": found.config.seed,
        "commit": commit or head.get("commit"),
        "machine": machine,
        "versions": {name: head[name] for name in VERSIONS + GPU_VERSIONS * on_gpu},
        "protocol": head["protocol"],
        "total_steps": found.config.total_steps,
        "precision": found.config.precision,
        "config_sha256": sha256(as_yaml(settings).encode()),
        "evaluations": [
            {key: line[key] for key in SHOWN} | {"cut": line.get("cut", 0)}
            for line in found.evaluations
        ],
        "training": reports,
    }


def main() -> None:
    """Write the file of each run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study")
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--commit", default="")
    parser.add_argument("--machine", default="")
    parser.add_argument("--stopped", action="store_true")
    options = parser.parse_args()
    (DATA / options.study).mkdir(parents=True, exist_ok=True)
    for argument in options.runs:
        name, _, run = argument.partition("=")
        content = record(run, options.commit, options.machine)
        if not content["evaluations"]:
            parser.error(f"{run} has no evaluation yet")
        last = content["evaluations"][-1]["step"]
        if last < content["total_steps"] and not options.stopped:
            parser.error(f"{run} is not finished: its last evaluation was at step {last:,}")
        if not content["commit"] or not content["machine"]:
            parser.error(f"{run} does not say by which commit and where; give --commit, --machine")
        text = json.dumps(content, separators=(",", ":"))
        text = text.replace("],[", "],\n[").replace('},{"step"', '},\n{"step"')
        (DATA / options.study / f"{content['game']}_{name}.json").write_text(
            f"{text}\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
