"""The address of an existing Ray cluster, tried before Ray itself joins: within seconds there is an
answer, or one sentence."""

import subprocess
import sys
from pathlib import Path

from dqn.config import ConfigError

ANSWER_SECONDS = 7.0
"""How long a cluster may take to answer."""

JOIN_SECONDS = 30.0
"""How long joining one that answers may take."""

CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` leaves its address."""


def current_cluster() -> str:
    """The address of the cluster that this machine was made a node of.

    Raises:
        ConfigError: this machine is not a node of a cluster.
    """
    try:
        return CURRENT_CLUSTER.read_text().strip()
    except OSError:
        raise ConfigError(
            "--address is auto, but this machine is a node of no Ray cluster; start one with "
            "`ray start --head`, or leave --address out"
        ) from None


def check_answers(address: str) -> None:
    """Ask a Ray head whether it is there; Ray's own client would wait for minutes.

    Raises:
        ConfigError: nothing answers.
    """
    import grpc

    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()) or "/" in host:
        raise ConfigError(f"--address must be auto or HOST:PORT, not {address}")
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=ANSWER_SECONDS)
        except grpc.RpcError:
            raise ConfigError(
                f"no Ray cluster answers at {address}; start one with `ray start --head`, or leave "
                "--address out"
            ) from None


def try_to_join(address: str) -> None:
    """Join a cluster in another process first: where that fails, Ray may wait forever or end the
    process.

    Raises:
        ConfigError: it cannot be joined from this machine.
    """
    script = "import ray, sys; ray.init(sys.argv[1], logging_level='ERROR', log_to_driver=False)"
    try:
        subprocess.run(
            [sys.executable, "-c", script, address],
            check=True, capture_output=True, text=True, timeout=JOIN_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        reason = f"no success in {JOIN_SECONDS:.0f} s"
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["it crashed"])[-1].rstrip(".")[:200]
    else:
        return
    raise ConfigError(
        f"cannot join the Ray cluster at {address} from here ({reason}); this machine must be a "
        f"node of it: `ray start --address {address}`"
    )
