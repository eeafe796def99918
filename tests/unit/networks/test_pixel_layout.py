"""Layers in a layout of their own compute what the plain ones do."""

import copy

import pytest
import torch
import torch.nn.functional as F
from support.learners import CPU, generator, make_learner, make_network, weights
from torch import nn

from dqn.config import OptimizerConfig
from dqn.networks.patch_torsos import ChannelsFirst, PatchConvolution, Patches
from dqn.networks.q_network import QNetwork
from dqn.networks.torsos import BlockConvolution, Linear, PixelPermutation, SpaceToDepth
from dqn.types import Batch


def nature() -> QNetwork:
    return make_network((4, 84, 84), actions=6)


def test_channels_last_equals_contiguous() -> None:
    """Outputs to 1e-6, gradients to 1e-5."""
    plain, placed = nature(), nature().place(CPU)
    weight = placed.torso[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    state = torch.randint(256, (16, 4, 84, 84), dtype=torch.uint8, generator=generator())
    ours, theirs = placed(state)[0], plain(state)[0]
    assert (ours - theirs).abs().max() <= 1e-6 * max(1, theirs.abs().max())
    ours.square().sum().backward()
    theirs.square().sum().backward()
    for (name, a), b in zip(placed.named_parameters(), plain.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert (a.grad - b.grad).abs().max() <= 1e-5 * b.grad.abs().max(), name


class PlainConvolution(nn.Conv2d):
    """The first convolution without space to depth."""

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return super().forward(state.float() / 255)


def plain_nature(network: QNetwork) -> QNetwork:
    """The same network with torch's own layers only."""
    plain = copy.deepcopy(network)
    assert isinstance(plain.torso[0], BlockConvolution)
    assert isinstance(plain.head.advantage[0], Linear)
    plain._preprocess, plain.torso[0] = nn.Identity(), PlainConvolution(4, 32, 8, 4)
    plain.head.advantage[0] = nn.Linear(3136, 512)
    plain.load_state_dict(network.state_dict())
    return plain


def pixels_batch(seed: int) -> Batch:
    """32 transitions between frames with coarse shapes, as games have."""
    random = generator(seed)
    coarse = torch.randint(256, (64, 4, 12, 12), generator=random)
    state, next_state = coarse.repeat_interleave(7, 2).repeat_interleave(7, 3).byte().chunk(2)
    action = torch.randint(6, (32,), generator=random)
    reward = torch.randint(-1, 2, (32,), generator=random).float()
    return Batch(state, action, reward, torch.full((32,), 0.99), next_state, torch.ones(32), action)


@pytest.mark.parametrize("updates", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_the_fast_layers_compute_what_plain_ones_do(updates: int) -> None:
    """1e-6 relative after one update from the same state. After 100 they are no further apart than
    plain layers are from themselves on the same batches in another order: rounding grows that fast,
    for Adam's first steps turn the sign of a tiny gradient into a whole step."""
    fast = nature()
    ours, theirs, shuffled = (
        make_learner(network, optimizer=OptimizerConfig())
        for network in (fast, plain_nature(fast), plain_nature(fast))
    )
    before = weights(ours.online)
    for seed in range(updates):
        batch = pixels_batch(seed % 10)
        order = torch.randperm(32, generator=generator(seed))
        ours.update(batch)
        theirs.update(batch)
        shuffled.update(Batch(*(part[order] for part in batch)))
        if seed == 0:
            moved, plain = weights(ours.online), weights(theirs.online)
            assert (moved - plain).norm() <= 1e-6 * plain.norm()
            assert (moved - plain).norm() <= 1e-3 * (moved - before).norm()
    with torch.no_grad():
        state = pixels_batch(5).state
        q = theirs.acting_q_values(state)
        apart = (ours.acting_q_values(state) - q).norm() / q.norm()
        rounding = (shuffled.acting_q_values(state) - q).norm() / q.norm()
    assert apart <= max(1e-3, 3 * rounding), (apart, rounding)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("stride, kernel, side", [(4, 8, 84), (5, 5, 80), (2, 6, 12)])
def test_space_to_depth_and_block_convolution_equal_a_convolution(
    dtype: torch.dtype, stride: int, kernel: int, side: int
) -> None:
    layer = BlockConvolution(3, 7, kernel, stride)
    nn.init.normal_(layer.weight, generator=generator(1))
    nn.init.normal_(layer.bias, generator=generator(2))
    state = torch.randint(256, (5, 3, side, side), generator=generator(3)).to(dtype)
    numbers = state.double() / (255 if dtype == torch.uint8 else 1)
    weight = layer.weight.detach().double()
    expected = F.conv2d(numbers, weight, layer.bias.detach().double(), stride)
    blocks = SpaceToDepth((3, side, side), stride)(state)
    assert blocks.shape == (5, 3 * stride**2, side // stride, side // stride)
    difference = (layer(blocks).double() - expected).abs().max()
    assert difference <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("side, inner, outer", [(84, 5, 5), (48, 4, 3), (50, 4, 3), (13, 2, 2)])
def test_two_patch_layers_equal_two_convolutions(
    dtype: torch.dtype, side: int, inner: int, outer: int
) -> None:
    """Gradients too; incomplete patches at the border are dropped."""
    layers = nn.Sequential(
        PatchConvolution(3, 7, inner, of_frames=True),
        nn.Tanh(),
        PatchConvolution(7, 5, outer, of_frames=False),
        ChannelsFirst(5),
    )
    for i, weight in enumerate(layers.parameters()):
        nn.init.normal_(weight, std=0.1, generator=generator(i))
    state = torch.randint(256, (4, 3, side, side), generator=generator(9), dtype=torch.uint8)
    numbers = state / 255
    if dtype == torch.float32:
        state = numbers
    inside = F.conv2d(numbers, layers[0].weight, layers[0].bias, stride=inner).tanh()
    expected = F.conv2d(inside, layers[2].weight, layers[2].bias, stride=outer).flatten(1)
    output = layers(Patches((3, side, side), inner, outer)(state))
    theirs = torch.autograd.grad(expected.square().sum(), list(layers.parameters()))
    ours = torch.autograd.grad(output.square().sum(), list(layers.parameters()))
    for a, b in zip((output, *ours), (expected, *theirs), strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()


def test_pixels_moved_as_float_words_keep_their_bits() -> None:
    """Also where four pixels read as one float32 are NaN."""
    state = torch.tensor([1, 0, 160, 127, 255, 255, 255, 255], dtype=torch.uint8)
    state = torch.cat([state, torch.arange(8, dtype=torch.uint8)]).view(1, 1, 4, 4)
    assert state.flatten().view(torch.float32)[:2].isnan().all()
    words = torch.tensor([[4, 5, 6, 7], [0, 1, 2, 3], [12, 13, 14, 15]])
    for order in (words, words.flip(1), words[:, [0, 2, 1, 3]]):  # two that break words apart
        moved = PixelPermutation((1, 4, 4), order)(state)
        assert torch.equal(moved, state.flatten()[order.flatten()][None] / 255)
