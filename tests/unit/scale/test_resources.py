"""What is asked of a cluster's nodes, before anything starts; the nodes are written here."""

import pytest

from dqn.config import ConfigError
from dqn.scale import cluster
from dqn.scale.cluster import Found, check_places, check_resources, check_same


@pytest.fixture
def _nodes(monkeypatch):
    """One with 4 CPUs, one with 2 CPUs and a GPU, one with neither."""
    found = ({"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}, {})
    nodes = {str(i): {"Resources": resources} for i, resources in enumerate(found)}
    monkeypatch.setattr(cluster, "alive_nodes", lambda: nodes)


@pytest.mark.usefixtures("_nodes")
def test_a_run_fits_on_one_node():
    for cpus, gpus in ((4, 0), (2, 1), (0.5, 0.25)):
        check_resources(cpus, gpus)
    for cpus, gpus, said in (
        (5, 0, "a run needs 5 CPUs, but no node of the cluster has more than 4"),
        (1, 1.5, "a run needs 1.5 GPUs, but no node of the cluster has more than 1"),
        (3, 1, "no node of the cluster has both 3 CPUs and 1 GPU for a run"),
    ):
        with pytest.raises(ConfigError, match=f"^{said}$"):
            check_resources(cpus, gpus)


@pytest.mark.usefixtures("_nodes")
def test_an_actor_is_on_one_node():
    """Of 4 and 2 CPUs three at once are there once."""
    check_places(6, 1)
    check_places(3, 2)
    check_places(1, 3)
    with pytest.raises(ConfigError, match=r"no room for 2 actors with 3 CPUs each, only for 1$"):
        check_places(2, 3)


def test_a_node_has_this_very_program(monkeypatch):
    monkeypatch.setattr(cluster, "versions", lambda: {"dqn": "1", "torch": "2"})
    monkeypatch.setattr(cluster, "source_digest", lambda: "ours")
    check_same("node a", Found({"dqn": "1", "torch": "2"}, "ours", True))
    with pytest.raises(ConfigError, match=r"^node a has torch 3, not torch 2; equal bits need "):
        check_same("node a", Found({"dqn": "1", "torch": "3"}, "ours", True))
    with pytest.raises(ConfigError, match=r"^node a has a different copy of this program from the"):
        check_same("node a", Found({"dqn": "1", "torch": "2"}, "theirs", True))
