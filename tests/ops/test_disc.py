"""Discs are centred, and the smallest one is found by looking."""

import torch

from xvcore.ops.disc import smallest_disc, without_disc


def test_the_inscribed_disc_of_28_is_symmetric_and_has_its_area():
    disc = without_disc(28, 28, 14)[0, 0]
    assert torch.equal(disc, disc.flip(0))
    assert torch.equal(disc, disc.T)
    assert abs((1 - disc).sum().item() - 3.14159 * 14**2) < 12


def test_the_smallest_disc_is_the_first_that_suffices():
    sizes = torch.tensor([0.3, 0.05, 2.0])

    def probability(masks):
        removed = (1 - masks).mean((1, 2, 3))
        return torch.where(removed >= sizes, 0.1, 0.9) - 0.1 * (removed == 1).float()

    found = smallest_disc(probability, torch.rand(3, 1, 60, 60), share=0.2)
    areas = [(1 - without_disc(60, 60, radius)).mean().item() for radius in range(0, 60, 5)]
    expected = [next(area for area in areas if area >= size) for size in (0.3, 0.05, 1.0)]
    torch.testing.assert_close((1 - found).mean((1, 2, 3)), torch.tensor(expected))
