"""Shifts depend on seed and step, and stay in the enlarged picture."""

import torch

from xvcore.ops.jitter import Jitter


def test_offsets_are_drawn_from_zero_to_jitter_minus_one():
    offsets = [Jitter(4).offset(step) for step in range(300)]
    assert {top for top, _ in offsets} == {left for _, left in offsets} == {0, 1, 2, 3}
    assert offsets == [Jitter(4).offset(step) for step in range(300)]
    assert offsets != [Jitter(4, seed=1).offset(step) for step in range(300)]


def test_the_enlarged_picture_has_room_for_every_window():
    images = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    assert Jitter(4).enlarged(images).shape == (2, 3, 24, 28)
    assert torch.equal(Jitter(0).enlarged(images), images)
