"""What is lost without several summaries at once: the laws of the joint drop and of its null."""

import numpy as np
import pytest
import torch
from torch import nn

from xvcore.errors import XvError
from xvcore.models import Classifier, Preprocessing
from xvcore.models.architecture import Architecture
from xvcore.visual_summaries.method.drop import CausalDrop
from xvcore.visual_summaries.method.joint_drop import JointDrop, moved, rank_test

SIDE = 32
LEFT, RIGHT = (4.0, 4.0, 8.0, 8.0), (20.0, 4.0, 8.0, 8.0)
NONE = (0.0, 0.0, 0.0, 0.0)


class Either(nn.Module):
    """Logit 1 is high as long as the pattern is there on the left or on the right: one of the two suffices."""

    def forward(self, images):
        left, right = images[:, :, 4:12, 4:12], images[:, :, 4:12, 20:28]
        contrast = torch.maximum(left.var(dim=(1, 2, 3)), right.var(dim=(1, 2, 3)))
        return torch.stack([torch.zeros_like(contrast), 200 * contrast - 6], dim=1)


@pytest.fixture
def classifier():
    preprocessing = Preprocessing(input_px=(SIDE, SIDE), resize_px=None, mean=(0.0,) * 3, std=(1.0,) * 3)
    architecture = Architecture("either", lambda _: Either(), preprocessing, 2, ())
    return Classifier("either", architecture, preprocessing, Either(), "", "", 2)


def images(n):
    """Return grey pictures with noise in two squares."""
    found = torch.full((n, 3, SIDE, SIDE), 0.5)
    noise = torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).round()
    for x, y, w, h in (LEFT, RIGHT):
        rows, columns = slice(int(y), int(y + h)), slice(int(x), int(x + w))
        found[:, :, rows, columns] = noise[:, :, rows, columns]
    return found


def boxes(*summaries):
    return torch.tensor(summaries).reshape(len(summaries), -1, 4)


def drops(classifier, where, n=1, **options):
    settings = options.pop("settings", JointDrop())
    return settings(CausalDrop("mean"), classifier, images(n), torch.ones(n, dtype=torch.long), where, **options)


def test_what_is_needed_together_drops_together_and_not_alone(classifier):
    found = drops(classifier, boxes([LEFT] * 6, [RIGHT] * 6), 6)
    assert [each.drop for each in found.alone] == pytest.approx([0, 0], abs=0.02)
    assert found.joint.drop > 0.9
    assert found.so_far[-1] == pytest.approx(found.joint.drop)
    assert sum(found.gains) == pytest.approx(found.joint.drop)


def test_the_joint_drop_of_one_is_its_causal_drop(classifier):
    n, targets = 5, torch.ones(5, dtype=torch.long)
    where = boxes([(float(k), 2.0, 14.0, 12.0) for k in range(n)])
    expected = CausalDrop("mean")(classifier, images(n), targets, where[0]).median().item()
    found = drops(classifier, where, n)
    values = [found.joint.drop, found.alone[0].drop, found.gains[0], found.so_far[0]]
    assert values == pytest.approx([expected] * 4, abs=1e-6)


def test_what_is_lost_is_the_median_of_what_single_images_lose(classifier):
    found = drops(classifier, boxes([LEFT, NONE, LEFT, LEFT], [(2.0, 2.0, 28.0, 12.0)] * 4), 4)
    for each, images_with in zip((*found.alone, found.joint), ([0, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]), strict=True):
        assert [image.image for image in each.of_images] == images_with
        assert np.median([image.drop for image in each.of_images]) == each.drop
    assert all(image.random < image.drop for image in found.joint.of_images)


def test_without_a_region_nothing_is_lost(classifier):
    assert drops(classifier, torch.zeros(0, 3, 4), 3).joint.drop == 0
    found = drops(classifier, boxes([NONE, NONE], [LEFT, NONE]), 2)
    assert (found.alone[0].drop, found.alone[0].n_images, found.alone[0].p_value) == (0, 0, 1)
    assert (found.alone[1].n_images, found.joint.n_images) == (1, 1)


def test_the_greedy_order_begins_with_what_costs_most_and_a_copy_adds_nothing(classifier):
    both = (4.0, 4.0, 24.0, 8.0)
    found = drops(classifier, boxes([LEFT] * 3, [both] * 3, [both] * 3), 3)
    assert found.order == (1, 0, 2)
    assert found.gains[1:] == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_the_size_of_the_batch_does_not_matter(classifier, batch_size):
    where = boxes([LEFT] * 7, [(float(k), 1.0, 12.0, 9.0) for k in range(7)], [RIGHT] * 3 + [NONE] * 4)
    whole, parts = (drops(classifier, where, 7, batch_size=each) for each in (32, batch_size))
    assert whole.order == parts.order
    assert parts.gains == pytest.approx(whole.gains, abs=1e-6)
    for one, other in zip((*whole.alone, whole.joint), (*parts.alone, parts.joint), strict=True):
        assert other.drop == pytest.approx(one.drop, abs=1e-6)
        assert other.random == pytest.approx(one.random, abs=1e-6)


def test_the_null_is_the_same_for_a_seed_and_another_for_another(classifier):
    where = boxes([(2.0, 2.0, 28.0, 12.0)] * 5)
    first, second, third = (drops(classifier, where, 5, seed=seed).joint for seed in (1, 1, 2))
    assert first == second
    assert first.drop == third.drop
    assert first.p_value != third.p_value, "the places are others"


def test_random_regions_have_the_size_of_the_own_and_lie_inside():
    where = boxes([LEFT, (0.0, 0.0, 32.0, 5.0)], [RIGHT, NONE])
    places = moved(where, (SIDE, SIDE), 200, seed=3)
    assert torch.equal(places[..., 2:], where[..., 2:].expand(200, -1, -1, -1))
    assert (places[..., :2] >= 0).all()
    assert (places[..., :2] + places[..., 2:] <= SIDE).all()
    assert torch.equal(places, places.floor())
    assert set(places[:, 0, 0, 0].tolist()) == set(map(float, range(25))), "every place inside is drawn"


def test_only_a_region_that_matters_is_above_random(classifier):
    settings = JointDrop()
    both, corner = (2.0, 2.0, 28.0, 12.0), (12.0, 20.0, 8.0, 8.0)
    found = drops(classifier, boxes([both] * 6, [corner] * 6), 6)
    assert [settings.is_above_random(each) for each in found.alone] == [True, False]
    assert found.alone[0].random < found.alone[0].drop


def test_ranks_by_chance_are_rarely_above_random():
    generator = np.random.default_rng(0)
    values = [rank_test(generator.random(8), generator.random((5, 8))) for _ in range(2000)]
    assert np.mean(np.array(values) <= 0.05) == pytest.approx(0.04, abs=0.015), "at most 5 %, since ranks are whole"


def test_the_highest_rank_in_every_image_is_as_likely_as_one_in_all():
    own, random = np.full(3, 2.0), np.ones((5, 3))
    assert rank_test(own, random) == pytest.approx(1 / 6**3)
    assert rank_test(np.zeros(3), random) == 1


def test_unequal_numbers_are_refused(classifier):
    with pytest.raises(XvError, match="2 images, 2 targets, boxes of 3"):
        JointDrop()(CausalDrop(), classifier, images(2), torch.ones(2, dtype=torch.long), torch.zeros(1, 3, 4))
