"""What lies in a run's folder beside its record."""

import json
import os

from dqn.report.run_files import fresh_evaluation, provenance_of

SCORES = {
    "game": "Pong", "step": 9, "protocol": "classic", "epsilon": 0.05, "returns": [1], "mean": 1.0,
    "checkpoint": "best", "seed": 0,
}  # fmt: skip


def test_the_head_of_a_config(tmp_path):
    assert provenance_of(tmp_path) == {}
    file = tmp_path / "config.yaml"
    file.write_text("# game: Pong\n# commit: ab12\n# torch 2.13.0+cpu\n# odd\ngame: Pong\n# x: y\n")
    assert provenance_of(tmp_path) == {"game": "Pong", "commit": "ab12", "torch": "2.13.0+cpu"}
    file.write_bytes(b"# game: \xff\n")
    assert provenance_of(tmp_path) == {}


def test_the_newest_file_that_evaluate_wrote(tmp_path):
    """Other and broken .json files are none."""
    others = {"a.json": "{", "b.json": "[]", "c.json": json.dumps(SCORES | {"mean": None})}
    others["d.json"] = "[" * 100_000
    for number, returns in enumerate(([], [1, "2"], [None])):
        others[f"e{number}.json"] = json.dumps(SCORES | {"returns": returns})
    others["f.json"] = json.dumps(SCORES | {"epsilon": 10**400})
    others["g.json"] = json.dumps(SCORES | {"returns": [10**400]})
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    assert fresh_evaluation(tmp_path) is None
    for name, seconds, mean in (("old.json", 1, 1.0), ("new.json", 3, 2.0), ("mid.json", 2, 3.0)):
        (tmp_path / name).write_text(json.dumps(SCORES | {"mean": mean}))
        os.utime(tmp_path / name, (seconds, seconds))
    found = fresh_evaluation(tmp_path)
    assert (found["file"], found["mean"]) == ("new.json", 2.0)
