"""On real images and a real network the analyses say what is known of it."""

import pytest
import torch
from PIL import Image

from xvcore.analyses.questions.attributions import Gradient
from xvcore.analyses.questions.interactions import InteractionCurve, InteractionTest
from xvcore.analyses.questions.masking import PatchRemoval, removal_curves
from xvcore.analyses.questions.scores import Sample
from xvcore.analyses.questions.scrambling import Scrambling
from xvcore.models.load import load

ROBIN, WNID = 15, "n01558993"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def classifier(test_data):
    return load(f"squeezenet1_1@{test_data}/weights/squeezenet1_1.pt")


@pytest.fixture(scope="module")
def robins(classifier, test_data):
    found = []
    for path in sorted((test_data / "imagenet-mini" / "train" / WNID).iterdir())[:10]:
        with Image.open(path) as picture:
            found.append(classifier.preprocessing.pixels(picture))
    images = torch.stack(found)
    right = classifier.logits(images).argmax(dim=1) == ROBIN
    return Sample(images[right], torch.full((int(right.sum()),), ROBIN))


def test_patches_that_the_gradient_ranks_first_count_more_than_random_ones(classifier, robins):
    table = PatchRemoval(n_removed=(8, 32))([classifier], robins, {"gradient": Gradient()})
    left = removal_curves(table).set_index(["ranking", "n_removed"])["prob_left"]
    assert left["gradient", 8] < left["random", 8] - 0.1
    assert left["gradient", 32] < left["random", 32] - 0.1


def test_parts_far_apart_interact_less(classifier, robins):
    curves = InteractionCurve()(InteractionTest(gaps_px=(0, 32, 128), n_placements=2)([classifier], robins))
    near, middle, far = curves["departure"]
    assert near > 2 * middle > 4 * far
    assert curves["correlation"].iloc[2] > 0.98


def test_small_blocks_leave_less_of_the_decision_than_large_ones(classifier, robins):
    table = Scrambling((112, 14))([classifier], robins)
    prob = table.groupby("condition")["prob_target"].mean()
    assert prob["whole"] > prob["112 px"] > prob["14 px"] + 0.2
