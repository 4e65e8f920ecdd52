import pytest
import torch
from torch import nn

from xvcore.errors import XvError
from xvcore.models import Classifier, Preprocessing
from xvcore.models.architecture import Architecture
from xvcore.ops.perturb import gaussian_blur
from xvcore.visual_summaries.method.drop import CausalDrop

SIDE = 32


class Contrast(nn.Module):
    """Logit 1 is the local contrast in the upper left corner, logit 0 is 0."""

    def forward(self, images):
        corner = images[:, :, 4:12, 4:12]
        contrast = 40 * corner.var(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(contrast), contrast], dim=1)


@pytest.fixture
def classifier():
    preprocessing = Preprocessing(input_px=(SIDE, SIDE), resize_px=None, mean=(0.0,) * 3, std=(1.0,) * 3)
    architecture = Architecture("contrast", lambda _: Contrast(), preprocessing, 2, ())
    return Classifier("contrast", architecture, preprocessing, Contrast(), "", "", 2)


def noise(n):
    return torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_the_drop_is_the_probability_lost_when_only_the_box_is_blurred(classifier):
    images = noise(1)
    box = torch.tensor([[2.0, 3.0, 12.0, 11.0]])
    blurred = images.clone()
    blurred[:, :, 3:14, 2:14] = gaussian_blur(images, 10.0)[:, :, 3:14, 2:14]
    before, after = (classifier.probabilities(each)[0, 1] for each in (images, blurred))
    found = CausalDrop(baseline="blur_strong")(classifier, images, torch.tensor([1]), box)
    assert found.item() == pytest.approx(((before - after) / before).item(), abs=1e-6)
    assert found.item() > 0.1


def test_a_box_elsewhere_or_without_area_changes_nothing(classifier):
    boxes = torch.tensor([[16.0, 16.0, 10.0, 10.0], [4.0, 4.0, 0.0, 0.0]])
    assert CausalDrop()(classifier, noise(2), torch.tensor([1, 1]), boxes).tolist() == pytest.approx([0, 0], abs=1e-6)


def test_the_drop_of_the_other_class_is_negative(classifier):
    box = torch.tensor([[2.0, 3.0, 12.0, 11.0]])
    assert CausalDrop()(classifier, noise(1), torch.tensor([0]), box).item() < 0


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_the_size_of_the_batch_does_not_matter(classifier, batch_size):
    images, targets = noise(7), torch.tensor([0, 1, 1, 0, 1, 0, 1])
    boxes = torch.tensor([[float(k), 2.0, 8.0, 9.0] for k in range(7)])
    whole = CausalDrop()(classifier, images, targets, boxes)
    parts = CausalDrop()(classifier, images, targets, boxes, batch_size=batch_size)
    assert torch.allclose(whole, parts, atol=1e-6)


def test_no_images_give_no_drops(classifier):
    assert CausalDrop()(classifier, noise(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 4)).shape == (0,)


def test_unequal_numbers_are_refused(classifier):
    with pytest.raises(XvError, match="2 images, 2 targets, 1 boxes"):
        CausalDrop()(classifier, noise(2), torch.tensor([1, 1]), torch.zeros(1, 4))


def test_the_worst_drop_is_the_least_median_of_all_baselines(classifier):
    images, targets = noise(3), torch.tensor([1, 1, 1])
    boxes = torch.tensor([[2.0, 3.0, 12.0, 11.0], [0.0, 0.0, 9.0, 9.0], [4.0, 4.0, 4.0, 4.0]])
    medians = {
        kind: float(CausalDrop(baseline=kind)(classifier, images, targets, boxes).median())
        for kind in ("blur_weak", "blur_strong", "mean", "noise")
    }
    found = CausalDrop(baseline="mean").worst(classifier, images, targets, boxes, batch_size=2)
    assert found.drop == pytest.approx(min(medians.values()), abs=1e-6)
    assert medians[found.baseline] == min(medians.values())
    assert len(set(medians.values())) > 1


def test_of_equal_baselines_the_first_is_the_worst(classifier):
    nothing = torch.zeros(2, 4)
    found = CausalDrop().worst(classifier, noise(2), torch.tensor([1, 1]), nothing)
    assert (found.drop, found.baseline) == (0.0, "blur_weak")
