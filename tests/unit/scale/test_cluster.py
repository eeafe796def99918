"""What nodes of a Ray cluster must have."""

import contextlib
import signal
from pathlib import Path

import pytest

from dqn.config import ConfigError
from dqn.scale import cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@contextlib.contextmanager
def refusal(sentence: str):
    with pytest.raises(ConfigError) as refused:
        yield
    assert sentence in str(refused.value)


def test_what_a_node_lacks_is_said_at_once(tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    with cluster.connect(None):
        assert signal.getsignal(signal.SIGTERM) is before, "Ray has one of its own"
        cluster.check_folder(tmp_path)
        cluster.check_resources(1, 0)
        with refusal("a run needs 500 CPUs, but no node of the cluster has more than"):
            cluster.check_resources(500, 0)
        with refusal("a run needs 0.5 GPUs, but no node of the cluster has more than 0"):
            cluster.check_resources(1, 0.5)
        with monkeypatch.context() as patch, refusal("has a different copy of this program from"):
            patch.setattr(cluster, "source_digest", lambda: "another")
            cluster.check_folder(tmp_path)
        with monkeypatch.context() as patch, refusal("not torch 1.0; equal bits need equal"):
            patch.setattr(cluster, "versions", lambda: {"torch": "1.0"})
            cluster.check_folder(tmp_path)
        # The driver alone believes that it wrote something.
        with monkeypatch.context() as patch, refusal("on storage that all nodes share"):
            patch.setattr(Path, "write_text", lambda *_: None)
            cluster.check_folder(tmp_path)
        assert not list(tmp_path.iterdir())
