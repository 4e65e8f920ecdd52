"""Laws of the tests by resampling, of deletion, of the probe, and of the verdict that they lead to."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xvcore.comparison.method.deletion import Deletion, seen
from xvcore.comparison.method.probe import Probe, Told
from xvcore.comparison.method.resampling import Mean, holm, interval, mean_of
from xvcore.comparison.method.verdict import CANNOT, COULD, SHARED, UNDECIDED, UNUSED, VERDICTS, Evidence, Judge
from xvcore.errors import XvError
from xvcore.models import Preprocessing, wrap
from xvcore.ops.perturb import baseline

LOSES = Mean(0.4, 0.3, 0.5, 0.001, 30)
LEFT = Mean(0.0, -0.01, 0.01, 0.9, 30)
VAGUE = Mean(0.03, -0.1, 0.2, 0.4, 30)
TELLS = Told(0.95, 0.5, 0.005, 0.9, 0.99, 30)
TELLS_NOT = Told(0.5, 0.5, 0.5, 0.42, 0.58, 30)


def test_all_signs_are_tried_of_few_images():
    values = np.array([1.0, 2.0, 3.0, 0.5])
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in itertools.product([1, -1], repeat=4)
    ]
    found = mean_of(values)
    assert found.p_value == pytest.approx(np.mean([each >= 6.5 for each in sums]))
    assert found.value == pytest.approx(1.625)
    assert found.low <= 1.625 <= found.high


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_a_mean_has_the_sign_and_the_scale_of_its_values(seed):
    values = np.random.default_rng(seed).normal(0.3, 1, 25)
    found, turned = mean_of(values), mean_of(-10 * values)
    assert turned.value == pytest.approx(-10 * found.value)
    assert turned.p_value == pytest.approx(found.p_value)
    assert (turned.low, turned.high) == pytest.approx((-10 * found.high, -10 * found.low), rel=0.2, abs=0.5)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = [
        found.low <= 0.5 <= found.high for found in (mean_of(rng.normal(0.5, 1, 40), n_draws=400) for _ in range(200))
    ]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_few_images_have_no_interval():
    assert np.isnan(mean_of(np.zeros(0)).value)
    assert np.isnan(mean_of(np.ones(1)).low)
    assert mean_of(np.zeros(0)).n == 0


def test_the_interval_of_a_correlation_leaves_out_what_is_not_known():
    x = np.arange(12.0)
    low, high = interval(lambda chosen: float(np.corrcoef(x[chosen], x[chosen])[0, 1]), 12)
    assert (low, high) == pytest.approx((1, 1))
    assert np.isnan(interval(lambda _: float("nan"), 5)[0])


def test_holm_multiplies_step_by_step():
    assert holm(np.array([0.01, 0.04, 0.03, np.nan])) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert holm(np.array([0.6, 0.9])) == pytest.approx([1, 1])
    assert len(holm(np.zeros(0))) == 0


# Deletion


class Reds(nn.Module):
    """Two outputs: how much red there is on the left half and on the right half."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 1, 1, bias=False)
        self.pool = nn.AdaptiveAvgPool2d((1, 2))
        with torch.no_grad():
            self.features.weight[:] = torch.tensor([20.0, 0, 0]).view(1, 3, 1, 1)

    def forward(self, images):
        return self.pool(self.features(images)).flatten(1)


def red_square():
    image = torch.zeros(3, 32, 32)
    image[0, 4:12, 4:12] = 1
    return image


def test_what_boxes_cover_is_replaced_and_nothing_else():
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    both, none = Deletion().deleted(image, [np.array([[2.0, 3, 5, 6], [20, 20, 4, 4]]), np.zeros((0, 4))])
    assert torch.allclose(none, image)
    changed = torch.zeros(32, 32, dtype=torch.bool)
    changed[3:9, 2:7] = changed[20:24, 20:24] = True
    assert torch.allclose(both[:, ~changed], image[:, ~changed])
    assert torch.allclose(both[:, changed], baseline(image[None], "blur_strong")[0][:, changed])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_random_regions_have_the_sizes_stay_inside_and_miss_the_part(seed, n_boxes):
    rng = np.random.default_rng(seed)
    boxes = np.hstack([rng.uniform(0, 40, (n_boxes, 2)), rng.uniform(4, 12, (n_boxes, 2))])
    salient = np.zeros((96, 128), bool)
    salient[60:90, 70:120] = True
    anywhere, on_object = Deletion().random_regions(boxes, salient, rng)
    for drawn in (anywhere, on_object):
        assert (drawn[:, 2:] == boxes[:, 2:]).all()
        assert (drawn[:, :2] >= 0).all()
        assert (drawn[:, :2] + drawn[:, 2:] <= [128, 96]).all()
        for box, part in itertools.product(drawn, boxes):
            assert (np.minimum(box[:2] + box[2:], part[:2] + part[2:]) - np.maximum(box[:2], part[:2]) <= 0).any()
    middle = (on_object[:, :2] + on_object[:, 2:] / 2).astype(int)
    assert salient[middle[:, 1], middle[:, 0]].all()


def test_a_network_loses_by_what_it_looks_at_and_batches_do_not_matter():
    classifier = wrap(Reds(), name="reds", preprocessing=Preprocessing((32, 32), None, (0, 0, 0), (1, 1, 1)))
    pictures = Deletion(baseline="mean").deleted(red_square(), [np.zeros((0, 4)), np.array([[4.0, 4, 8, 8]])])
    found = seen(classifier, pictures, 0, "features")
    one_by_one = seen(classifier, pictures, 0, "features", batch_size=1)
    assert found.probabilities[0] > found.probabilities[1] + 0.1
    assert found.features.shape == (2, 1)
    assert one_by_one.probabilities == pytest.approx(found.probabilities)
    with pytest.raises(XvError, match="at least one"):
        seen(classifier, pictures[:0], 0, "features")


# Probe


def versions(seed, effect, n=30, units=40, n_present=3):
    """Return features of versions without and with a part whose direction all images share."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=units) / np.sqrt(units)
    image = 5 * rng.normal(size=(n, 1, units))
    noise = rng.normal(size=(n, 1 + n_present, units)) * 0.3
    found = image + noise
    found[:, 0] += effect * direction
    return found[:, 0], found[:, 1:]


def test_a_direction_that_all_images_share_is_told():
    told = Probe()(*versions(0, 3.0))
    assert told.accuracy > 0.9
    assert told.p_value < 0.02
    assert told.low > told.baseline + 0.2
    assert told.baseline == pytest.approx(0.5, abs=0.03)


def test_features_without_the_part_are_told_as_seldom_as_chance_says():
    p_values = [Probe(n_shuffles=60)(*versions(seed, 0.0, n=10, units=10)).p_value for seed in range(60)]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.15
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.12)


def test_seeing_that_something_was_deleted_is_not_seeing_the_part():
    rng = np.random.default_rng(3)
    image, deleted = rng.normal(size=(30, 20)), rng.normal(size=20)
    versions_of = [image, *(image + deleted + 0.1 * rng.normal(size=(30, 20)) for _ in range(3))]
    told = Probe()(versions_of[1], np.stack([versions_of[2], versions_of[3]], axis=1))
    assert told.accuracy == pytest.approx(0.5, abs=0.2)
    assert told.p_value > 0.02


def test_a_probe_is_the_ridge_regression_of_its_docstring():
    without, present = versions(5, 1.0, n=12, units=6)
    x = np.concatenate([without[:, None], present], axis=1)
    x = x - x.mean(axis=1, keepdims=True)
    fold = np.random.default_rng(7)
    fold.integers(0, 4, (20, 12))
    fold = fold.permutation(12) % 2
    right = []
    for k in range(2):
        rows = x[fold != k].reshape(-1, 6)
        y = np.tile([0.75, -0.25, -0.25, -0.25], (fold != k).sum())
        penalty = (rows**2).sum() / len(rows)
        w = np.linalg.solve(rows.T @ rows + penalty * np.eye(6), rows.T @ y)
        right += [np.mean(s[0] > s[1:]) for s in x[fold == k] @ w]
    assert Probe(n_folds=2, n_shuffles=20)(without, present, seed=7).accuracy == pytest.approx(np.mean(right))


def test_fewer_images_than_folds_are_refused():
    with pytest.raises(XvError, match="5 folds"):
        Probe()(*versions(0, 1.0, n=3))


# Verdict


@pytest.mark.parametrize(
    ("evidence", "verdict", "reason"),
    [
        (Evidence(is_matched=True), SHARED, "is the same"),
        (Evidence(is_matched=False, own=LOSES, other=LOSES, told=TELLS), SHARED, "loses by its deletion"),
        (Evidence(is_matched=False, own=LOSES, other=LEFT, told=TELLS), COULD, "probe"),
        (Evidence(is_matched=False, own=LOSES, other=LEFT, told=TELLS_NOT), CANNOT, "no probe"),
        (Evidence(is_matched=False, own=LEFT, other=LEFT, told=TELLS), UNDECIDED, "itself"),
        (Evidence(is_matched=False, own=LOSES, other=VAGUE, told=TELLS), UNDECIDED, "too few images"),
        (Evidence(is_matched=False, own=LOSES, other=LEFT), UNUSED, "no probe was trained"),
        (Evidence(is_matched=False, own=LOSES, other=LEFT, told=Told(0.6, 0.5, 0.1, 0.5, 0.7, 30)), UNUSED, "open"),
        (Evidence(is_matched=False, own=LEFT, other=LEFT, told=Told(0.6, 0.5, 0.1, 0.5, 0.7, 30)), UNDECIDED, "itself"),
        (Evidence(is_matched=False, own=LOSES, other=Mean(0, 0, 0, 1, 3)), UNDECIDED, "3 images"),
        (Evidence(is_matched=False), UNDECIDED, "not deleted"),
    ],
)
def test_the_verdict_follows_from_the_tests(evidence, verdict, reason):
    found, why = Judge()(evidence)
    assert found == verdict
    assert found in VERDICTS
    assert reason in why
