"""Pictures blurred as a mask says."""

import torch

from xvcore.ops.blur_pyramid import BlurPyramid
from xvcore.ops.perturb import gaussian_blur


def pictures():
    return torch.rand(2, 3, 12, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


def test_even_masks_show_the_blur_of_their_level():
    images = pictures()
    pyramid = BlurPyramid.of(images, 5, 4.0)
    for level, sigma in enumerate((4.0, 3.0, 2.0, 1.0)):
        found = pyramid(torch.full((2, 1, 12, 14), level / 4, dtype=torch.float64))
        torch.testing.assert_close(found, gaussian_blur(images, sigma))
    torch.testing.assert_close(pyramid(torch.ones(2, 1, 12, 14, dtype=torch.float64)), images)
    between = pyramid(torch.full((2, 1, 12, 14), 0.3, dtype=torch.float64))
    torch.testing.assert_close(between, 0.8 * gaussian_blur(images, 3.0) + 0.2 * gaussian_blur(images, 2.0))


def test_its_derivative_is_that_of_the_pictures():
    pyramid = BlurPyramid.of(pictures(), 4, 3.0)
    masks = torch.rand(2, 1, 12, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    shown, slopes = pyramid.with_derivative(masks)
    torch.testing.assert_close(shown, pyramid(masks))
    expected = torch.autograd.functional.jacobian(lambda each: pyramid(each).sum(), masks)
    torch.testing.assert_close(slopes.sum(dim=1, keepdim=True), expected)
