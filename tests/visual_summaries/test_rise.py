"""RISE against a literal restatement, and against its expectation where that is known."""

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xvcore.errors import ParameterError
from xvcore.models import Architecture, Classifier, Preprocessing
from xvcore.visual_summaries.method.rise import Rise, without_most_salient


class LinearProbability(nn.Module):
    """A network of two outputs whose probabilities are q and 1 − q, with q linear in the pixels."""

    def __init__(self, weights, constant):
        super().__init__()
        self.weights, self.constant = nn.Parameter(weights), constant

    def forward(self, pictures):
        probability = (pictures * self.weights).sum(dim=(1, 2, 3)) + self.constant
        return torch.stack([probability.log(), (1 - probability).log()], dim=1)


def classifier_of(network, size, mean):
    preprocessing = Preprocessing(input_px=size, mean=mean, std=(1.0, 1.0, 1.0))
    return Classifier(
        name="linear",
        architecture=Architecture("linear", lambda _n: network, preprocessing, 2),
        preprocessing=preprocessing,
        network=network,
        weights="none",
        weights_sha256="0" * 64,
        n_classes=2,
    )


def expected_products(size, cells, shown):
    """Return E[M(u)] and E[M(u) M(v)] exactly: over all shifts, and all grids by the variance of a cell."""
    cell = [-(-length // cells) for length in size]
    corners = F.interpolate(
        torch.eye(cells * cells, dtype=torch.float64).view(-1, 1, cells, cells),
        [(cells + 1) * each for each in cell],
        mode="bilinear",
        align_corners=False,
    )
    first, second = 0.0, 0.0
    for y, x in itertools.product(range(cell[0]), range(cell[1])):
        weights = corners[:, 0, y : y + size[0], x : x + size[1]].flatten(1)
        mean = shown * weights.sum(dim=0)
        first = first + mean
        second = second + mean[:, None] * mean + shown * (1 - shown) * weights.T @ weights
    n_shifts = cell[0] * cell[1]
    return first / n_shifts, second / n_shifts


def test_the_expectation_of_a_linear_probability_is_the_analytic_one():
    size, generator = (6, 8), torch.Generator().manual_seed(12)
    weights = torch.zeros(3, *size, dtype=torch.float64)
    weights[:, :3, 4:] = 0.03  # only this corner counts
    images = 0.5 + torch.rand(2, 3, *size, dtype=torch.float64, generator=generator) / 2
    mean = (0.4, 0.5, 0.6)
    classifier = classifier_of(LinearProbability(weights, 0.4), size, mean)
    method = Rise(n_masks=10_000, cells=2, shown=0.3)
    found = method.saliency(classifier, images, torch.tensor([0, 0]))
    mean_mask, products = expected_products(size, 2, 0.3)
    for saliency, image in zip(found, images, strict=True):
        centred = image - torch.tensor(mean, dtype=torch.float64).view(3, 1, 1)
        of_pixel = (weights * centred).sum(dim=0).flatten()  # what the network gains where it sees a pixel
        expected = (products @ of_pixel + 0.4 * mean_mask) / 0.3
        assert expected.max() - expected.min() > 0.04
        torch.testing.assert_close(saliency.flatten(), expected, rtol=0, atol=0.015)
        assert torch.corrcoef(torch.stack([saliency.flatten(), expected]))[0, 1] > 0.98


def test_saliency_is_the_papers_sum(make_classifier, make_images):
    classifier, (images, targets) = make_classifier(torch.float64), make_images(3, torch.float64)
    method = Rise(n_masks=11, cells=4)
    masks = torch.cat(list(method.masks((40, 48), 4)))
    assert torch.equal(masks, torch.cat(list(method.masks((40, 48), 11))))
    mean = torch.tensor(classifier.preprocessing.mean, dtype=torch.float64).view(3, 1, 1)
    found = method(classifier, images, targets).saliency
    for index, target in enumerate(targets.tolist()):
        expected = sum(
            classifier.probabilities((mask * (images[index] - mean) + mean)[None])[0, target] * mask for mask in masks
        ) / (0.5 * 11)
        torch.testing.assert_close(found[index], expected, rtol=0, atol=1e-12)


def test_masks_have_the_mean_that_is_asked_for():
    masks = torch.cat(list(Rise(n_masks=3000, shown=0.3).masks((30, 41), 500)))
    assert masks.shape == (3000, 1, 30, 41)
    assert ((masks.mean(dim=0) - 0.3).abs() < 0.04).all()
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-12


def test_the_crisp_mask_removes_the_most_salient_pixels(make_classifier, make_images):
    method = Rise(n_masks=20, areas=(0.1, 0.3), share=1.0)  # a share that no area reaches
    found = method(make_classifier(), *make_images(2))
    for saliency, removed in zip(found.saliency, found.removed, strict=True):
        assert removed.sum() == round(0.3 * removed.numel())
        assert saliency[removed].min() >= saliency[~removed].max()
    smallest = dataclasses.replace(method, share=0.0)(make_classifier(), *make_images(2))
    enough = smallest.reached[:, 0] >= 0
    assert (smallest.removed.sum(dim=(1, 2, 3))[enough] == round(0.1 * 40 * 48)).all()


def test_of_equally_salient_pixels_the_first_go():
    assert without_most_salient(torch.zeros(1, 1, 2, 4), 0.25).flatten().tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_nonsense_is_refused_with_what_is_allowed():
    with pytest.raises(ParameterError, match="rising"):
        Rise(areas=(0.2, 0.1))
    with pytest.raises(ParameterError, match=r"shown = 0\.0 is outside"):
        Rise(shown=0.0)
