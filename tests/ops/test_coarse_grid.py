"""A coarse grid shows blurred, and feels what its option says."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from xvcore.ops.coarse_grid import CoarseGrid

OPTIONS = {"cell_px": 8, "upsampling": "bilinear", "blur_sigma": 5.0, "is_straight_through": True}


def grid(size, **changes):
    return CoarseGrid.over(torch.zeros(1, 3, *size, dtype=torch.float64), **{**OPTIONS, **changes})


@pytest.mark.parametrize(("size", "cells"), [(224, 28), (225, 28), (299, 37), (96, 12), (5, 1)])
def test_the_grid_has_an_element_for_every_whole_cell(size, cells):
    assert grid((size, size)).size == (cells, cells)


def test_it_shows_torchs_upsampling_with_scipys_blur():
    elements = torch.rand((1, 1, 5, 6), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    raised = F.interpolate(elements, (40, 48), mode="bilinear", align_corners=True)
    expected = ndimage.gaussian_filter(raised[0, 0].numpy(), 5.0)
    np.testing.assert_allclose(grid((40, 48))(elements)[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
def test_the_gradient_passes_the_blur_or_is_that_of_the_blur(upsampling):
    elements = torch.rand((1, 1, 5, 6), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    elements.requires_grad_()
    arriving = torch.rand((1, 1, 40, 48), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    true = grid((40, 48), upsampling=upsampling, is_straight_through=False)
    (expected,) = torch.autograd.grad((true(elements) * arriving).sum(), elements)
    torch.testing.assert_close(true.pulled_back(arriving), expected)
    unblurred = grid((40, 48), upsampling=upsampling, blur_sigma=0.0)
    through = grid((40, 48), upsampling=upsampling)
    torch.testing.assert_close(through.pulled_back(arriving), unblurred.pulled_back(arriving))
    assert not torch.allclose(through(elements), unblurred(elements))
