"""Gradients of weights beside the backward pass, as on a GPU: the same ones, and in order."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from support.learners import CPU, generator, make_network

from dqn.config import ValuesConfig
from dqn.networks import overlap, torsos

IQN = ValuesConfig("implicit_quantile", num_policy_taus=4)
NETWORKS = {
    "nature": (ValuesConfig(), {}),
    "nips, dueling": (ValuesConfig(), {"torso": "nips", "dueling": True}),
    "layer norm": (ValuesConfig(), {"layer_norm": True}),
    "noisy": (ValuesConfig(), {"noisy": True}),
    "IQN": (IQN, {}),
}


def gradients_of(name, precision, beside):
    values, settings = NETWORKS[name]
    network = make_network((4, 84, 84), values, hidden_units=32, **settings).place(CPU, precision)
    state = torch.randint(256, (5, 4, 84, 84), dtype=torch.uint8, generator=generator())
    with pytest.MonkeyPatch.context() as patch:
        if beside:
            patch.setattr(torsos, "_overlaps", lambda weight: weight.is_leaf)
        z = network(state, generator())
        (z * torch.randn(z.shape, generator=generator(2))).sum().backward()
    network.move_gradients()
    return z.detach(), [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradients_are_the_same(name, precision):
    (z, plain), (again, beside) = (gradients_of(name, precision, way) for way in (False, True))
    torch.testing.assert_close(z, again, rtol=1e-5, atol=1e-5)
    tolerance = 1e-4 if precision == "float32" else 2e-2
    for ours, theirs in zip(beside, plain, strict=True):
        assert (ours - theirs).norm() <= tolerance * theirs.norm()


def test_side_streams_wait_for_the_backward_pass_and_it_for_them(monkeypatch):
    """What they read is kept until then."""
    happened, names = [], iter("abcdefgh")

    class Stream:
        def __init__(self):
            self.name = next(names)

        def wait_stream(self, other):
            happened.append(f"{self.name} waits for {other.name}")

    @contextlib.contextmanager
    def using(stream):
        happened.append(f"{stream.name} begins")
        yield

    main = SimpleNamespace(name="main", wait_stream=lambda s: happened.append(f"joins {s.name}"))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", using)
    streams = overlap._SideStreams()
    read = torch.zeros(1)
    for _ in range(2):
        for work in ("weight", "bias"):
            streams.run(lambda work=work: happened.append(work), read)
        assert all(tensor is read for tensor in streams._read) and len(streams._read) == 2
        streams.join()
        assert not streams._read
    turn = ["a waits for main", "a begins", "weight", "b waits for main", "b begins", "bias"]
    assert happened == 2 * [*turn, "joins a", "joins b"]
    for _ in range(6):
        streams.run(lambda: None, read)
    happened.clear()
    streams.join()
    assert happened == [f"joins {name}" for name in "abcd"]
