"""A run's folder is refused if something in it is not the run's own."""

import pytest

from main import main


@pytest.mark.parametrize("name", [".lock", "train.log", "rewards.txt", ".config.yaml.part", "best"])
def test_a_link_in_the_run_folder(name, tmp_path, capfd):
    """What it points to is somebody else's."""
    run = tmp_path / "checkpoints" / "CartPole-v1" / "dqn-seed1"
    run.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("not yours")
    (run / name).symlink_to(victim)
    assert main(["--game=CartPole-v1", f"--checkpoints-dir={tmp_path / 'checkpoints'}"]) == 2
    assert f"{name} is a link; a run's files are its own" in capfd.readouterr().err
    assert victim.read_text() == "not yours"
    assert [path.name for path in run.iterdir()] == [name]
