"""Components touch at edges or corners."""

import numpy as np
from scipy import ndimage

from xvcore.ops.components import count_components


def test_nothing_has_no_component_and_everything_one():
    assert count_components(np.zeros((5, 7), bool)) == 0
    assert count_components(np.ones((5, 7), bool)) == 1


def test_pixels_that_touch_at_a_corner_belong_together():
    assert count_components(np.eye(4, dtype=bool)) == 1
    assert count_components(np.array([[True, False, True]])) == 2


def test_counts_are_scipys():
    rng = np.random.default_rng(0)
    for share in (0.1, 0.3, 0.5):
        binary = rng.random((40, 50)) < share
        assert count_components(binary) == ndimage.label(binary, np.ones((3, 3)))[1]
