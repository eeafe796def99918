"""The tables of docs/results/ are what docs/results/make.py makes of the raw results."""

import importlib.util
import shutil

import pytest
from PIL import Image
from support.processes import ROOT

RESULTS = ROOT / "docs" / "results"
STUDIES = sorted(path.name for path in (RESULTS / "data").iterdir())

spec = importlib.util.spec_from_file_location("make", RESULTS / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


@pytest.mark.parametrize("study", STUDIES)
def test_a_page_has_the_table_and_the_picture_of_its_data(study, tmp_path):
    page = tmp_path / f"{study}.md"
    shutil.copy(RESULTS / page.name, page)
    text = page.read_text(encoding="utf-8")
    assert f"{study}.png" in text
    row = text.index("\n", text.index(make.BEGIN)) + 1
    page.write_text(text[:row] + text[row:].partition("\n")[2], encoding="utf-8")  # a row is gone
    make.make(study, tmp_path)
    assert page.read_text(encoding="utf-8") == text
    with (
        Image.open(tmp_path / f"{study}.png") as made,
        Image.open(RESULTS / f"{study}.png") as kept,
    ):
        assert made.size == kept.size


@pytest.mark.parametrize("study", STUDIES)
def test_a_result_names_what_it_depends_on(study):
    for run in make.read_study(RESULTS / "data" / study):
        for name in ("commit", "machine", "protocol", "precision", "config_sha256"):
            assert run[name], (run["group"], name)
        assert all(len(line["returns"]) > 1 for line in run["evaluations"])
