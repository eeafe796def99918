"""A Ray cluster: joining one, or starting a local one, and whether its nodes can do the work.

Ray takes a second to import and may be missing, so it is imported inside functions.
"""

import contextlib
import hashlib
import logging
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dqn
from dqn.config import ConfigError
from dqn.config.words import counted
from dqn.device import cores
from dqn.scale.address import check_answers, current_cluster, try_to_join
from dqn.storage.provenance import as_text, versions

log = logging.getLogger("dqn")

LOOPBACK = ("127.0.0.1", "localhost", "::1")

PROBE_SECONDS = 60.0
"""How long a node may take to import the program."""

OBJECT_STORE_BYTES = 200 * 2**20
"""Shared memory of a local cluster; where /dev/shm is smaller, Ray uses /tmp."""

PROGRAM = Path(dqn.__file__).parent
"""The folder of the package."""


class Found(NamedTuple):
    """What a probe found on its node."""

    versions: dict[str, str]
    source: str
    sees_token: bool


@contextlib.contextmanager
def connect(address: str | None, store_bytes: int = OBJECT_STORE_BYTES) -> Iterator[None]:
    """Join the cluster at ``auto`` or ``HOST:PORT``, or start a local one that ends with the
    context and listens on loopback only.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers there.
    """
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # Ray's default is 15
    }
    if address == "auto":
        named = os.environ.get("RAY_ADDRESS") or "auto"
        address = current_cluster() if named == "auto" else named
    if address is None or address.rpartition(":")[0] in LOOPBACK:
        # Ray's own switch for loopback, which macOS has by default. Without it Ray replaces
        # 127.0.0.1 by the machine's address.
        environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    has_token = (Path.home() / ".ray" / "auth_token").exists() or "RAY_AUTH_TOKEN" in os.environ
    if address is not None and has_token:  # as `ray start` and a local cluster do by themselves
        environment["RAY_AUTH_MODE"] = "token"
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        from ray._private import worker
    except ModuleNotFoundError:
        raise ConfigError(
            "Ray is not installed; type `pip install -r requirements-ray.txt`"
        ) from None
    # It prints the log of every node that dies; Ray has no option for that.
    worker.print_to_stdstream = lambda *_, **__: None
    if address is not None:
        check_answers(address)
        try_to_join(address)
    # Workers import the program from here, wherever the command was started.
    code = ray.job_config.JobConfig(_py_driver_sys_path=[str(PROGRAM.parent)])
    options: dict[str, Any] = {
        "job_config": code, "log_to_driver": False, "logging_level": "ERROR",
    }  # fmt: skip
    before = signal.getsignal(signal.SIGTERM)  # which Ray replaces
    try:
        if address is None:
            log.info("Starting a Ray cluster on this machine; it takes some ten seconds.")
            ray.init(
                "local", num_cpus=cores(), include_dashboard=False,
                object_store_memory=store_bytes, **options,
            )  # fmt: skip
        else:
            ray.init(address, **options)
        signal.signal(signal.SIGTERM, before)
        yield
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)


def alive_nodes() -> dict[str, dict[str, Any]]:
    """The nodes of the cluster by their ids."""
    import ray

    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def node_name(node: dict[str, Any]) -> str:
    """A node as it is shown: host and address."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def check_resources(cpus: float, gpus: float) -> None:
    """Refuse what no node has: Ray would wait for it forever.

    Raises:
        ConfigError: no node has that many.
    """
    nodes = [node["Resources"] for node in alive_nodes().values()]
    if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        return
    for kind, wanted in (("CPU", cpus), ("GPU", gpus)):
        most = max(node.get(kind, 0) for node in nodes)
        if wanted > most:
            raise ConfigError(
                f"a run needs {_amount(wanted, kind)}, but no node of the cluster has more than "
                f"{most:g}"
            )
    both = f"{_amount(cpus, 'CPU')} and {_amount(gpus, 'GPU')}"
    raise ConfigError(f"no node of the cluster has both {both} for a run")


def _amount(wanted: float, kind: str) -> str:
    return f"{wanted:g} {kind}{'s' * (wanted != 1)}"


def check_places(actors: int, cpus: int) -> None:
    """Refuse more actors, with ``cpus`` each, than the nodes have places for.

    Raises:
        ConfigError: they have fewer.
    """
    nodes = alive_nodes().values()
    places = sum(int(node["Resources"].get("CPU", 0)) // cpus for node in nodes)
    if actors > places:
        raise ConfigError(
            f"the cluster has no room for {counted(actors, 'actor')} with {counted(cpus, 'CPU')} "
            f"each, only for {places}"
        )


def check_folder(folder: Path) -> None:
    """Refuse a cluster in which a node lacks this very program, or does not see the runs' folder.

    Raises:
        ConfigError: one sentence that names the node and what it lacks.
    """
    token = folder / f".token-{uuid.uuid4().hex}"
    try:
        token.write_text(token.name)
        check_program(token)
    except OSError as error:
        raise ConfigError(f"cannot write in {folder}: {error.strerror}") from None
    finally:
        token.unlink(missing_ok=True)


def check_program(token: Path | None = None) -> None:
    """Refuse a cluster in which a node lacks this very program, or does not see ``token``, which
    contains its name.

    Raises:
        ConfigError: one sentence that names the node and what it lacks.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(probe)
    nodes = alive_nodes()
    probes = {
        node_id: remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
        ).remote(token)
        for node_id in nodes
    }
    for node_id, found in probes.items():
        where = f"node {node_name(nodes[node_id])}"
        try:
            theirs = Found(*ray.get(found, timeout=PROBE_SECONDS))
        except ray.exceptions.GetTimeoutError:
            raise ConfigError(f"{where} did not answer for {PROBE_SECONDS:.0f} s") from None
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[-1][:200]
            raise ConfigError(
                f"{where} cannot import this program ({reason}); it must be at {PROGRAM} there "
                "too, or be installed"
            ) from None
        check_same(where, theirs)
        if token and not theirs.sees_token:
            raise ConfigError(
                f"{where} does not see {token.parent}; --checkpoints-dir must be on storage that "
                "all nodes share, under the same path"
            )


def check_same(where: str, theirs: Found) -> None:
    """Refuse a node that has another program than this one.

    Raises:
        ConfigError: one sentence that names the node and what differs.
    """
    ours = versions()
    different = {name: v for name, v in theirs.versions.items() if ours.get(name) != v}
    if different:
        mine = {name: ours[name] for name in different if name in ours}
        raise ConfigError(
            f"{where} has {as_text(different)}, not {as_text(mine)}; equal bits need equal versions"
        )
    if theirs.source != source_digest():
        raise ConfigError(f"{where} has a different copy of this program from the one at {PROGRAM}")


def probe(token: Path | None) -> tuple[dict[str, str], str, bool]:
    """What a node has: versions, the program's digest, and whether it sees a file."""
    try:
        seen = token is not None and token.read_text() == token.name
    except OSError:
        seen = False
    return versions(), source_digest(), seen


def source_digest() -> str:
    """A digest of the program's text: the version alone does not tell two checkouts apart."""
    digest = hashlib.sha256()
    for path in sorted(PROGRAM.rglob("*.py")):
        digest.update(str(path.relative_to(PROGRAM)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
