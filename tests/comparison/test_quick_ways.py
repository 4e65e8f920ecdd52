"""Laws of the quick ways: each gives what the plain way gives."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from xvcore.comparison.method.concept_regression import ConceptRegression
from xvcore.comparison.method.deletion import seen
from xvcore.comparison.method.matching import _above_zero
from xvcore.comparison.runs.coverage import _salient_shares
from xvcore.comparison.runs.liken import _overlap
from xvcore.models import Preprocessing, wrap
from xvcore.models.layout import laid_out, takes_channels_last
from xvcore.store.encode import rle_encode, rle_overlap

RNG = np.random.default_rng(0)


class Rows(nn.Module):
    """A network that takes its maps for rows, as old ones do: torch refuses that of channels side by side."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4 * 16 * 16, 2)

    def forward(self, images):
        maps = self.features(images)
        return self.head(maps.view(len(images), -1))


class Flat(Rows):
    """The same, written so that it takes either layout."""

    def forward(self, images):
        return self.head(self.features(images).flatten(1))


@pytest.mark.parametrize(("network", "takes"), [(Rows, False), (Flat, True)])
def test_what_a_network_says_does_not_depend_on_the_layout_that_it_is_given(network, takes):
    torch.manual_seed(0)
    classifier = wrap(network(), name="net", preprocessing=Preprocessing((16, 16), None))
    pictures = torch.rand(3, 3, 16, 16)
    assert takes_channels_last(classifier) is takes
    assert laid_out(classifier, pictures).is_contiguous(memory_format=torch.channels_last) is takes
    found = seen(classifier, pictures, 1, "features")
    assert found.probabilities == pytest.approx(classifier.probabilities(pictures)[:, 1].double().numpy(), abs=1e-6)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.0, 0.3), (0.0, 0.0), (1.0, 0.2)])
def test_packed_masks_overlap_as_run_lengths_do(shares):
    one, other = (RNG.random((9, 13)) < share for share in shares)
    assert _overlap(np.packbits(one), np.packbits(other)) == rle_overlap(rle_encode(one), rle_encode(other))


def test_the_share_of_a_box_that_is_salient_is_that_of_its_pixels():
    mask = RNG.random((20, 30)) < 0.5
    boxes = np.concatenate([RNG.uniform(-3, 28, (200, 2)), RNG.uniform(0, 9, (200, 2))], axis=1)
    boxes[::7, 2:] = 0  # points
    for box, share in zip(boxes, _salient_shares(mask, boxes), strict=True):
        left, top = np.clip(np.floor(box[:2]), 0, [29, 19]).astype(int)
        right, bottom = np.clip(np.ceil(box[:2] + box[2:]), [left + 1, top + 1], [30, 20]).astype(int)
        pixels = [mask[y, x] for y, x in itertools.product(range(top, bottom), range(left, right))]
        assert share == sum(pixels) / len(pixels)


@pytest.mark.parametrize("values", [[0.1, 0.2, 0.4], [-1.0, 2.0, 0.5, 0.1], [1e-9, -3.0, -2.0]])
def test_the_gain_of_flow_is_tested_by_student(values):
    expected = stats.ttest_1samp(values, 0.0, alternative="greater").pvalue
    assert _above_zero(np.array(values)) == pytest.approx(expected, rel=1e-9)


def test_concepts_are_predicted_alike_one_by_one_and_together():
    activations, images = RNG.random((40, 6)), np.repeat(np.arange(10), 4)
    concepts = np.concatenate([activations[:, :2] + 0.1 * RNG.random((40, 2)), RNG.random((40, 3))], axis=1)
    regression = ConceptRegression()
    together = regression.scores(concepts, activations, images)
    alone = [regression.scores(each[:, None], activations, images)[0] for each in concepts.T]
    assert together == pytest.approx(alone, abs=1e-9)
    assert together[0] > 0.9 > 0.5 > together[-1]
