"""Finding a run, and one of its checkpoints, by what was typed."""

import os

import pytest
from support.learners import CPU
from support.runs import TINY, train

from dqn.commands.evaluate import make_model
from dqn.config import ConfigError
from dqn.storage.saved_run import load_agent, run_config, runs_in


def test_a_step_may_be_typed_as_any_number_or_as_a_folder_is_called(tmp_path):
    run = str(train(tmp_path, ["--game=CartPole-v1", *TINY]))
    for typed in ("40", "4_0", "4e1", "0.4e2", "step_000000040", "latest"):
        assert load_agent(make_model, run, typed, CPU).name == "step_000000040", typed


def test_the_three_newest_runs_are_advised_and_none_that_was_moved_aside(tmp_path):
    folders = [tmp_path / "Pong" / f"dqn-seed{n}" for n in (1, 2, 3, 4, 5)]
    for seconds, folder in zip((30, 50, 10, 40, 20), folders, strict=True):
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
        os.utime(folder, (seconds, seconds))
    aside = folders[0].with_name("dqn-seed1.old-20260101-120000-000001")
    aside.mkdir()
    (aside / "config.yaml").touch()
    assert runs_in(tmp_path) == runs_in(tmp_path / "Pong") == folders
    newest = " or ".join(str(folders[n]) for n in (1, 3, 0))
    with pytest.raises(ConfigError, match=f"no config.yaml; try {newest}$"):
        run_config(tmp_path)
