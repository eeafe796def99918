"""Folders that appear whole or not at all."""

import os
from pathlib import Path

import pytest

from dqn.storage.files import AtomicFolder


def test_a_folder_that_cannot_be_replaced_keeps_its_content(tmp_path, monkeypatch):
    (tmp_path / "best").mkdir()
    (tmp_path / "best/old").touch()
    rename = os.rename

    def fail_for_the_new(source, target):
        if Path(source).suffix == ".part":
            raise OSError
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_for_the_new)
    with pytest.raises(OSError), AtomicFolder(tmp_path / "best") as part:  # noqa: PT011
        (part / "new").touch()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["best", "best/old"]
