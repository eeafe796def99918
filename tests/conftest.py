"""What every test file shares: one thread, no deadline, no GPU where there is none."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

import dqn.device
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
    """How long the long tests are."""
    parser.addoption("--kills", type=int, default=6, help="kills in soak/test_kills.py")
    parser.addoption("--seeds", type=int, default=3, help="seeds in integration/test_learning.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its folder's name; skip what needs a GPU where there is none."""
    skip = pytest.mark.skip(reason="torch can use no NVIDIA GPU here")
    has_gpu = torch.cuda.is_available()
    for item in items:
        item.add_marker(item.path.relative_to(ROOT / "tests").parts[0])
        if item.get_closest_marker("gpu") and not has_gpu:
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


@pytest.fixture(autouse=True, scope="session")
def _one_core() -> Iterator[None]:
    """In this process ``threads: 0`` is one thread: two that wait for each other beside a second
    pytest worker take ten times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dqn.device, "cores", lambda: 1)
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
