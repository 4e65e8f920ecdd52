import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xvcore.errors import ParameterError
from xvcore.visual_summaries.method.pruning import Pruning

SIDE = 24


def boxes_in_frame(n):
    corner = st.integers(0, SIDE - 2)
    return st.lists(
        st.tuples(corner, corner, st.integers(1, SIDE), st.integers(1, SIDE)).map(
            lambda b: (b[0], b[1], min(b[2], SIDE - b[0]), min(b[3], SIDE - b[1]))
        ),
        min_size=1,
        max_size=n,
    )


def redundant(a, b):
    """Spec 2.4 b, literally."""
    inter_w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    inter_h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    intersection = inter_w * inter_h if inter_w > 0 and inter_h > 0 else 0
    area_a, area_b = a[2] * a[3], b[2] * b[3]
    return intersection / min(area_a, area_b) >= 0.5 and max(area_a, area_b) / min(area_a, area_b) < 2.0


def suppressed_greedily(boxes, score):
    left = sorted(range(len(boxes)), key=lambda i: (-score[i], i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if not redundant(boxes[best], boxes[i])]
    return sorted(kept)


@settings(max_examples=60, deadline=None)
@given(boxes_in_frame(12), st.integers(0, 2**32 - 1))
def test_coverage_is_the_share_of_salient_pixels_counted_one_by_one(boxes, seed):
    mask = np.random.default_rng(seed).random((SIDE, SIDE)) < 0.7
    share, is_covered = Pruning(coverage=0.7).covered(mask, torch.tensor(boxes, dtype=torch.float32))
    for box, one, flag in zip(boxes, share, is_covered, strict=True):
        x, y, w, h = box
        counted = sum(int(mask[row, column]) for row in range(y, y + h) for column in range(x, x + w)) / (w * h)
        assert one.item() == pytest.approx(counted, abs=1e-6)
        assert flag.item() == (one.item() > 0.7)


def test_coverage_of_exactly_three_quarters_is_not_enough():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:3] = True
    share, is_covered = Pruning().covered(mask, torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0]]))
    assert share.tolist() == [0.75, 1.0]
    assert is_covered.tolist() == [False, True]


def test_a_box_out_of_the_picture_counts_what_is_in_it():
    share, _ = Pruning().covered(
        np.ones((4, 4), dtype=bool), torch.tensor([[2.0, 2.0, 4.0, 4.0], [9.0, 9.0, 2.0, 2.0]])
    )
    assert share.tolist() == [1.0, 0.0]


@settings(max_examples=100, deadline=None)
@given(boxes_in_frame(20), st.data())
def test_redundancy_removal_is_sort_by_score_and_suppress(boxes, data):
    score = data.draw(st.lists(st.integers(0, 5), min_size=len(boxes), max_size=len(boxes)))
    kept = Pruning().distinct(torch.tensor(boxes, dtype=torch.float32), torch.tensor(score, dtype=torch.float32))
    assert kept.nonzero()[:, 0].tolist() == suppressed_greedily(boxes, score)


@settings(max_examples=40, deadline=None)
@given(boxes_in_frame(12), st.integers(0, 2**32 - 1))
def test_the_order_of_the_boxes_does_not_matter_without_ties(boxes, seed):
    rng = np.random.default_rng(seed)
    tensor = torch.tensor(boxes, dtype=torch.float32)
    score = torch.from_numpy(rng.permutation(len(boxes)).astype(np.float32))
    order = torch.from_numpy(rng.permutation(len(boxes)))
    assert torch.equal(Pruning().distinct(tensor[order], score[order]), Pruning().distinct(tensor, score)[order])


def test_the_best_box_of_an_image_always_stays_and_no_box_is_fine():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 20.0]])
    assert Pruning().distinct(boxes, torch.tensor([1.0, 2.0, 0.0])).tolist() == [False, True, True]
    assert Pruning().distinct(torch.zeros(0, 4), torch.zeros(0)).shape == (0,)


def test_bounds_are_checked():
    with pytest.raises(ParameterError, match="coverage"):
        Pruning(coverage=1.5)
