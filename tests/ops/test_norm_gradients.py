"""Batch normalisation in eval mode is a scale a channel, whatever lies where in memory."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from xvcore.ops.norm_gradients import NormGradients


def layouts(shape, seed):
    """Return one tensor in several orders of its axes, and with odd strides of axes of length 1."""
    found = {each.stride(): each for each in _layouts(shape, seed)}
    return list(found.values())


def _layouts(shape, seed):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for order in ((0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 2, 1), (2, 0, 1, 3)):
        strides = values.permute(order).contiguous().permute([order.index(axis) for axis in range(4)]).stride()
        for odd in (None, 1, shape[1]):
            own = [stride if n > 1 or odd is None else odd for n, stride in zip(shape, strides, strict=True)]
            yield torch.empty(8 * values.numel() + 64, dtype=values.dtype).as_strided(shape, own).copy_(values)
    yield values[..., :1, :1].expand(shape)


@pytest.mark.parametrize("shape", [(1, 6, 4, 5), (1, 6, 1, 5), (2, 6, 1, 5), (2, 6, 4, 1), (2, 6, 4, 5)])
def test_the_gradient_of_a_normalisation_is_its_scale_in_every_layout(shape):
    drawn = torch.rand(3, shape[1], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mean, variance, weight = drawn[0], drawn[1] + 0.5, drawn[2] + 0.5
    scale = (weight / (variance + 1e-5).sqrt())[:, None, None]
    signals = layouts(shape, 1)
    for value in layouts(shape, 0):
        leaf = value.detach().requires_grad_()
        with NormGradients() as _:
            result = F.batch_norm(leaf, mean, variance, weight)
        for signal in signals:
            (found,) = torch.autograd.grad(result, leaf, signal, retain_graph=True)
            torch.testing.assert_close(found, signal * scale, rtol=1e-10, atol=0)


def test_what_torch_gets_right_is_left_alone_to_the_last_bit_and_in_its_layout():
    mean, variance = torch.zeros(6), torch.full((6,), 2.0)
    order = torch.channels_last
    for value, signal in product(layouts((2, 6, 4, 5), 0)[:2], layouts((2, 6, 4, 5), 1)):
        leaf = value.float().contiguous(memory_format=order).requires_grad_()
        plain = F.batch_norm(leaf, mean, variance)
        with NormGradients():
            guarded = F.batch_norm(leaf, mean, variance)
        expected, found = (torch.autograd.grad(each, leaf, signal.float())[0] for each in (plain, guarded))
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()


def test_normalisations_are_counted_and_nothing_is_laid_on_those_without_a_gradient():
    mode, value = NormGradients(), torch.randn(1, 2, 3, 3)
    with mode:
        result = torch.nn.BatchNorm2d(2).eval().requires_grad_(False)(value)
    assert mode.n_norms == 1
    assert not result.requires_grad
