"""What the seeds of a config had reached at equal steps and equal time."""

import itertools
from pathlib import Path

from dqn.config import Config
from dqn.report.groups import by_config, over_seeds
from dqn.report.run_record import RunRecord


def run(seed, *evaluations):
    lines = [dict(zip(("step", "minutes", "mean"), line, strict=True)) for line in evaluations]
    return RunRecord(f"a-seed{seed}", Path(), Config(seed=seed), [], lines)


def test_the_newest_evaluation_of_each_seed_counts():
    slow = run(1, (100, 2, 5), (200, 4, 7), (300, 6, 9))
    fast = run(2, (100, 1, 1), (200, 2, 3))
    assert [(at, values) for at, values, *_ in over_seeds([slow, fast], "step")] == [
        (100, [5, 1]), (200, [7, 3])
    ]  # fmt: skip
    assert over_seeds([slow, fast], "minutes") == [(2, [5, 3], 4, 3, 5)]


def test_there_is_no_median_where_a_seed_has_no_evaluation_or_no_clock():
    seed = run(1, (100, 2, 5))
    assert over_seeds([seed, run(2)], "step") == []
    assert over_seeds([seed, run(2, (100, None, 5))], "minutes") == []
    assert over_seeds([seed, run(2, (300, 9, 5))], "step") == []


def test_configs_of_one_name_are_told_apart_by_their_seeds():
    def named(folder, num_envs, seed):
        return RunRecord(folder, Path(), Config(num_envs=num_envs, seed=seed), [], [])

    runs = [named(f"a-seed{seed}", 1 + seed // 3, seed) for seed in (1, 2, 3, 4)]
    assert [name for name, _ in by_config(runs)] == ["a (seeds 1, 2)", "a (seeds 3, 4)"]
    assert [name for name, _ in by_config([*runs[:2], named("a", 3, 7)])] == [
        "a (seeds 1, 2)", "a (seed 7)"
    ]  # fmt: skip
    assert [name for name, _ in by_config([*runs[:2], runs[2]])] == ["a", "a-seed3"]


def test_a_run_repeated_with_its_seed_is_no_second_seed():
    old = run(1)._replace(folder="a-seed1.old-2026")
    others = [run(seed)._replace(folder=f"b-seed{seed}") for seed in (1, 2)]
    for records in itertools.permutations([run(1), old, run(2), *others]):
        assert {(name, len(runs)) for name, runs in by_config(records)} == {
            ("a", 2), ("a-seed1.old-2026", 1), ("b", 2)
        }  # fmt: skip
