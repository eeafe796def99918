"""What every test shares: its tier's marker, one thread, no waiting for pictures or the disk."""

import io
import os
import re
import signal
from pathlib import Path

import hypothesis
import pytest
import torch
from support.mutants import choose

from main import main

# As dqn.scale.cluster sets it: Ray reads it when it is imported, which some test may do first.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.register_profile(  # make mutants: no one reads the smallest example
    "mutants", hypothesis.settings.get_profile("house"), database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)  # fmt: skip
hypothesis.settings.load_profile("mutants" if "MUTANT_UNDER_TEST" in os.environ else "house")
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
    choose(items)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting():
    """For this process only, not for those that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        # Half a second for each curves.png or table.png; tests of the pictures put it back.
        patch.setattr("dqn.run.session.draw_curves", lambda *_: None)
        patch.setattr("dqn.tabular.table.draw_table", lambda *_: None)
        # A sixth of the suite's time; FaultyDisk counts the calls.
        patch.setattr(os, "fsync", lambda _: None)
        # ``threads: 0`` is one thread: two that wait for each other beside a second pytest worker
        # take ten times as long.
        patch.setattr("dqn.device.cores", lambda: 1)
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    """Undo what training sets: torch's number of threads, its rounding of tiny numbers, and the
    precision of convolutions on a GPU, without whose default torch.export refuses to work."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)
    torch.backends.cudnn.conv.fp32_precision = "tf32"


@pytest.fixture(autouse=True)
def _environment():
    """Undo what joining a Ray cluster sets: Ray itself read it when it was imported."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


@pytest.fixture(autouse=True)
def _default_signals():
    """Undo ignored signals, which child processes would inherit: a shell's background job ignores
    Ctrl-C, nohup SIGHUP, and a training that was stopped in this process all of them."""
    for number, handler in SIGNALS.items():
        signal.signal(number, handler)


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a terminal so many columns wide, and returns the screen."""

    def make(columns: int) -> io.StringIO:
        screen = io.StringIO()
        screen.isatty, screen.fileno = lambda: True, lambda: 2
        monkeypatch.setattr("sys.stderr", screen)
        monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((columns, 24)))
        return screen

    return make


@pytest.fixture
def root():
    """The repository's folder."""
    return ROOT


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder: each file's bytes by its path; of a folder in it, none."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


INTERNALS = ("Traceback", "<class", "typing.", "Errno", "NoneType", "Given", "pydantic", "Input sh")


@pytest.fixture
def refused(tmp_path, capfd, monkeypatch):
    """The one line that wrong arguments lead to, in a folder of which they change nothing."""
    monkeypatch.chdir(tmp_path)

    def run(arguments: list[str]) -> str:
        before = contents(tmp_path)
        capfd.readouterr()
        status = main(arguments)
        printed = capfd.readouterr()
        assert (status, printed.out, contents(tmp_path)) == (2, "", before), printed.err
        assert re.fullmatch(r"error: [^\n]+[^\n.]\n", printed.err), printed.err
        assert not [word for word in INTERNALS if word in printed.err], printed.err
        return printed.err.removeprefix("error: ").rstrip()

    return run
