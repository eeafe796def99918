"""What every test file shares: one thread, no deadline, no GPU where there is none."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

import dqn.run.session
import dqn.tabular.table

hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")
torch.set_num_threads(1)

SIGNALS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--kills 100``: how often tests/test_kills.py kills its run."""
    parser.addoption("--kills", type=int, default=6, help="kills in tests/test_kills.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU where torch has none to use."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="torch can use no NVIDIA GPU here")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(autouse=True, scope="session")
def _no_curves() -> Iterator[None]:
    """In this process nobody looks at curves.png and table.png, half a second each time, but
    test_run_folder.py and a test of the lessons; processes that tests start draw them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dqn.run.session, "draw_curves", lambda *_: None)
        patch.setattr(dqn.tabular.table, "draw_table", lambda *_: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_syncing() -> Iterator[None]:
    """In this process nobody waits for the disk, a sixth of the suite's time: no power is cut
    here but test_faults.py's own, which counts what was synced. Processes that tests start sync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """A test that trains sets torch's threads and arithmetic; the next one begins as the first."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def _signals_are_heard() -> None:
    """Children inherit what this process ignores: a shell's background job ctrl-C, one of nohup
    SIGHUP, and a test that trained here until it was stopped, all of them."""
    for number, handler in SIGNALS.items():
        signal.signal(number, handler)


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT
