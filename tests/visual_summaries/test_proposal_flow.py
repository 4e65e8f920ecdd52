"""Laws of proposal flow; the oracle restates the formulas region by region, in double precision."""

import itertools
import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from xvcore.errors import ParameterError, XvError
from xvcore.ops.hough import HoughSpace
from xvcore.ops.largest import Largest
from xvcore.ops.local_offset import medians
from xvcore.visual_summaries.method import proposal_flow
from xvcore.visual_summaries.method.proposal_flow import ProposalFlow, Proposals, match, match_all

SIZE = (96, 128)
FLOWS = [
    ProposalFlow(kind="nam"),
    ProposalFlow(kind="phm"),
    ProposalFlow(),
    ProposalFlow(order="sequential"),
]
ids = [f"{flow.kind}-{flow.order}" for flow in FLOWS]


def regions(seed, n=40, dimensions=12, size=SIZE):
    generator = np.random.default_rng(seed)
    height, width = size
    sides = generator.integers(8, 60, (n, 2))
    corner = (generator.random((n, 2)) * ([width, height] - sides)).astype(int)
    boxes = torch.from_numpy(np.concatenate([corner, sides], axis=1)).float()
    return Proposals(boxes, torch.from_numpy(generator.normal(size=(n, dimensions))).float())


def resembling(a, seed, noise=0.3, shift=(0, 0)):
    """The same regions in another order, elsewhere, a little changed."""
    generator = np.random.default_rng(seed)
    order = torch.from_numpy(generator.permutation(len(a.boxes)))
    moved = a.boxes[order] + torch.tensor([*shift, 0, 0])
    return Proposals(
        moved, a.descriptors[order] + noise * torch.from_numpy(generator.normal(size=a.descriptors.shape)).float()
    )


# The oracle ------------------------------------------------------------------------------------------------------------


def literal_appearance(a, b):
    confidence = np.zeros((len(a.boxes), len(b.boxes)))
    for i, j in itertools.product(range(len(a.boxes)), range(len(b.boxes))):
        _, _, wa, ha = a.boxes[i].double().tolist()
        _, _, wb, hb = b.boxes[j].double().tolist()
        # Sides are whole pixels: compared without rounding.
        if wb * ha < 2 * wa * hb and wa * hb < 2 * wb * ha:
            confidence[i, j] = max(0.0, float(a.descriptors[i].double() @ b.descriptors[j].double()))
    return confidence


def literal_phm(a, b, size=SIZE):
    s = literal_appearance(a, b)
    height, width = size
    cell = max(math.sqrt(4 * width * height / 8000), 5)
    votes, bins = {}, {}
    for i in range(len(a.boxes)):
        best = {}
        for j in range(len(b.boxes)):
            xa, ya, wa, ha = frame(a.boxes[i])
            xb, yb, wb, hb = frame(b.boxes[j])
            x = xb + wb * (width - xa) / wa
            y = yb + hb * (height - ya) / ha
            scale = math.log2(wb * hb / (wa * ha))
            if 1 <= x <= 2 * width and 1 <= y <= 2 * height and -4 <= scale <= 4:
                place = (int((x - 1) / cell), int((y - 1) / cell), min(int((scale + 4) / 0.4), 19))
                bins[i, j] = place
                best[place] = max(best.get(place, 0), s[i, j])
        for place, vote in best.items():
            votes[place] = votes.get(place, 0) + vote
    weight = np.exp(-0.5 * (np.arange(-2, 3) / 1.062) ** 2)
    weight /= weight.sum()
    z = np.zeros_like(s)
    for (i, j), (x, y, t) in bins.items():
        around = 0.0
        for dx, dy, dt in itertools.product(range(-2, 3), repeat=3):
            around += weight[dx + 2] * weight[dy + 2] * weight[dt + 2] * votes.get((x + dx, y + dy, t + dt), 0)
        z[i, j] = s[i, j] * around
    return z


def frame(box):
    x, y, w, h = box.double().tolist()
    return x + w / 2, y + h / 2, w / 2, h / 2


def reweighted_median(values, iterations=20, epsilon=1e-9):
    """What the authors' loop computes: re-weighted means, each coordinate for itself, from (1, 1, 1)."""
    median = np.ones(values.shape[1])
    for _ in range(iterations):
        weight = 1 / (np.abs(values - median) + epsilon)
        median = (weight * values).sum(axis=0) / weight.sum(axis=0)
    return median


def literal_lom(a, b, *, is_sequential, median=lambda values: np.median(values, axis=0)):
    c = literal_appearance(a, b)
    boxes_a, boxes_b = a.boxes.double().numpy(), b.boxes.double().numpy()
    result = c if is_sequential else np.zeros_like(c)

    def offset(i, j):
        xa, ya, wa, ha = frame(a.boxes[i])
        xb, yb, wb, hb = frame(b.boxes[j])
        return np.array([xa - xb, ya - yb, wa * ha / (wb * hb)])

    for i in range(len(boxes_a)):
        x, y, w, h = boxes_a[i]
        near = [
            k
            for k, (p, q, u, v) in enumerate(boxes_a)
            if min(x + w, p + u) > max(x, p) and min(y + h, q + v) > max(y, q)
        ]
        local = median(np.array([offset(k, int(np.argmax(c[k]))) for k in near]))
        support = sum(c[k].max() for k in near) / c.max(axis=1).sum()
        row = np.zeros(len(boxes_b))
        for j in range(len(boxes_b)):
            dx, dy, ds = offset(i, j) - local
            row[j] = c[i, j] * math.exp(-0.05 * math.hypot(dx, dy) - 0.3 * abs(ds)) * support
        result[i] = row
    return result


def literal(a, b, flow):
    if flow.kind == "nam":
        return literal_appearance(a, b)
    if flow.kind == "phm":
        return literal_phm(a, b)
    return literal_lom(a, b, is_sequential=flow.order == "sequential")


# Laws ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", FLOWS, ids=ids)
@pytest.mark.parametrize("seed", [1, 2])
def test_confidence_is_the_papers(flow, seed):
    a = regions(seed)
    for b in (regions(seed + 10, n=33), resembling(a, seed, shift=(3, -2))):
        expected = literal(a, b, flow)
        found = match(a, b, SIZE, flow).numpy()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_appearance_is_symmetric():
    a, b = regions(1), regions(2)
    flow = ProposalFlow(kind="nam")
    torch.testing.assert_close(match(a, b, SIZE, flow), match(b, a, SIZE, flow).T)
    torch.testing.assert_close(match(a, a, SIZE, flow), match(a, a, SIZE, flow).T)


@pytest.mark.parametrize("flow", FLOWS, ids=ids)
def test_regions_match_themselves(flow):
    a = regions(3, n=200, dimensions=200)
    best = match(a, a, SIZE, flow).argmax(dim=1)
    assert (best == torch.arange(200)).float().mean() >= 0.99


def test_a_common_translation_by_whole_cells_does_not_change_the_hough_confidence():
    a = regions(4, size=(48, 64))
    b = resembling(a, 5)
    space = HoughSpace(*SIZE)
    assert space.cell == 5
    plain = match(a, b, SIZE, ProposalFlow(kind="phm"))
    b = Proposals(b.boxes + torch.tensor([10.0, 5.0, 0, 0]), b.descriptors)
    both_valid = (space.bins(a.boxes, b.boxes[None]) >= 0)[:, 0]
    shifted = match(a, b, SIZE, ProposalFlow(kind="phm"))
    # Votes that leave the range of offsets are lost; those far from it are the same.
    far = both_valid & (space.bins(a.boxes, (b.boxes + torch.tensor([60.0, 60, 0, 0]))[None]) >= 0)[:, 0]
    assert (far & (plain > 0)).sum() > 20
    torch.testing.assert_close(plain[far], shifted[far])


def test_a_common_translation_does_not_change_the_local_offset_confidence():
    a = regions(4)
    b = resembling(a, 5)
    far = Proposals(b.boxes + torch.tensor([17.0, -9.0, 0, 0]), b.descriptors)
    torch.testing.assert_close(match(a, b, SIZE, ProposalFlow()), match(a, far, SIZE, ProposalFlow()))


@pytest.mark.parametrize("n", [1, 2, 7, 40, 41])
def test_medians_are_those_of_numpy(n):
    generator = np.random.default_rng(n)
    values = generator.normal(0, 50, (n, 9)).astype(np.float32)
    values[:, 0] = values[:, 0].round(-1)
    chosen = generator.random((13, n)) < 0.4
    chosen[np.arange(13), np.arange(13) % n] = True
    expected = np.stack([np.median(values[each], axis=0) for each in chosen])
    found = medians(torch.from_numpy(values), torch.from_numpy(chosen)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_median_of_nothing_is_not_a_number():
    chosen = torch.tensor([[True, False], [False, False]])
    assert medians(torch.tensor([[1.0], [2.0]]), chosen).isnan().tolist() == [[False], [True]]


def test_re_weighted_iterations_approach_the_median():
    generator = np.random.default_rng(0)
    values = generator.normal(0, 20, (101, 3))
    values[:60] = generator.normal([5, -3, 1], 0.5, (60, 3))
    assert np.abs(reweighted_median(values) - np.median(values, axis=0)).max() < 0.1


def test_the_exact_median_finds_the_matches_of_the_re_weighted_one():
    a = regions(8, n=60, dimensions=60)
    b = resembling(a, 9, noise=0.5, shift=(6, 4))
    loop = literal_lom(a, b, is_sequential=False, median=reweighted_median)
    found = match(a, b, SIZE, ProposalFlow()).numpy()
    assert (found.argmax(axis=1) == loop.argmax(axis=1)).mean() >= 0.95


# All pairs -------------------------------------------------------------------------------------------------------------


def a_class(n_images=5):
    first = regions(20, n=30)
    images = [
        first,
        *(resembling(first, seed, shift=(seed % 3, 0)) for seed in range(1, n_images - 1)),
        regions(21, n=17),
    ]
    generator = np.random.default_rng(0)
    return images, [torch.from_numpy(generator.random(len(each.boxes)) < 0.5) for each in images]


def literal_all(images, candidates, flow, n_similar):
    places = [(i, k) for i, each in enumerate(candidates) for k in each.nonzero()[:, 0].tolist()]
    found = {
        (i, j): match(images[i], images[j], SIZE, flow)
        for i, j in itertools.combinations_with_replacement(range(len(images)), 2)
    }
    scores = torch.zeros(len(places), len(places))
    for p, (i, a) in enumerate(places):
        for q, (j, b) in enumerate(places):
            scores[p, q] = found[i, j][a, b] if i <= j else found[j, i][b, a]
    redundancy = []
    for i, a in places:
        row = torch.cat([found[i, j][a] if i < j else found[j, i][:, a] for j in range(len(images)) if j != i])
        redundancy.append(row.sort(descending=True).values[:n_similar].mean())
    return places, scores, torch.stack(redundancy)


@pytest.mark.parametrize("at_once", [1, 2500, 2**21])
@pytest.mark.parametrize("flow", FLOWS, ids=ids)
def test_all_pairs_are_the_single_pairs(flow, at_once, monkeypatch):
    monkeypatch.setitem(proposal_flow.MATCHES_AT_ONCE, "cpu", at_once)
    images, candidates = a_class()
    places, scores, redundancy = literal_all(images, candidates, flow, 100)
    found = match_all(images, candidates, SIZE, flow)
    assert list(zip(found.image.tolist(), found.box.tolist(), strict=True)) == places
    torch.testing.assert_close(found.scores, scores, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.redundancy, redundancy, rtol=1e-4, atol=1e-4)


def test_scores_are_symmetric_but_for_an_image_with_itself():
    images, candidates = a_class()
    found = match_all(images, candidates, SIZE, ProposalFlow())
    other = found.image[:, None] != found.image
    assert torch.equal(found.scores[other], found.scores.T[other])


def test_the_order_of_images_only_turns_the_direction_of_pairs():
    images, candidates = a_class(3)
    flow = ProposalFlow(kind="nam")
    found = match_all(images, candidates, SIZE, flow)
    back = match_all(images[::-1], candidates[::-1], SIZE, flow)
    same = torch.cat([(back.image == len(images) - 1 - i).nonzero()[:, 0] for i in range(len(images))])
    torch.testing.assert_close(found.scores, back.scores[same][:, same])
    torch.testing.assert_close(found.redundancy, back.redundancy[same])


def test_the_last_two_images_may_change_places():
    images, candidates = a_class(4)
    swapped = [0, 1, 3, 2]
    found = match_all(images, candidates, SIZE, ProposalFlow())
    other = match_all([images[i] for i in swapped], [candidates[i] for i in swapped], SIZE, ProposalFlow())
    same = torch.cat([(other.image == swapped[i]).nonzero()[:, 0] for i in range(4)])
    within = (found.image[:, None] >= 2) & (found.image >= 2) & (found.image[:, None] != found.image)
    torch.testing.assert_close(
        found.scores.masked_fill(within, 0), other.scores[same][:, same].masked_fill(within, 0), rtol=1e-4, atol=1e-4
    )


def test_candidates_do_not_change_the_scores_of_others():
    images, candidates = a_class()
    everything = [torch.ones(len(each.boxes), dtype=torch.bool) for each in images]
    found, full = (match_all(images, chosen, SIZE, ProposalFlow()) for chosen in (candidates, everything))
    kept = torch.cat(candidates).nonzero()[:, 0]
    torch.testing.assert_close(found.scores, full.scores[kept][:, kept])
    torch.testing.assert_close(found.redundancy, full.redundancy[kept])


def test_classes_without_candidates_images_or_regions_have_no_matches():
    images, candidates = a_class()
    none = [torch.zeros_like(each) for each in candidates]
    assert match_all(images, none, SIZE, ProposalFlow()).scores.shape == (0, 0)
    assert len(match_all([], [], SIZE, ProposalFlow()).image) == 0
    empty = Proposals(torch.zeros(0, 4), torch.zeros(0, 12))
    found = match_all([empty, images[0], empty], [none[0][:0], candidates[0], none[0][:0]], SIZE, ProposalFlow())
    assert found.image.unique().tolist() == [1]
    assert (found.redundancy == 0).all()
    assert match(empty, images[0], SIZE, ProposalFlow()).shape == (0, 30)


def test_an_image_without_candidates_still_counts_for_the_redundancy():
    images, candidates = a_class()
    candidates[0] = torch.zeros_like(candidates[0])
    _, scores, redundancy = literal_all(images, candidates, ProposalFlow(), 100)
    found = match_all(images, candidates, SIZE, ProposalFlow())
    torch.testing.assert_close(found.scores, scores, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.redundancy, redundancy, rtol=1e-4, atol=1e-4)


def test_progress_counts_images():
    seen = []
    images, candidates = a_class(3)
    match_all(images, candidates, SIZE, ProposalFlow(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_inputs_are_left_as_they_were():
    images, candidates = a_class(3)
    before = [(each.boxes.clone(), each.descriptors.clone()) for each in images]
    for flow in FLOWS:
        match_all(images, candidates, SIZE, flow)
    for each, (boxes, descriptors) in zip(images, before, strict=True):
        assert torch.equal(each.boxes, boxes)
        assert torch.equal(each.descriptors, descriptors)


def test_the_largest_of_a_stream_are_those_of_all():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5, 60, generator=generator)
    stream = Largest(5, 7, torch.device("cpu"))
    for part in values.split([3, 20, 1, 36], dim=1):
        stream.add(slice(0, 2), part[:2])
        stream.add(slice(2, 5), part[2:])
    torch.testing.assert_close(stream.mean(), values.topk(7).values.mean(dim=1))
    assert Largest(2, 3, torch.device("cpu")).mean().tolist() == [0, 0]


def test_what_cannot_be_is_refused():
    a = regions(1)
    with pytest.raises((XvError, TypeCheckError), match="descriptors"):
        Proposals(a.boxes, a.descriptors[:3])
    with pytest.raises(XvError, match="1 images, 2 sets"):
        match_all([a], [torch.ones(40, dtype=torch.bool)] * 2, SIZE, ProposalFlow())
    with pytest.raises((ParameterError, TypeCheckError), match="kind"):
        ProposalFlow(kind="best")


@pytest.mark.gpu
@pytest.mark.parametrize("flow", FLOWS, ids=ids)
def test_devices_agree(flow):
    images, candidates = a_class()
    moved = [Proposals(each.boxes.cuda(), each.descriptors.cuda()) for each in images]
    here, there = match_all(images, candidates, SIZE, flow), match_all(moved, candidates, SIZE, flow)
    torch.testing.assert_close(here.scores, there.scores.cpu(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(here.redundancy, there.redundancy.cpu(), rtol=1e-3, atol=1e-3)
