"""Blurs and resizes as matrices do what OpenCV, SciPy and torch do."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage

from xvcore.ops.separable import Separable, bilinear, gaussian, nearest


def pictures(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def blur(maps, sigma, radius, border):
    return Separable(*(gaussian(size, sigma, radius, border) for size in maps.shape[2:]))(maps)


@pytest.mark.parametrize(("radius", "taps"), [(5, 11), (40, 81)])
def test_gaussian_is_opencvs_with_its_default_border(radius, taps):
    maps = pictures(1, 1, 50, 64)
    expected = cv2.GaussianBlur(maps[0, 0].numpy(), (taps, taps), 10)
    np.testing.assert_allclose(blur(maps, 10.0, radius, "reflect101")[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 56), (8, 9)])
def test_gaussian_is_scipys_with_its_default_border(size):
    maps = pictures(1, 1, *size)
    expected = ndimage.gaussian_filter(maps[0, 0].numpy(), 5.0)
    np.testing.assert_allclose(blur(maps, 5.0, 20, "reflect")[0, 0], expected, atol=1e-12)


@pytest.mark.parametrize("border", ["reflect101", "reflect"])
@pytest.mark.parametrize("size", [1, 2, 3, 30])
def test_a_blur_keeps_constants_however_short_the_line(size, border):
    torch.testing.assert_close(gaussian(size, 10.0, 40, border).sum(1), torch.ones(size, dtype=torch.float64))


@pytest.mark.parametrize(("size_out", "size_in"), [(224, 28), (225, 28), (7, 3), (5, 1)])
def test_upsampling_is_torchs(size_out, size_in):
    maps = pictures(2, 1, size_in, size_in)
    linear = F.interpolate(maps, size_out, mode="bilinear", align_corners=True)
    copied = F.interpolate(maps, size_out, mode="nearest")
    torch.testing.assert_close(Separable(*[bilinear(size_out, size_in)] * 2)(maps), linear)
    torch.testing.assert_close(Separable(*[nearest(size_out, size_in)] * 2)(maps), copied)


def test_the_transpose_is_the_adjoint():
    raised = Separable(bilinear(20, 4), bilinear(30, 5))
    low, high = pictures(1, 1, 4, 5), pictures(1, 1, 20, 30)
    torch.testing.assert_close((raised(low) * high).sum(), (low * raised.transposed(high)).sum())


def test_a_chain_is_one_map():
    raised, blurred = Separable(bilinear(20, 4), bilinear(30, 5)), Separable(gaussian(20, 2.0, 8), gaussian(30, 2.0, 8))
    low = pictures(1, 1, 4, 5)
    torch.testing.assert_close(raised.then(blurred)(low), blurred(raised(low)))
