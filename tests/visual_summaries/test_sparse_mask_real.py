"""On real images and real networks the crisp mask takes the decision away with few pixels."""

import pytest
import torch
from PIL import Image

from xvcore.models.load import load
from xvcore.visual_summaries.method.sparse_mask import SparseMask

ROBIN, ROBIN_WNID = 15, "n01558993"


def robins(classifier, folder, n):
    """Return the first n robins that the classifier recognises."""
    found = []
    for path in sorted((folder / "imagenet-mini" / "train" / ROBIN_WNID).iterdir()):
        with Image.open(path) as picture:
            image = classifier.preprocessing.pixels(picture.convert("RGB"))
        if classifier.probabilities(image[None]).argmax() == ROBIN:
            found.append(image)
        if len(found) == n:
            break
    return torch.stack(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "n"), [("squeezenet1_1@{}/squeezenet1_1.pt", 8), ("mobilenet_v2@{}/mobilenet_v2.pt?input=225", 3)]
)
def test_crisp_masks_of_robins_are_small_binary_and_decisive(test_data, spec, n):
    classifier = load(spec.format(test_data / "weights"))
    images = robins(classifier, test_data, n)
    masks = SparseMask()(classifier, images, torch.full((len(images),), ROBIN))
    assert masks.drop_crisp.median() >= 0.95
    assert masks.area_crisp.median() <= 0.15
    assert masks.crispness.mean() <= 0.005
    assert masks.crispness.mean() < 0.1 * (masks.smooth * (1 - masks.smooth)).mean()
    assert masks.drop_crisp.median() >= masks.drop_smooth.median() - 0.005
