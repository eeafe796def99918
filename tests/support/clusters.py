"""Ray clusters of several nodes on this machine, on loopback, with real raylets."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from main import main
from support.processes import ROOT, Process, start_python
from support.runs import NEVER, assert_same

NODES = """
import os, sys
from ray.cluster_utils import Cluster
cpus = int(sys.argv[1])
head = {"num_cpus": cpus, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
second = cluster.add_node(num_cpus=1)
print(cluster.address, second.node_id, flush=True)
sys.stdin.readline()
cluster.remove_node(second, allow_graceful=False)
print("killed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""

ENVIRONMENT = os.environ | {
    "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
    "RAY_worker_niceness": "0",
}  # fmt: skip


class Nodes:
    """Two nodes; the second one has one CPU and can be killed."""

    def __init__(self, cpus: int) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", NODES, str(cpus)],
            stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        assert self._process.stdout
        self.address, self.second = self._process.stdout.readline().split()

    def kill_second(self) -> None:
        """SIGKILL all processes of the second node but its workers, which notice."""
        self._say()
        assert self._process.stdout
        assert self._process.stdout.readline() == "killed\n"

    def _say(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """End all nodes."""
        assert self._process.stdin
        self._process.stdin.write("\n\n")
        self._process.stdin.close()
        self._process.wait(60)


@contextmanager
def nodes(cpus: int = 1) -> Iterator[Nodes]:
    """Two nodes that end with the context; the first one has so many CPUs."""
    found = Nodes(cpus)
    try:
        yield found
    finally:
        found.stop()


def actors_of(process: Process) -> list[psutil.Process]:
    """The processes of the actors that a local cluster has for a run."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it ended
            found += [child] * child.cmdline()[0].startswith("ray::RemoteWorker")
    return found


def finish_python(folder: Path, options: list[str], *more: str) -> str:
    """Train to the end by ``python main.py``; returns its stderr."""
    process = start_python(folder, options, NEVER, *more)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


class Suite:
    """``python main.py suite`` in a process of its own."""

    def __init__(self, folder: Path, options: list[str], *more: str) -> None:
        self.folder = folder
        command = [sys.executable, str(ROOT / "main.py"), "suite", *options, *more]
        self._process = subprocess.Popen(
            [*command, f"--checkpoints-dir={folder}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip

    def notes(self) -> dict[str, dict[str, Any]]:
        """What each task has said of its node and process, by the note's name."""
        found = {}
        for path in self.folder.glob("suites/*/.run_*.json"):
            try:
                found[path.stem] = json.loads(path.read_text())
            except FileNotFoundError:  # just replaced
                continue
        return found

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Look every few milliseconds, as long as it runs; returns what is true."""
        while not (found := condition()):
            assert self._process.poll() is None, self._process.communicate()
            time.sleep(0.02)
        return found

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> tuple[int, str, str]:
        """Its exit status, and what it wrote to stdout and stderr."""
        out, err = self._process.communicate(timeout=240)
        return self._process.returncode, out, err


def suite_json(folder: Path) -> dict[str, Any]:
    """What the one suite in a checkpoints folder says of its runs."""
    (file,) = folder.glob("suites/*/suite.json")
    return json.loads(file.read_text())


def train_alone(folder: Path, tmp_path: Path) -> None:
    """The command that suite.json gives of each run, in another folder: the same bits."""
    alone = tmp_path / "alone"
    for run in suite_json(folder)["runs"]:
        program, *arguments = shlex.split(run["command"])[1:]
        assert program == "main.py"
        assert main([*arguments, f"--checkpoints-dir={alone}", NEVER]) == 0
        assert_same(folder / run["run"], alone / run["run"])
