"""Extremal perturbations on networks of which the right region is known, and the laws of their options."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xvcore.errors import ParameterError, XvError
from xvcore.models import Architecture, Classifier, Preprocessing
from xvcore.ops.blur_pyramid import BlurPyramid
from xvcore.ops.momentum import Momentum
from xvcore.ops.perturb import gaussian_blur
from xvcore.visual_summaries.method.extremal_perturbation import ExtremalPerturbation
from xvcore.visual_summaries.method.judged_masks import JUDGES

SIZE = (28, 35)
SHORT = ExtremalPerturbation(
    areas=(0.05, 0.2), n_steps=100, momentum=Momentum(0.03), area_growth=1.05, cell_px=3, sigma_px=3.0, blur_px=6.0
)


class Linear(nn.Module):
    """A network whose first score is linear in the pixels, the second is constant."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, pictures):
        score = (pictures * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([score, 0 * score + 1], dim=1)


def classifier_of(network):
    preprocessing = Preprocessing(input_px=SIZE)
    return Classifier(
        name="linear",
        architecture=Architecture("linear", lambda _n: network, preprocessing, 2),
        preprocessing=preprocessing,
        network=network,
        weights="none",
        weights_sha256="0" * 64,
        n_classes=2,
    )


@pytest.fixture
def scene():
    """Return a network whose score is how much of a picture's detail a window shows, the picture, and the window."""
    coarse = torch.rand(1, 3, 7, 9, generator=torch.Generator().manual_seed(9))
    images = F.interpolate(coarse, SIZE, mode="bicubic").clamp(0, 1)
    window = torch.zeros(SIZE, dtype=torch.bool)
    window[4:16, 18:30] = True  # 144 of 980 pixels: 15 %
    return classifier_of(Linear(6 * window * (images - gaussian_blur(images, 6.0))[0])), images, window


@pytest.mark.parametrize("game", ["preserve", "delete", "hybrid"])
def test_the_mask_lies_where_the_network_looks(game, scene):
    classifier, images, window = scene
    masks = dataclasses.replace(SHORT, game=game)(classifier, images, torch.tensor([0]))
    small, large = masks.of_areas[0]
    assert small[window].sum() / small.sum() > 0.65  # by chance .15
    assert large[window].mean() > 0.75  # by chance .2
    assert large[~window].mean() < 0.15
    assert masks.removed[0, 0][window].float().mean() > 5 * masks.removed[0, 0][~window].float().mean()


def test_masks_have_the_areas_that_are_asked_for(make_classifier, make_images):
    masks = SHORT(make_classifier(), *make_images(1))
    for place, area in enumerate(SHORT.areas):
        of_area = masks.of_areas[:, place]
        assert ((of_area.mean(dim=(1, 2)) - area).abs() < 0.03).all()
        assert (((of_area > 0.5).float().mean(dim=(1, 2)) - area).abs() < 0.04).all()


def test_the_smallest_area_that_reaches_the_share_is_chosen(make_classifier, make_images):
    classifier, batch = make_classifier(torch.float64), make_images(3, torch.float64)
    method = dataclasses.replace(SHORT, n_steps=5)
    masks = method(classifier, *batch)
    reached = masks.reached
    for share in (0.0, float(reached.flatten().median()), float(reached.max()) + 0.1):
        chosen = dataclasses.replace(method, share=min(max(share, 0.0), 1.0))(classifier, *batch)
        for image, place in enumerate(chosen.place.tolist()):
            suffices = [index for index, value in enumerate(reached[image].tolist()) if value >= share]
            assert place == (suffices[0] if suffices else len(method.areas) - 1)
            torch.testing.assert_close(chosen.smooth[image, 0], 1 - masks.of_areas[image, place])
            assert torch.equal(chosen.removed[image, 0], masks.of_areas[image, place] > 0.5)


@pytest.mark.parametrize("game", ["preserve", "delete", "hybrid"])
def test_what_is_reached_is_what_is_kept_or_lost(game, make_classifier, make_images):
    classifier, (images, targets) = make_classifier(torch.float64), make_images(2, torch.float64)
    method = dataclasses.replace(SHORT, game=game, n_steps=5)
    masks = method(classifier, images, targets)
    pyramid = BlurPyramid.of(images, method.n_levels, method.blur_px)

    def probability(shown):
        return classifier.probabilities(shown).gather(1, targets[:, None])[:, 0]

    full = probability(images)
    for place in range(len(method.areas)):
        mask = masks.of_areas[:, place, None]
        kept, left = probability(pyramid(mask)), probability(pyramid(1 - mask))
        expected = {"preserve": kept, "delete": full - left, "hybrid": kept - left}[game] / full
        torch.testing.assert_close(masks.reached[:, place], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(masks.prob_full, full)
    assert masks.prob_by_baseline.shape == (2, len(JUDGES))
    assert masks.smooth_iterations.tolist() == [5 * 2 * (2 if game == "hybrid" else 1)] * 2


def test_mirroring_in_every_other_step_is_a_parameter(make_classifier, make_images):
    classifier, batch = make_classifier(), make_images(1)
    found = [
        dataclasses.replace(SHORT, n_steps=4, mirrored=mirrored)(classifier, *batch).of_areas
        for mirrored in (True, False)
    ]
    assert not torch.allclose(*found)


def test_nonsense_is_refused_with_what_is_allowed():
    with pytest.raises(ParameterError, match="rising"):
        ExtremalPerturbation(areas=(0.2, 0.1))
    with pytest.raises(ParameterError, match="rising"):
        ExtremalPerturbation(areas=())
    with pytest.raises(ParameterError, match="outside 0"):
        ExtremalPerturbation(areas=(0.1, 1.5))


def test_numbers_that_overflow_are_an_error(scene):
    with pytest.raises(XvError, match="not finite"):
        dataclasses.replace(SHORT, n_steps=3)(
            classifier_of(Linear(torch.full((3, *SIZE), torch.inf))), scene[1], torch.tensor([0])
        )
