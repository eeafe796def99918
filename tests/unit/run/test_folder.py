"""The lock on a run's folder, and what is left of the folder."""

import shutil

from dqn.run.folder import RunFolder


def test_only_what_was_created_and_left_empty_is_deleted(tmp_path):
    for game in ("Pong", "Breakout"):
        folder = RunFolder(tmp_path / "checkpoints" / game / "dqn-seed1")
        if game == "Breakout":
            (folder.path / "train.log").touch()
        folder.close()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["Breakout"]


def test_a_folder_that_somebody_deleted_is_closed_all_the_same(tmp_path):
    path = tmp_path / "dqn-seed1"
    folder = RunFolder(path)
    shutil.rmtree(path)
    folder.close()
    RunFolder(path).close()


def test_a_folder_with_nothing_but_a_log_is_no_run_to_set_aside(tmp_path):
    folder = RunFolder(tmp_path / "dqn-seed1")
    (folder.path / "train.log").touch()
    assert folder.set_aside() is None
    (folder.path / "config.yaml").touch()
    aside = folder.set_aside()
    assert aside and (aside / "config.yaml").exists()
    assert [path.name for path in folder.path.iterdir()] == [".lock"]
    folder.close()
