"""A gradient is the derivative of the scores, or it is refused."""

import pytest
import torch
from torch import nn

from xvcore.analyses.questions.attributions import Gradient
from xvcore.errors import XvError
from xvcore.models import Classifier, Preprocessing, wrap
from xvcore.ops.channels_last import ChannelsLast
from xvcore.units.method.deconvnet import Deconvnet
from xvcore.visual_summaries.method.sparse_mask import SparseMask

PX = 24
PREPROCESSING = Preprocessing(input_px=(PX, PX))


@pytest.fixture
def images():
    return torch.rand(3, 3, PX, PX, generator=torch.Generator().manual_seed(3))


TARGETS = torch.tensor([1, 0, 2])


class Tokens(nn.Module):
    """A normalised map is taken as tokens, as in networks that attend, or in rows of one pixel."""

    def __init__(self, size=4):
        super().__init__()
        self.stem, self.norm, self.size = nn.Conv2d(3, 8, 6, 6), nn.BatchNorm2d(8), size
        self.mix, self.head = nn.Linear(8, 8), nn.Linear(8 * size, 3)

    def forward(self, x):
        x = self.norm(self.stem(x)[:, :, : self.size, : self.size])
        x = x.flatten(2).transpose(1, 2)
        return self.head(torch.relu(self.mix(x)).unflatten(1, (self.size, -1)).mean(2).flatten(1))


class Rows(Tokens):
    def forward(self, x):
        x = self.norm(self.stem(x)[:, :, :, :1].contiguous())
        return self.head(torch.relu(self.mix(x.flatten(2).transpose(1, 2))).flatten(1))


def classifier_of(network, seed=0):
    torch.manual_seed(seed)
    made = network()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.2, 3)
            module.weight.data.uniform_(0.2, 3)
    return wrap(made, preprocessing=PREPROCESSING)


@pytest.mark.parametrize("network", [Tokens, Rows])
def test_an_image_has_the_same_gradient_alone_and_beside_others(images, network):
    classifier = classifier_of(network)
    together = Gradient()(classifier, images, TARGETS)
    alone = torch.cat([Gradient()(classifier, images[i : i + 1], TARGETS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, together)
    projected = Deconvnet.gradient()(classifier, images, TARGETS).pictures
    torch.testing.assert_close(projected.abs().amax(1, keepdim=True), together)
    masks = SparseMask(steps=3)
    torch.testing.assert_close(
        masks(classifier, images[:1], TARGETS[:1]).crisp, masks(classifier, images, TARGETS).crisp[:1]
    )


@pytest.mark.parametrize("network", [Tokens, Rows])
@pytest.mark.parametrize("order", [lambda network: network, ChannelsLast])
@pytest.mark.parametrize("n_images", [1, 2])
def test_a_gradient_is_what_a_small_step_changes_the_scores_by(images, network, order, n_images):
    plain = classifier_of(network)
    classifier = Classifier("tokens", plain.architecture, PREPROCESSING, order(plain.network.double()), "", "", 3)
    pictures = images[:n_images].double().requires_grad_()
    torch.autograd.gradcheck(lambda x: classifier.logits(x).sum(1), pictures, fast_mode=True)


class Wrong(torch.autograd.Function):
    """Doubles, and says that it does not."""

    @staticmethod
    def forward(_, x):
        return 2 * x

    @staticmethod
    def backward(_, signal):
        return signal


def small(middle):
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 6, 5, 3), nn.Conv2d(6, 3, 3)

        def forward(self, x):
            return self.second(middle(self.first(x))).mean((2, 3))

    return classifier_of(Small)


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (Wrong.apply, "off by .* from what a small step changes"),
        (lambda x: x.detach() * torch.sigmoid(x), "off by .* from what a small step changes"),
        (lambda x: torch.relu(x).detach(), "no gradient reaches the pixels"),
        (lambda x: (4 * x).round() / 4, "no gradient reaches the pixels"),
        (lambda x: x + (x.round() - x).detach(), "off by .* from what a small step changes"),
        (lambda x: x.detach().requires_grad_(), "no gradient reaches the pixels"),
    ],
)
def test_a_wrong_gradient_or_none_is_refused_wherever_it_would_be_taken(images, middle, reason):
    classifier = small(middle)
    for take in (Gradient(), Deconvnet.gradient(), SparseMask(steps=3)):
        with pytest.raises(XvError, match=f"Small cannot be differentiated: .*{reason}"):
            take(classifier, images[:1], TARGETS[:1])
    assert classifier.logits(images).shape == (3, 3), "scores need no gradient"


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_layer_lets_no_gradient_through_and_is_refused(images):
    network = nn.Sequential(nn.Conv2d(3, 6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(294, 3))
    quantised = torch.ao.quantization.quantize_dynamic(network.eval(), {nn.Linear}, dtype=torch.qint8)
    classifier = wrap(quantised, preprocessing=PREPROCESSING)
    assert classifier.weights_sha256 != wrap(network, preprocessing=PREPROCESSING).weights_sha256
    for take in (Gradient(), Deconvnet.guided(), SparseMask(steps=3)):
        with pytest.raises(XvError, match="no gradient reaches the pixels"):
            take(classifier, images[:1], TARGETS[:1])


@pytest.mark.parametrize(
    "middle",
    [
        torch.relu,
        lambda x: 0 * x,
        lambda x: x * float("nan"),
        lambda x: x.half().float(),
        lambda x: torch.relu(x - 100),
    ],
)
def test_what_cannot_be_shown_to_be_wrong_is_let_pass(images, middle):
    assert Gradient()(small(middle), images, TARGETS).shape == (3, 1, PX, PX)


def test_a_network_is_tried_once_and_its_hooks_are_not_told(images):
    classifier, passes = small(torch.relu), []
    hook = classifier.network.register_forward_hook(lambda *call: passes.append(len(call[1][0])))
    Gradient()(classifier, images, TARGETS)
    Gradient()(classifier, images[:1], TARGETS[:1])
    hook.remove()
    assert passes == [3, 1]
    assert not classifier.network._forward_hooks
