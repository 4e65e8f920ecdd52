"""The penalty and its gradient are the formulas of the paper, written out in loops."""

import itertools

import pytest
import torch

from xvcore.ops.mask_penalty import MaskPenalty
from xvcore.ops.total_variation import total_variation, total_variation_gradient

FORMS = list(itertools.product([False, True], [False, True], [1.0, 1.5, 2.0, 3.0]))


def masks_with_corners(n=2, height=4, width=5):
    """Return masks some of whose elements are exactly 0, exactly 1, and equal to their neighbours."""
    masks = torch.rand((n, 1, height, width), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    masks[:, :, 0, :2], masks[:, :, 1, 1:3], masks[:, :, 3, 2:4] = 0.0, 1.0, 0.5
    return masks


def literal_penalty(mask, weights, power, isotropic, summed, free_area=0.0):
    """Return the penalty of one mask (height × width), element by element."""
    height, width = mask.shape
    pixels = list(itertools.product(range(height), range(width)))
    area = sum((1 - mask[i, j]).abs() for i, j in pixels)
    soft = sum((mask[i, j] * (1 - mask[i, j])).abs() for i, j in pixels)
    down = {(i, j): mask[i + 1, j] - mask[i, j] for i, j in pixels if i + 1 < height}
    right = {(i, j): mask[i, j + 1] - mask[i, j] for i, j in pixels if j + 1 < width}
    if isotropic:
        squares = [down[p] ** 2 if p in down else 0 * mask[p] for p in pixels]
        squares = [s + (right[p] ** 2 if p in right else 0) for s, p in zip(squares, pixels, strict=True)]
        rough = [square ** (power / 2) for square in squares if square > 0]
        variation = sum(rough) / (1 if summed else len(pixels))
    else:
        parts = [[step.abs() ** power for step in steps.values()] for steps in (down, right)]
        variation = sum(sum(part) / (1 if summed else len(part)) for part in parts)
    share = 1 if summed else len(pixels)
    if free_area:
        excess = max(area / len(pixels) - free_area, 0 * area)
        area = len(pixels) * excess**2 / (2 * free_area)
    return weights[0] * area / share + weights[1] * variation + weights[2] * soft / share


@pytest.mark.parametrize("free_area", [0.0, 0.2, 0.6])  # the masks' areas are .49 and .55
@pytest.mark.parametrize(("isotropic", "summed", "power"), FORMS)
def test_penalty_and_gradient_are_the_papers_formulas(isotropic, summed, power, free_area):
    weights = (0.3, 0.7, 2.0)
    masks = masks_with_corners().requires_grad_()
    expected = torch.stack([literal_penalty(mask[0], weights, power, isotropic, summed, free_area) for mask in masks])
    (slope,) = torch.autograd.grad(expected.sum(), masks)
    penalty = MaskPenalty(*weights, power, isotropic, summed, free_area)
    torch.testing.assert_close(penalty(masks.detach()), expected.detach())
    torch.testing.assert_close(penalty.gradient(masks.detach()), slope)


def test_a_constant_mask_has_no_variation():
    masks = torch.full((1, 1, 6, 7), 0.4)
    for isotropic, summed, power in FORMS:
        options = {"isotropic": isotropic, "summed": summed}
        assert total_variation(masks, power, **options).item() == 0
        assert not total_variation_gradient(masks, power, **options).any()


def test_a_mask_of_one_pixel_is_no_special_case():
    masks = torch.full((1, 1, 1, 1), 0.25)
    assert MaskPenalty(1.0, 1.0, 1.0)(masks).item() == pytest.approx(0.75 + 0.1875)
    assert MaskPenalty(1.0, 1.0, 1.0).gradient(masks).item() == pytest.approx(-1 + 0.5)


def test_each_mask_pays_for_itself():
    masks, penalty = masks_with_corners(4), MaskPenalty(0.5, 1.0, 2.0)
    torch.testing.assert_close(penalty(masks), torch.cat([penalty(mask[None]) for mask in masks]))
    torch.testing.assert_close(penalty.gradient(masks), torch.cat([penalty.gradient(mask[None]) for mask in masks]))


def test_the_masks_are_not_changed():
    masks = masks_with_corners()
    before = masks.clone()
    penalty = MaskPenalty(0.5, 1.0, 2.0)
    penalty(masks)
    penalty.gradient(masks).zero_()
    assert torch.equal(masks, before)
