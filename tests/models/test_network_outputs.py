"""Laws of what networks return: scores are found or refused with what was seen, and probabilities are no scores."""

import dataclasses
import logging
from collections import OrderedDict, namedtuple
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import GoogLeNetOutputs, InceptionOutputs

from xvcore.errors import ParameterError
from xvcore.models import Architecture, Classifier, Preprocessing, TwoClasses, load

SMALL = Preprocessing((16, 16), None)
IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def linear(n_classes: int = 9) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, n_classes))


def classifier_of(network: nn.Module, n_classes: int = 9) -> Classifier:
    architecture = Architecture("small", linear, SMALL, n_classes)
    return Classifier("small", architecture, SMALL, network, "drawn", "0" * 64, n_classes)


class Then(nn.Module):
    """A network whose scores go through a function."""

    def __init__(self, function: Callable[[Tensor], object], network: nn.Module | None = None) -> None:
        super().__init__()
        self.network, self.function = network or linear(), function

    def forward(self, images: Tensor) -> object:
        return self.function(self.network(images))


class ModelOutput(OrderedDict):
    """As libraries return it: a mapping whose members are attributes too."""


Named = namedtuple("Named", ["logits", "features"])
SCORES = classifier_of(linear()).logits(IMAGES)


@pytest.mark.parametrize(
    "answer",
    [
        lambda scores: {"loss": None, "logits": scores},
        lambda scores: ModelOutput(logits=scores, hidden_states=(scores,)),
        lambda scores: InceptionOutputs(scores, scores + 1),
        lambda scores: GoogLeNetOutputs(scores, scores + 1, scores + 2),
        lambda scores: Named(scores, scores[:, :2]),
    ],
)
def test_scores_are_the_member_that_is_named_so(answer: Callable[[Tensor], object]) -> None:
    assert torch.equal(classifier_of(Then(answer)).logits(IMAGES), SCORES)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda scores: (scores, scores[:, :2]), r"a tuple of tensor \(6, 9\), tensor \(6, 2\) for 6 images"),
        (lambda scores: [scores], r"a list of tensor \(6, 9\)"),
        (lambda scores: {"out": scores, "loss": None}, r"a dict of out: tensor \(6, 9\), loss: NoneType"),
        (lambda scores: namedtuple("Pair", "a b")(scores, 1), r"a Pair of a: tensor \(6, 9\), b: int"),
        (lambda scores: {"logits": scores[:, :, None]}, r"a dict of logits: tensor \(6, 9, 1\)"),
        (lambda _: {}, "a dict of nothing"),
        (lambda _: None, "a NoneType for 6 images"),
        (lambda scores: scores[:, :, None, None], r"a tensor of shape \(6, 9, 1, 1\)"),
        (lambda scores: scores[:, 0], r"a tensor of shape \(6,\) .*TwoClasses"),
        (lambda scores: scores[:4], r"a tensor of shape \(4, 9\) for 6 images: expected scores of shape \(6, classes"),
        (lambda scores: scores.long(), "returns scores of int64: expected float32 or float64"),
        (lambda scores: scores.half(), "returns scores of float16: expected float32 or float64"),
    ],
)
def test_what_is_no_score_is_refused_with_what_was_seen(answer: Callable[[Tensor], object], words: str) -> None:
    classifier = classifier_of(Then(answer))
    for asked in (classifier.logits, classifier.probabilities):
        with pytest.raises(ParameterError, match=words):
            asked(IMAGES)


def test_a_network_in_double_precision_takes_images_of_single_and_no_digit_is_lost_in_silence() -> None:
    double = classifier_of(linear().double())
    assert torch.equal(double.logits(IMAGES), double.logits(IMAGES.double()))
    assert double.logits(IMAGES).dtype == torch.float64
    leaf = IMAGES.clone().requires_grad_()
    double.logits(leaf).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0
    for dtype, images in ((torch.float32, IMAGES.double()), (torch.float16, IMAGES), (torch.bfloat16, IMAGES.half())):
        with pytest.raises(
            ParameterError, match=r"small computes in b?float\d\d, and the images are float\d\d: expected"
        ):
            classifier_of(linear().to(dtype)).logits(images)
    moved = classifier_of(linear())
    moved.network.double()
    assert torch.equal(moved.logits(IMAGES), double.logits(IMAGES))


def test_under_autocast_fewer_digits_are_asked_for() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert classifier_of(linear()).logits(IMAGES).dtype == torch.bfloat16


def ensemble(scores: Tensor) -> Tensor:
    return (scores.softmax(1) + (3 * scores).softmax(1)) / 2


@pytest.mark.parametrize(
    "last",
    [
        nn.Softmax(1),
        nn.Softmax(-1),
        ensemble,
        lambda scores: scores**2 / (scores**2).sum(1, keepdim=True),
        lambda scores: 100 * scores.softmax(1),
    ],
)
def test_probabilities_are_refused_as_soon_as_several_images_tell(last: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ParameterError, match="small returns probabilities: the outputs of 6 images"):
        classifier_of(Then(last)).probabilities(IMAGES)
    one_by_one = classifier_of(Then(last))
    one_by_one.logits(IMAGES[:1])
    for image in IMAGES[1:]:
        with pytest.raises(ParameterError, match=r"never negative and sum to 1(00)?\."):
            one_by_one.logits(image[None])


def test_another_network_in_its_place_is_looked_at_anew() -> None:
    classifier = classifier_of(linear())
    classifier.logits(IMAGES)
    with pytest.raises(ParameterError, match="probabilities"):
        dataclasses.replace(classifier, network=nn.Sequential(classifier.network, nn.Softmax(1))).logits(IMAGES)


@pytest.mark.parametrize("last", [nn.LogSoftmax(1), lambda scores: scores.softmax(1).log()])
def test_logarithms_of_probabilities_are_scores(last: Callable[[Tensor], Tensor]) -> None:
    found = classifier_of(Then(last)).probabilities(IMAGES)
    torch.testing.assert_close(found, SCORES.softmax(1))


@pytest.mark.parametrize(
    "last",
    [
        nn.Identity(),
        nn.ReLU(),
        lambda scores: 0 * scores,
        lambda scores: 0 * scores + 1 / 9,
        lambda scores: scores * torch.nan,
        lambda scores: 50 * scores.softmax(1),
    ],
)
def test_other_scores_are_taken_without_a_word(
    last: Callable[[Tensor], Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    classifier_of(Then(lambda scores: last(9 * scores))).logits(IMAGES)
    assert not caplog.records


def test_scores_of_a_sigmoid_are_warned_of_once_a_network(caplog: pytest.LogCaptureFixture) -> None:
    classifier = classifier_of(Then(torch.sigmoid))
    with caplog.at_level(logging.WARNING, "xvcore"):
        for _ in range(3):
            classifier.logits(IMAGES)
        dataclasses.replace(classifier, network=nn.Sequential(classifier.network)).logits(IMAGES)
    (record,) = caplog.records
    assert "small: all outputs of 6 images lie in 0 … 1: if a sigmoid made them" in record.getMessage()


def test_a_network_of_one_output_is_refused_wherever_it_comes_from(tmp_path) -> None:
    with pytest.raises(ParameterError, match="small has 1 output: expected 2 or more"):
        classifier_of(linear(1), n_classes=1)
    with pytest.raises(ParameterError, match="squeezenet1_1 has 1 output"):
        load("squeezenet1_1@random?classes=1")
    state = load("squeezenet1_1@random?classes=2").network.state_dict()
    cut = {key: value[:1].clone() if key.startswith("classifier") else value for key, value in state.items()}
    torch.save(cut, tmp_path / "one.pt")
    with pytest.raises(ParameterError, match=r"squeezenet1_1 has 1 output: .*sigmoid"):
        load(f"squeezenet1_1@{tmp_path / 'one.pt'}")


def test_two_classes_have_the_gradient_of_the_sigmoid() -> None:
    one = linear(1)
    leaf = IMAGES.clone().requires_grad_()
    expected = torch.autograd.grad(one(SMALL.normalise(leaf)).sigmoid().sum(), leaf)[0]
    found = torch.autograd.grad(classifier_of(TwoClasses(one), 2).probabilities(leaf)[:, 1].sum(), leaf)[0]
    torch.testing.assert_close(found, expected)
