"""ONNX files against torch: every torso and head, of any number of stacks."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from support.learners import CPU, generator, make_network
from support.tiers import slow_except
from torch import nn

from dqn.config import LearnerConfig, ValuesConfig
from dqn.learning.actor import QModel
from dqn.learning.factory import make_values
from dqn.storage.onnx_file import MaxOfRegions, run_onnx, write_onnx

IQN = ValuesConfig("implicit_quantile", num_policy_taus=8)
NETWORKS: dict[str, tuple[tuple[int, ...], ValuesConfig, dict[str, Any]]] = {
    "nature, dueling, noisy": ((4, 36, 36), ValuesConfig(), {"dueling": True, "noisy": True}),
    "nature of 84x84, whose features are many": ((4, 84, 84), ValuesConfig(), {}),
    "nips, C51": ((4, 22, 26), ValuesConfig("categorical", atoms=7), {"torso": "nips"}),
    "data-efficient, noisy C51": ((4, 29, 29), ValuesConfig("categorical"), {
        "torso": "data_efficient", "noisy": True, "dueling": True}),
    "patches, normalized, QR-DQN": ((4, 24, 24), ValuesConfig("quantile", quantiles=5), {
        "torso": "patches", "layer_norm": True, "center": True}),
    "impala, spectral norm, pooled, IQN": ((4, 40, 40), IQN, {
        "torso": "impala", "spectral_norm": True, "pool": 3, "noisy": True, "dueling": True}),
    "mlp, dueling": ((1, 5), ValuesConfig(), {"mlp_units": (32, 16), "dueling": True}),
}  # fmt: skip


def states(shape: tuple[int, ...], count: int) -> torch.Tensor:
    if len(shape) == 3:
        return torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator())
    return torch.randn(count, *shape, generator=generator())


def make_model(name: str) -> QModel:
    """A network none of whose weights, noise scales and centers is zero."""
    shape, values, settings = NETWORKS[name]
    small = {} if "mlp_units" in settings else {"hidden_units": 32}
    network = make_network(shape, values, **small, **settings).place(CPU, "float32")
    for tensor in network.state_dict().values():
        tensor += 0.05 * torch.randn(tensor.shape, generator=generator())
    return QModel(network, make_values(values, LearnerConfig()), 3, CPU)


@pytest.mark.parametrize("name", slow_except(NETWORKS, ["patches, normalized, QR-DQN"]))
def test_the_file_computes_what_torch_does(name, tmp_path):
    model, stacks = make_model(name), states(NETWORKS[name][0], 7)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    layers = list(map(type, model.network.torso))
    file = tmp_path / "Größe 1.onnx"
    write_onnx(file, model, stacks[:2], {"game": "Pong", "actions": "NOOP,FIRE"})
    with torch.no_grad():
        ours = model.q_values(stacks).numpy()
    assert ours.std(0).min() > 1e-3, "values depend on the state"
    for count in (7, 1):
        theirs = run_onnx(file, stacks[:count])
        assert np.abs(theirs - ours[:count]).max() < 1e-5 * max(1, np.abs(ours).max())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert list(map(type, model.network.torso)) == layers, "the network itself is left alone"
    session = onnxruntime.InferenceSession(file.read_bytes())
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, given.name) == ("stack", "q_values")
    assert taken.shape[1:] == list(stacks.shape[1:]) and given.shape[1:] == [3]
    assert taken.type == f"tensor({'uint8' if stacks.ndim == 4 else 'float'})"
    about = session.get_modelmeta().custom_metadata_map
    assert about["game"] == "Pong" and about["actions"] == "NOOP,FIRE"


def test_the_maximum_of_regions_is_adaptive_pooling():
    for rows, columns, side in ((11, 11, 6), (5, 7, 3), (4, 4, 4), (6, 9, 1)):
        features = torch.randn(2, 3, rows, columns, generator=generator())
        expected = nn.AdaptiveMaxPool2d(side)(features)
        assert torch.equal(MaxOfRegions(side)(features), expected), (rows, columns, side)
