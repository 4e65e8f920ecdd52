"""The distance of a map from the masks of an area."""

import torch

from xvcore.ops.area_constraint import AreaConstraint


def test_it_is_the_distance_of_sorted_values():
    maps = torch.rand(3, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    areas = (0.1, 0.5, 0.95)
    found = AreaConstraint(torch.tensor(areas))(maps)
    for value, each, area in zip(found, maps, areas, strict=True):
        wanted = [0.0] * round(20 * (1 - area)) + [1.0] * round(20 * area)
        pixels = sorted(each.flatten().tolist())
        expected = sum((a - b) ** 2 for a, b in zip(pixels, wanted, strict=True)) / 20
        torch.testing.assert_close(float(value), expected)


def test_it_is_nothing_for_a_binary_mask_of_the_area_only():
    mask = torch.zeros(1, 1, 10, 10)
    mask[..., :3] = 1
    assert AreaConstraint(torch.tensor([0.3]))(mask) == 0
    assert AreaConstraint(torch.tensor([0.4]))(mask) > 0
    assert AreaConstraint(torch.tensor([0.3]))(mask * 0.9) > 0


def test_its_gradient_is_the_derivative():
    maps = torch.rand(2, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    constraint = AreaConstraint(torch.tensor([0.25, 0.6]))
    expected = torch.autograd.functional.jacobian(lambda each: constraint(each).sum(), maps)
    torch.testing.assert_close(constraint.gradient(maps), expected)
