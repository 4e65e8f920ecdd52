"""What every experiment owes its callers: described settings, and a network left as it was found."""

import dataclasses

import pandas as pd
import pytest
import torch

from xvcore.analyses.questions.correspondence import Correspondence
from xvcore.analyses.questions.evolution import Evolution
from xvcore.analyses.questions.first_layer import FirstLayers
from xvcore.analyses.questions.invariance import Invariance
from xvcore.analyses.questions.occlusion import Occlusion
from xvcore.analyses.questions.transfer import Transfer
from xvcore.parameters import as_dict, replaced

IDS = ["a", "b", "c"]
TARGETS = torch.tensor([0, 3, 1])
PARTS = pd.DataFrame(
    [(image_id, "head", 4, 4, 8, 8, True) for image_id in IDS],
    columns=["image_id", "part", "x", "y", "w", "h", "visible"],
)
RUNS = {
    "occlusion": lambda net, images: Occlusion(window=12, stride=12)(net, images, TARGETS).positions(IDS),
    "invariance": lambda net, images: Invariance(shift_step=60, scale_step=0.8, rotation_step=90)(
        net, images, TARGETS, IDS
    ),
    "correspondence": lambda net, images: Correspondence()(net, images, IDS, PARTS),
    "first_layer": FirstLayers(),
    "transfer": lambda net, images: pd.DataFrame(Transfer().features(net, images)["6"]),
    "evolution": lambda net, images: Evolution()([(0, net)], lambda: [(IDS, images)]),
}


@pytest.mark.parametrize("settings", [Correspondence, Evolution, FirstLayers, Invariance, Occlusion, Transfer])
def test_every_parameter_has_a_description_and_can_be_given_as_text(settings):
    for field in dataclasses.fields(settings):
        assert field.metadata.get("description"), field.name
    made = settings()
    texts = {
        name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in as_dict(made).items()
        if value != []
    }
    assert replaced(made, texts) == made


@pytest.mark.parametrize("name", RUNS)
def test_images_weights_modes_and_hooks_are_found_as_left(name, small, images):
    kept = images.clone()
    weights = {key: value.clone() for key, value in small.network.state_dict().items()}
    frame = RUNS[name](small, images)
    assert len(frame)
    assert torch.equal(images, kept)
    assert all(torch.equal(weights[key], value) for key, value in small.network.state_dict().items())
    assert not any(module._forward_hooks or module.training for module in small.network.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", RUNS)
def test_the_same_settings_give_the_same_numbers(name, small, images):
    pd.testing.assert_frame_equal(RUNS[name](small, images), RUNS[name](small, images))
