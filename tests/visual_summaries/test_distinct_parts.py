"""Which summaries lie on one part: pieces of masks, overlap and similarity, each against chance."""

import itertools

import numpy as np
import pytest

from xvcore.visual_summaries.method.distinct_parts import DistinctParts, main_pieces, occurrences, shared_area

SIDE = 64
HEAD, TAIL = (6, 6, 14, 12), (44, 40, 12, 14)


def mask(*pieces):
    found = np.zeros((SIDE, SIDE), dtype=bool)
    for x, y, w, h in pieces:
        found[y : y + h, x : x + w] = True
    return found


def parts(summaries, masks, similarity=None, **settings):
    """Return the part of each summary; a summary is a list of (image, box)."""
    image = np.array([number for regions in summaries for number, _ in regions])
    boxes = np.array([box for regions in summaries for _, box in regions], dtype=float)
    ends = np.cumsum([0, *map(len, summaries)])
    members = [list(range(*pair)) for pair in itertools.pairwise(ends)]
    scores = np.zeros((len(image), len(image))) if similarity is None else similarity(members)
    method = DistinctParts(**settings)
    places = method.places(np.stack(masks), image, boxes, scores)
    return method(places, occurrences(members, image)).tolist()


def everywhere(box, images=range(5)):
    return [(number, box) for number in images]


def test_summaries_on_one_piece_of_the_mask_are_one_part_though_they_do_not_overlap():
    upper, lower = (44, 40, 6, 6), (49, 48, 6, 6)
    masks = [mask(HEAD, TAIL)] * 5
    assert parts([everywhere(upper), everywhere(HEAD), everywhere(lower)], masks) == [0, 1, 0]


def test_summaries_that_overlap_are_one_part_though_the_mask_is_in_pieces():
    masks = [mask((6, 6, 6, 12), (14, 6, 6, 12))] * 5
    assert parts([everywhere((6, 6, 12, 12)), everywhere((8, 6, 12, 12))], masks) == [0, 0]


def test_a_piece_as_large_as_half_the_image_says_nothing():
    blob = mask((0, 0, 64, 44))
    far = [everywhere((2, 2, 10, 10)), everywhere((50, 30, 10, 10)), everywhere((4, 3, 10, 10))]
    assert parts(far, [blob] * 5) == [0, 1, 0]


def test_what_meets_now_and_then_is_not_one_part():
    masks = [mask(HEAD, TAIL)] * 6
    beside = [(number, HEAD if number < 2 else TAIL) for number in range(6)]
    assert parts([everywhere(HEAD, range(6)), beside], masks) == [0, 1]
    beside = [(number, HEAD if number < 4 else TAIL) for number in range(6)]
    assert parts([everywhere(HEAD, range(6)), beside], masks) == [0, 0]


def test_random_regions_on_many_pieces_are_parts_of_their_own():
    """The null: boxes that lie anywhere on the mask, image by image, without regard to each other."""
    generator = np.random.default_rng(0)
    pieces = [(4, 4, 10, 10), (44, 6, 10, 10), (8, 46, 10, 10), (46, 46, 10, 10)]
    masks = [mask(*pieces)] * 12

    def drawn():
        return [(number, pieces[generator.integers(4)]) for number in range(12)]

    counts = [len(set(parts([drawn() for _ in range(4)], masks))) for _ in range(25)]
    assert np.mean(counts) > 3.8


def test_summaries_without_a_common_image_are_compared_by_similarity():
    masks = [mask(HEAD, TAIL)] * 9
    three = [everywhere(HEAD, range(3)), everywhere(HEAD, range(3, 6)), everywhere(HEAD, range(6, 9))]

    def similarity(members):
        scores = np.ones((9, 9))
        for group, value in (((0,), 100), ((1,), 120), ((2,), 100), ((0, 1), 90)):
            rows = [region for summary in group for region in members[summary]]
            scores[np.ix_(rows, rows)] = np.maximum(scores[np.ix_(rows, rows)], value)
        return scores

    assert parts(three, masks, similarity) == [0, 0, 1]


def test_parts_are_numbered_in_the_order_of_the_summaries_and_grouped_through_others():
    masks = [mask(HEAD, TAIL)] * 6
    a, b, c = (44, 40, 6, 6), (46, 43, 8, 8), (49, 48, 6, 6)
    chain = [everywhere(a, range(3)), everywhere(HEAD, range(6)), everywhere(c, range(3, 6)), everywhere(b, range(6))]
    assert parts(chain, masks) == [0, 1, 0, 0]
    order = [2, 1, 3, 0]
    assert parts([chain[k] for k in order], masks) == [0, 1, 0, 0]


def test_one_summary_is_one_part_and_none_are_none():
    assert parts([everywhere(HEAD)], [mask(HEAD)] * 5) == [0]
    method = DistinctParts()
    places = method.places(np.zeros((0, 8, 8), bool), np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 0)))
    assert method(places, occurrences([], places.image)).shape == (0,)


def test_places_are_symmetric_equal_by_seed_and_image_by_image():
    generator = np.random.default_rng(1)
    image = np.repeat(np.arange(4), 5)
    boxes = np.hstack([generator.integers(0, 40, (20, 2)), generator.integers(4, 20, (20, 2))]).astype(float)
    salient = generator.random((4, SIDE, SIDE)) < 0.3
    first, again = (DistinctParts().places(salient, image, boxes, np.zeros((20, 20)), seed=5) for _ in range(2))
    assert np.array_equal(first.chance, again.chance)
    assert np.array_equal(first.together, first.together.T)
    assert np.array_equal(first.chance, first.chance.T)
    assert not first.together[image[:, None] != image[None]].any()
    two = image < 2
    some = DistinctParts().places(salient, image[two], boxes[two], np.zeros((10, 10)), seed=5)
    assert np.array_equal(some.chance, first.chance[np.ix_(two, two)])


def test_the_main_piece_holds_most_of_what_is_salient_in_the_box():
    salient = mask((2, 2, 10, 10), (20, 2, 4, 4))
    boxes = np.array([[0, 0, 13, 13], [10, 0, 30, 10], [40, 40, 10, 10], [8, 2, 14, 2], [-5, -5, 10, 10]], dtype=float)
    assert main_pieces(salient, boxes).tolist() == [0, 0, -1, 0, 0]


def test_shared_area_is_a_share_of_the_smaller_box():
    first = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], dtype=float)
    second = np.array([[5, 5, 10, 10], [2, 2, 4, 4], [10, 0, 5, 5]], dtype=float)
    assert shared_area(first, second) == pytest.approx(np.array([[0.25, 1, 0], [0, 0, 0]]))
