"""Laws of the region proposals."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from xvcore.errors import XvError
from xvcore.visual_summaries.method.proposals import SelectiveSearch
from xvcore.visual_summaries.method.textures import DeadLeaves


def picture(side=128, seed=0):
    (drawn,) = DeadLeaves(side=side, shapes=(60, 61))(1, seed)
    return (drawn.movedim(0, -1) * 255).round().byte().numpy()


@pytest.fixture(scope="module")
def found():
    return SelectiveSearch()(picture())


def test_same_boxes_in_the_same_order_every_time(found):
    for _ in range(3):
        assert torch.equal(SelectiveSearch()(picture()), found)


def test_same_boxes_in_every_thread():
    pictures = [picture(96, seed) for seed in range(4)]
    alone = [SelectiveSearch()(each) for each in pictures]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            for one, other in zip(alone, pool.map(SelectiveSearch(), pictures), strict=True):
                assert torch.equal(one, other)


def test_same_boxes_in_another_process(found, tmp_path):
    np.save(tmp_path / "picture.npy", picture())
    program = (
        "import sys, numpy as np\n"
        "from xvcore.visual_summaries.method.proposals import SelectiveSearch\n"
        "np.save(sys.argv[2], SelectiveSearch()(np.load(sys.argv[1])).numpy())\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "picture.npy"), str(tmp_path / "boxes.npy")]
    subprocess.run(arguments, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "boxes.npy"), found.numpy())


def test_boxes_are_distinct_whole_pixels_inside_the_picture_and_large_enough(found):
    assert 50 < len(found) <= 500
    assert torch.equal(found, found.round())
    assert len(found.unique(dim=0)) == len(found)
    assert (found[:, :2] >= 0).all()
    assert (found[:, :2] + found[:, 2:] <= 128).all()
    assert (found[:, 2:].min(dim=1).values >= 0.05 * 128).all()


def test_no_box_touches_the_border_but_the_whole_picture(found):
    low, high = found[:, :2].min(dim=1).values, (found[:, :2] + found[:, 2:]).max(dim=1).values
    touches = (low <= 1.28) | (high >= 0.99 * 128)
    whole = (found[:, 2:].min(dim=1).values >= 0.98 * 128 - 1.28) & touches
    assert torch.equal(touches, whole)
    assert whole.sum() <= 1


def test_fewer_boxes_are_the_first_of_more(found):
    few = SelectiveSearch(n_boxes=20)(picture())
    assert torch.equal(few, found[:20])


def test_the_first_boxes_are_a_fair_sample_of_all_sizes(found):
    # Not the largest first, nor the smallest: the median area of the first half is that of the second.
    area = found[:, 2:].prod(dim=1).log2()
    first, second = area[: len(area) // 2], area[len(area) // 2 :]
    assert abs(first.median() - second.median()) < 1.5


def test_a_plain_picture_has_no_parts():
    assert len(SelectiveSearch()(np.full((64, 64, 3), 200, np.uint8))) <= 1


def test_a_shape_on_a_plain_ground_is_found():
    drawn = np.full((96, 96, 3), 210, np.uint8)
    drawn[30:60, 20:70] = (180, 30, 40)
    boxes = SelectiveSearch()(drawn)
    assert (boxes - torch.tensor([20.0, 30, 50, 30])).abs().max(dim=1).values.min() <= 2


def test_tiny_pictures_are_refused():
    with pytest.raises(XvError, match="8 x 200"):
        SelectiveSearch()(np.zeros((8, 200, 3), np.uint8))


def test_the_picture_is_left_as_it_was():
    given = picture(80)
    before = given.copy()
    SelectiveSearch()(given)
    assert np.array_equal(given, before)
