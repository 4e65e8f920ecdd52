"""Smooth masks against a literal restatement, and their gradient against torch's."""

import math

import pytest
import torch

from xvcore.ops.max_convolution import MaxConvolution


def literal(elements, size, cell_px, sigma, coldness):
    """Return one map in loops: the smooth maximum of the bumps of the cells that are near enough."""
    radius = 1 + math.ceil(sigma / cell_px)
    rows, columns = elements.shape
    shown = torch.zeros(size, dtype=torch.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            bumps = []
            for i in range(y // cell_px - radius, y // cell_px + radius + 1):
                for j in range(x // cell_px - radius, x // cell_px + radius + 1):
                    is_cell = 0 <= i < rows and 0 <= j < columns
                    centre = i * cell_px + (cell_px - 1) / 2, j * cell_px + (cell_px - 1) / 2
                    z = math.hypot(y - centre[0], x - centre[1]) / sigma
                    bumps.append(math.exp(-2 * max(0, z - 0.5) ** 2) * float(elements[i, j]) if is_cell else 0.0)
            powers = [math.exp(coldness * bump) for bump in bumps]
            shown[y, x] = sum(p * b for p, b in zip(powers, bumps, strict=True)) / sum(powers)
    return shown


@pytest.mark.parametrize(("size", "cell_px"), [((9, 14), 3), ((8, 8), 4), ((5, 7), 2)])
def test_a_map_is_the_smooth_maximum_of_bumps(size, cell_px):
    family = MaxConvolution(size, cell_px, 4.0, 20.0, torch.float64)
    elements = torch.rand(2, 1, *family.grid, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for found, of_map in zip(family(elements), elements, strict=True):
        torch.testing.assert_close(found[0], literal(of_map[0], size, cell_px, 4.0, 20.0), rtol=0, atol=1e-12)


def test_gradients_are_those_of_finite_differences():
    family = MaxConvolution((9, 11), 3, 4.0, 5.0, torch.float64)
    generator = torch.Generator().manual_seed(2)
    elements = torch.rand(2, 1, *family.grid, dtype=torch.float64, generator=generator)
    weights = torch.randn(2, 1, 9, 11, dtype=torch.float64, generator=generator)
    expected = torch.autograd.functional.jacobian(lambda each: (family(each) * weights).sum(), elements)
    torch.testing.assert_close(family.pulled_back(elements, weights), expected, rtol=0, atol=1e-10)


def test_maps_stay_between_zero_and_one_and_full_elements_fill_the_picture():
    family = MaxConvolution((30, 40))
    assert family.grid == (5, 6)
    assert family(torch.zeros(1, 1, 5, 6)).abs().max() == 0
    full = family(torch.ones(1, 1, 5, 6))
    assert full.min() > 0.98
    assert full.max() <= 1


def test_a_mirrored_grid_gives_the_mirrored_map():
    family = MaxConvolution((21, 28))
    elements = torch.rand(1, 1, *family.grid, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(family(elements.flip(3)), family(elements).flip(3), rtol=0, atol=1e-6)
