"""Laws of networks in memory: any module becomes a classifier, and what it does not say is asked for or refused."""

import dataclasses

import pytest
import torch
import torchvision
from torch import nn

from xvcore.errors import LabelError, ParameterError, UnknownNameError, XvError
from xvcore.methods import methods
from xvcore.models import Preprocessing, TwoClasses, load, wrap
from xvcore.ops.patch_grid import PatchGrid
from xvcore.parameters import replaced

SMALL = Preprocessing((32, 32), None)


def network(n_classes: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, n_classes)
    )


def test_the_scores_are_those_of_the_network_on_normalised_images() -> None:
    mine = network()
    images = torch.rand(2, 3, 32, 32)
    classifier = wrap(mine, preprocessing=SMALL)
    assert torch.equal(classifier.logits(images), mine(SMALL.normalise(images)))
    assert classifier.n_classes == 4
    assert classifier.outputs is None
    assert classifier.layers == ("0", "1", "2", "3", "4")


def test_the_network_is_left_as_it_was_unless_it_is_given_away() -> None:
    mine = network().train()
    wrap(mine, preprocessing=SMALL)
    assert mine.training
    assert all(parameter.requires_grad for parameter in mine.parameters())
    assert wrap(mine, preprocessing=SMALL, copy=False).network is mine
    assert not mine.training


def test_a_network_that_cannot_be_copied_is_refused_and_taken_as_it_is(tmp_path) -> None:
    mine = network()
    mine.log = (tmp_path / "log").open("w")
    with mine.log, pytest.raises(ParameterError, match=r"Sequential cannot be copied .*give copy=False"):
        wrap(mine, preprocessing=SMALL)
    assert wrap(mine, preprocessing=SMALL, copy=False).network is mine


def test_halves_become_floats() -> None:
    classifier = wrap(network().to(torch.bfloat16), preprocessing=SMALL)
    assert classifier.logits(torch.rand(1, 3, 32, 32)).dtype == torch.float32


def test_a_network_that_returns_probabilities_is_refused_at_once() -> None:
    with pytest.raises(ParameterError, match=r"Sequential returns probabilities: .* take the softmax out"):
        wrap(nn.Sequential(network(), nn.Softmax(1)), preprocessing=SMALL)


def test_one_output_is_refused_and_becomes_two_where_it_is_said_to_be_a_sigmoids() -> None:
    with pytest.raises(ParameterError, match=r"mine has 1 output: expected 2 or more\. .*TwoClasses"):
        wrap(network(1), preprocessing=SMALL, name="mine")
    mine = network(1)
    images = torch.rand(3, 3, 32, 32)
    expected = mine(SMALL.normalise(images)).sigmoid()
    for one in (mine, nn.Sequential(mine, nn.Flatten(0))):
        classifier = wrap(TwoClasses(one), preprocessing=SMALL, labels=["no", "yes"])
        assert (classifier.n_classes, classifier.outputs[1].name) == (2, "yes")
        torch.testing.assert_close(classifier.probabilities(images), torch.cat([1 - expected, expected], dim=1))
    with pytest.raises(ParameterError, match=r"Sequential returns \(1, 4\): expected one score an image"):
        wrap(TwoClasses(network(4)), preprocessing=SMALL)


def test_labels_say_what_outputs_stand_for() -> None:
    classifier = wrap(network(2), preprocessing=SMALL, labels=["n01558993 robin", "jay"])
    assert [(each.index, each.wnid, each.name) for each in classifier.outputs] == [
        (0, "n01558993", "robin"),
        (1, None, "jay"),
    ]
    with pytest.raises(LabelError, match="3 labels, but Sequential has 4 outputs"):
        wrap(network(), preprocessing=SMALL, labels=["a", "b", "c"])
    with pytest.raises(LabelError, match="imagenet name 1000 outputs, but mine has 4"):
        wrap(network(), preprocessing=SMALL, labels="imagenet", name="mine")


def test_the_transforms_of_torchvision_weights_are_understood() -> None:
    transforms = torchvision.models.EfficientNet_B1_Weights.IMAGENET1K_V2.transforms()
    classifier = wrap(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), preprocessing=transforms)
    assert classifier.preprocessing == load("efficientnet_b1@random").preprocessing
    with pytest.raises(ParameterError, match=r"expected xvcore\.models\.Preprocessing or the transforms"):
        wrap(network(), preprocessing=224)


def test_other_weights_or_another_layout_are_another_network() -> None:
    one, other = wrap(network(), preprocessing=SMALL), wrap(network(), preprocessing=SMALL)
    assert (one.weights_sha256, one.architecture.identity) == (other.weights_sha256, other.architecture.identity)
    moved = network()
    moved[0].weight.data += 1
    assert wrap(moved, preprocessing=SMALL).weights_sha256 != one.weights_sha256
    changed = network()
    changed[1] = nn.GELU()
    like = wrap(changed, preprocessing=SMALL)
    assert like.weights_sha256 == one.weights_sha256
    assert like.architecture.identity != one.architecture.identity


class Answer(nn.Module):
    """Returns what some libraries do: not the scores, but something that holds them."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: torch.Tensor) -> object:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"out": torch.zeros(1, 4)}, r"returns a dict of out: tensor \(1, 4\) for one image"),
        (torch.zeros(4), r"a tensor of shape \(4,\)"),
        (torch.zeros(1, 4, 2, 2), r"a tensor of shape \(1, 4, 2, 2\)"),
        (torch.zeros(2, 4), r"a tensor of shape \(2, 4\)"),
    ],
)
def test_what_is_no_score_is_refused_with_what_was_seen(answer: object, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        wrap(Answer(answer))


def test_an_input_it_cannot_take_and_a_layer_it_does_not_have_are_named() -> None:
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with pytest.raises(ParameterError, match="Sequential cannot take images of 32 × 32 px"):
        wrap(fixed, preprocessing=SMALL)
    with pytest.raises(UnknownNameError, match="unknown layer of mine 'conv'"):
        wrap(network(), preprocessing=SMALL, layers=["conv"], name="mine")
    with pytest.raises(XvError, match="cannot be built anew"):
        wrap(network(), preprocessing=SMALL).architecture.build(3)


class Patches(nn.Module):
    """A bag of local features: 9 × 9 patches every 4 pixels, whose mean is the logit."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 9, stride=4), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.features(images)).flatten(1))


@pytest.mark.parametrize("name", list(methods))
def test_every_method_runs_on_it(name: str) -> None:
    classifier = wrap(Patches(), preprocessing=SMALL, patches=PatchGrid(9, 4))
    method = methods[name]()
    known = {field.name for field in dataclasses.fields(method)}
    short = {"smooth_steps": 4, "crisp_steps": 3, "rule.degenerate": "allow"}
    method = replaced(method, {each: value for each, value in short.items() if each.partition(".")[0] in known})
    found = method(classifier, torch.rand(2, 3, 32, 32), torch.tensor([0, 2]))
    tensors = [getattr(found, field.name) for field in dataclasses.fields(found)]
    assert all(len(each) == 2 and each.isfinite().all() for each in tensors if isinstance(each, torch.Tensor))
