"""Adam for a GPU, rehearsed on the CPU: torch's Adam stands in for the kernel."""

import math

import pytest
import torch
from support.learners import CPU, generator, make_learner, make_network, random_batch, tiny_learner
from torch.utils._pytree import tree_leaves

from dqn.learning.flat_adam import FlatAdam, VectorLayout, compile_kernel
from dqn.learning.optimizers import Adam


def launch(grid, block, args):
    parameter, gradient, mean, square, steps, rate, beta1, beta2, epsilon, count = args
    assert math.prod(grid) * math.prod(block) >= count == parameter.numel()
    torch._fused_adam_(
        [parameter], [gradient], [mean], [square], [], [steps], lr=rate, beta1=beta1, beta2=beta2,
        eps=epsilon, weight_decay=0.0, amsgrad=False, maximize=False,
    )  # fmt: skip


@pytest.fixture
def _as_on_gpu(monkeypatch):
    monkeypatch.setattr("dqn.learning.optimizers.compile_kernel", lambda: launch)
    monkeypatch.setattr("dqn.learning.optimizers._on_gpu", lambda _: True)


@pytest.mark.usefixtures("_as_on_gpu")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_learner_learns_the_same(precision, monkeypatch):
    """Its target network follows weights that were moved, and its state can be exchanged."""
    settings = {"precision": precision, "max_gradient_norm": 0.5}
    ours = tiny_learner(**settings)
    monkeypatch.setattr("dqn.learning.optimizers._on_gpu", lambda _: False)
    theirs = tiny_learner(**settings)
    assert isinstance(ours._optimizer, FlatAdam) and not isinstance(theirs._optimizer, FlatAdam)
    for step in range(20):
        for learner in (ours, theirs):
            learner.update(random_batch(step))
            if step % 7 == 6:
                learner.sync_target()
    assert ours.pop_means() == pytest.approx(theirs.pop_means())
    before, after = (tree_leaves(learner.state_dict()) for learner in (ours, theirs))
    for mine, other in zip(before, after, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    ours.load_state_dict(theirs.state_dict())
    for learner in (ours, theirs):
        learner.update(random_batch(20))
        learner.sync_target()
    for mine, target, other in zip(
        ours.online.parameters(), ours.target.parameters(), theirs.target.parameters(), strict=True
    ):
        assert torch.equal(mine, target)
        torch.testing.assert_close(target, other, rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("_as_on_gpu")
def test_weights_keep_their_layout_in_one_aligned_vector():
    network = make_network((4, 36, 36), hidden_units=4).place(CPU, "float32")
    before = [parameter.detach().clone() for parameter in network.parameters()]
    strides = [parameter.stride() for parameter in network.parameters()]
    learner = make_learner(network)
    flat = learner._optimizer._flat
    for parameter, old, stride in zip(network.parameters(), before, strides, strict=True):
        assert torch.equal(parameter, old) and parameter.stride() == stride
        assert parameter.untyped_storage().data_ptr() == flat.untyped_storage().data_ptr()
        assert parameter.data_ptr() % 256 == flat.data_ptr() % 256
    assert any(stride[-1] != 1 for stride in strides), "channels last"


@pytest.mark.parametrize("error", [AttributeError, ImportError, OSError, RuntimeError])
def test_without_nvrtc_a_warning_and_torchs_adam(error, monkeypatch, caplog):
    def fails(*_):
        raise error("no NVRTC")

    monkeypatch.setattr(torch.cuda, "_compile_kernel", fails)
    monkeypatch.setattr("torch.utils.cpp_extension.CUDA_HOME", None)
    monkeypatch.setattr("dqn.learning.optimizers._on_gpu", lambda _: True)
    compile_kernel.cache_clear()
    assert isinstance(tiny_learner()._optimizer, Adam)
    said = [record.message for record in caplog.records if record.name == "dqn"]  # torch warns too
    assert said == ["Adam's kernel cannot be compiled (no NVRTC); torch's Adam is slower."]


def test_a_vector_holds_tensors_of_any_layout():
    rng = generator()
    shapes = (3, 4, 2, 2), (5,), (7, 3), ()
    tensors = [torch.randn(shape, generator=rng) for shape in shapes]
    layout = VectorLayout([tensors[0].to(memory_format=torch.channels_last), *tensors[1:]])
    others = [tensors[0], tensors[1], tensors[2].t().contiguous().t(), tensors[3]]
    for ours, theirs in zip(layout.views(layout.join(others)), tensors, strict=True):
        assert torch.equal(ours, theirs)
