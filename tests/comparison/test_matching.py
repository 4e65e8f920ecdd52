import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xvcore.comparison.method.matching import NONE, Matching, Parts, halves, overlaps
from xvcore.errors import XvError

SIZE = (100, 100)


def parts_at(places, n_images=12, side=20.0, jitter=2.0, seed=0, images=None):
    """Return a part at each place (x, y) of the images, moved a little."""
    rng = np.random.default_rng(seed)
    rows = [(p, i, x, y) for p, (x, y) in enumerate(places) for i in (range(n_images) if images is None else images[p])]
    part, image = (np.array([row[k] for row in rows], int) for k in (0, 1))
    corners = np.array([row[2:] for row in rows], float).reshape(-1, 2) + rng.uniform(-jitter, jitter, (len(rows), 2))
    return Parts(part, image, np.hstack([corners, np.full((len(rows), 2), side)]), len(places))


def literal_overlap(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def test_place_is_the_mean_over_shared_images_of_the_best_pair():
    rng = np.random.default_rng(4)
    a, b = (
        Parts(
            rng.integers(0, 2, 15),
            rng.integers(0, 4, 15),
            np.hstack([rng.uniform(0, 60, (15, 2)), rng.uniform(5, 40, (15, 2))]),
            2,
        )
        for _ in range(2)
    )
    found = Matching().place(a, b, SIZE)
    for i, j in itertools.product(range(2), range(2)):
        best = [
            max(
                literal_overlap(p, q)
                for p in a.boxes[(a.part == i) & (a.image == image)]
                for q in b.boxes[(b.part == j) & (b.image == image)]
            )
            for image in set(a.image[a.part == i]) & set(b.image[b.part == j])
        ]
        assert found.n[i, j] == len(best)
        assert found.score[i, j] == pytest.approx(np.mean(best) if best else np.nan, nan_ok=True)


@settings(max_examples=15, deadline=None)
@given(st.permutations([0, 1, 2]), st.integers(0, 50))
def test_parts_are_matched_whatever_their_order(order, seed):
    places = [(5, 5), (70, 10), (40, 70)]
    a, b = parts_at(places, seed=seed), parts_at([places[k] for k in order], seed=seed + 1)
    match = Matching(n_draws=100)
    found = match(match.place(a, b, SIZE))
    assert [order[j] for j in found.partner] == [0, 1, 2]
    assert (found.partner == found.nearest).all()


def test_a_part_that_the_other_lacks_has_none():
    match = Matching()
    a, b = parts_at([(5, 5), (70, 10), (40, 70)]), parts_at([(70, 10), (5, 5)], seed=1)
    assert match(match.place(a, b, SIZE)).partner.tolist() == [1, 0, NONE]
    assert match(match.place(b, a, SIZE)).partner.tolist() == [1, 0]
    nothing = Parts(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), 0)
    assert match(match.place(a, nothing, SIZE)).partner.tolist() == [NONE] * 3
    assert match(match.place(nothing, a, SIZE)).partner.tolist() == []


def test_two_summaries_of_one_part_have_one_partner_and_the_same_nearest():
    match = Matching()
    found = match(match.place(parts_at([(5, 5), (6, 6)]), parts_at([(5, 5)], seed=1), SIZE))
    assert sorted(found.partner.tolist()) == [NONE, 0]
    assert found.nearest.tolist() == [0, 0]


def test_random_parts_are_seldom_matched():
    rng = np.random.default_rng(0)
    match, wrong, n_tried = Matching(n_draws=200, least=0.0), 0, 60
    for seed in range(n_tried):

        def scattered(n_parts):
            part, image = np.repeat(np.arange(n_parts), 8), np.tile(np.arange(8), n_parts)
            return Parts(
                part, image, np.hstack([rng.uniform(0, 80, (len(part), 2)), np.full((len(part), 2), 20.0)]), n_parts
            )

        found = match(match.place(scattered(1), scattered(4), SIZE, seed=seed))
        wrong += found.nearest[0] != NONE
    assert wrong <= 8, "5 % of 60 are 3, also where the other has four parts to choose from"


def test_the_null_of_place_is_that_of_random_places():
    a = parts_at([(40, 40)], jitter=0, n_images=1)
    rng = np.random.default_rng(1)
    tried = [literal_overlap((40, 40, 20, 20), (*rng.uniform(0, 80, 2), 20, 20)) for _ in range(20000)]
    assert Matching(n_draws=4000).place(a, a, SIZE).null[0, 0] == pytest.approx(np.mean(tried), abs=0.01)


def test_images_are_compared_with_the_expected_overlap_of_random_ones():
    a, b = parts_at([(0, 0)], images=[[0, 1, 2]]), parts_at([(0, 0)], images=[[1, 2, 3]])
    found = Matching().images(a, b, 6)
    every = [len({0, 1, 2} & set(c)) / len({0, 1, 2} | set(c)) for c in itertools.combinations(range(6), 3)]
    enough = [len({0, 1, 2} & set(c)) >= 2 for c in itertools.combinations(range(6), 3)]
    assert found.score[0, 0] == pytest.approx(2 / 4)
    assert found.null[0, 0] == pytest.approx(np.mean(every))
    assert found.p_value[0, 0] == pytest.approx(np.mean(enough))


def flow_of(a, b, look_a, look_b, rng):
    """Return similarities of regions whose looks are given by part: 1 where equal, with noise."""
    alike = (np.array(look_a)[a.part][:, None] == np.array(look_b)[b.part][None]).astype(float)
    return alike + 0.2 + 0.05 * rng.random(alike.shape)


def test_flow_decides_where_no_image_shows_both():
    rng = np.random.default_rng(2)
    a = parts_at([(5, 5), (70, 10)], images=[range(6), range(6)])
    b = parts_at([(70, 10), (5, 5)], images=[range(6, 12), range(6, 12)], seed=1)
    match = Matching()
    place = match.place(a, b, SIZE)
    assert match(place).partner.tolist() == [NONE, NONE]
    own = flow_of(a, a, [0, 1], [0, 1], rng), flow_of(b, b, [1, 0], [1, 0], rng)
    control = 0.2 + 0.05 * rng.random((len(a.part), len(b.part)))
    flow = match.flow(a, b, flow_of(a, b, [0, 1], [1, 0], rng), own, control)
    assert flow.score == pytest.approx(np.array([[0.19, 1.0], [1.0, 0.19]]), abs=0.03)
    assert match(place, flow).partner.tolist() == [1, 0]


def test_flow_of_a_part_with_itself_is_one_and_ignores_pairs_of_one_image():
    rng = np.random.default_rng(3)
    a = parts_at([(5, 5), (70, 10)])
    similarity = flow_of(a, a, [0, 1], [0, 1], rng)
    similarity = (similarity + similarity.T) / 2
    poisoned = np.where(a.image[:, None] == a.image[None], 1e6, similarity)
    control = np.full_like(similarity, 0.2)
    found = Matching().flow(a, a, poisoned, (poisoned, poisoned), control)
    assert found.score.diagonal() == pytest.approx([1, 1])
    assert found.above_null.diagonal() == pytest.approx([1, 1])
    assert found.p_value[0, 0] < 1e-6
    assert found.score[0, 1] == pytest.approx(0.225 / 1.225, abs=0.02)


def test_halves_share_no_image_and_lose_none():
    one, other = halves([5, 3, 9, 1, 1])
    assert one.tolist() == [1, 5]
    assert other.tolist() == [3, 9]


def test_boxes_without_area_overlap_nothing():
    assert overlaps(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [0.0]


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(XvError, match="expected as many"):
        Parts(np.zeros(2, int), np.zeros(1, int), np.zeros((2, 4)), 1)
    with pytest.raises(XvError, match="expected 0 … 0"):
        Parts(np.ones(1, int), np.zeros(1, int), np.zeros((1, 4)), 1)
