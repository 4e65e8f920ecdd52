"""How sure the counts are: samples of the images of a class, clustered and judged anew."""

import numpy as np
import pytest
import torch

from xvcore.visual_summaries.method.clustering import Clustering
from xvcore.visual_summaries.method.coherence import ClassImages, Coherence
from xvcore.visual_summaries.method.distinct_parts import DistinctParts, occurrences
from xvcore.visual_summaries.method.proposal_flow import ClassMatches, ProposalFlow, Proposals
from xvcore.visual_summaries.method.recount import CountInterval, Recount, supporting

SIDE = 48
KINDS = [(4, 4, 12, 12), (30, 6, 10, 12), (10, 30, 14, 12)]
"""Boxes of three parts; the mask has a piece around each."""


def a_class(n_images=10, seed=0):
    """Return the recount of a class in which three parts look alike in every image."""
    generator = np.random.default_rng(seed)
    pattern = generator.random((3, SIDE, SIDE))
    pictures = np.stack([pattern + generator.normal(0, 0.05, pattern.shape) for _ in range(n_images)]).clip(0, 1)
    salient = np.zeros((n_images, SIDE, SIDE), bool)
    for x, y, w, h in KINDS:
        salient[:, y : y + h, x : x + w] = True
    boxes = torch.tensor(KINDS, dtype=torch.float32)
    images = ClassImages(
        torch.from_numpy(pictures.astype(np.float32)),
        torch.from_numpy(salient),
        [Proposals(boxes, torch.zeros(3, 0))] * n_images,
    )
    kind, image = np.tile(np.arange(3), n_images), np.repeat(np.arange(n_images), 3)
    scores = np.where(kind[:, None] == kind[None], 20.0, 0.0) + generator.random((len(kind),) * 2)
    scores = ((scores + scores.T) / 2).astype(np.float32)
    regions = ClassMatches(
        torch.from_numpy(image), torch.from_numpy(kind), torch.from_numpy(scores), torch.zeros(len(kind))
    )
    parts = DistinctParts()
    places = parts.places(salient, image, boxes[kind].double().numpy(), scores)
    return Recount(images, regions, places, Clustering(), Coherence(), parts, ProposalFlow())


def test_all_images_are_counted_as_the_stages_count_them():
    recount = a_class()
    clusters = Clustering()(recount.regions.scores)
    summaries = Coherence()(recount.images, recount.regions, clusters, ProposalFlow())
    accepted = [each for each in summaries if each.accepted]
    where = occurrences([supporting(each, clusters, recount.regions) for each in accepted], recount.places.image)
    expected = len(accepted), len(set(DistinctParts()(recount.places, where).tolist()))
    assert recount(np.ones(10, bool)) == expected == (3, 3)


def test_what_is_not_in_the_sample_counts_nowhere():
    whole, few = a_class(), a_class(4)
    chosen = np.arange(10) < 4
    assert whole(chosen)[1] == few(np.ones(4, bool))[1] == 3
    assert whole(np.zeros(10, bool)) == (0, 0)
    assert whole(np.arange(10) < 2) == (0, 0), "a summary needs three images"


def test_samples_are_equal_by_seed_and_of_the_sizes_asked_for():
    method = CountInterval(n_halves=4, n_others=2, shares=(0.2, 0.8))
    first, again = (method(a_class(), 10, seed=3) for _ in range(2))
    assert [(each.n_images, len(each.parts)) for each in first] == [(2, 2), (5, 4), (8, 2)]
    for one, other in zip(first, again, strict=True):
        assert one.summaries.tolist() == other.summaries.tolist()
        assert one.parts.tolist() == other.parts.tolist()
    assert method(a_class(1), 1) == ()


def test_the_interval_of_a_sure_count_is_the_count_and_lies_around_it_else():
    method = CountInterval()
    assert method.interval(3, np.full(50, 2)) == (3, 3)
    low, high = method.interval(5, np.array([2] * 50 + [4] * 50))
    assert (low, high) == (4, 6)
    assert method.interval(0, np.array([0] * 90 + [3] * 10))[0] == 0


def test_halves_vary_as_much_as_samples_of_all_images_do():
    """The law that the interval stands on, for a count that is a sum over images."""
    generator = np.random.default_rng(0)
    drawn = generator.random((2000, 40))
    truth = drawn.mean(axis=1).std()
    halves = np.array([generator.permutation(drawn[0])[:20].mean() for _ in range(2000)])
    assert halves.std() == pytest.approx(drawn[0].std(ddof=1) / 40**0.5, rel=0.08)
    assert halves.std() == pytest.approx(truth, rel=0.25)
