"""Fixtures of the family: small classifiers, and features that a head can be trained on."""

import pytest
import torch
from torch import nn

from xvcore.models import Classifier, Preprocessing, wrap
from xvcore.prototypes.method.feature_map import feature_map
from xvcore.prototypes.method.fit import Features
from xvcore.prototypes.method.head import Head, HeadOptions, InfoDisent


def conv_network(n_channels: int = 12, n_classes: int = 5) -> nn.Sequential:
    """Ends in a mean over positions and a linear layer; channels of both signs."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4),
        nn.Tanh(),
        nn.Conv2d(8, n_channels, 3),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(n_channels, n_classes),
    )


@pytest.fixture
def small() -> Classifier:
    """A classifier of 40 × 48 px pictures with a map of 7 × 9."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = conv_network()
    return wrap(network, preprocessing=Preprocessing((40, 48), None), name="small")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 3, 40, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def make_head():
    """Return a function that makes a head with a rotation and weights that were drawn."""

    def make(n_channels: int = 12, n_classes: int = 5, **options: object) -> Head:
        generator = torch.Generator().manual_seed(2)
        head = Head(n_channels, n_classes, HeadOptions(**options)).double().eval()
        head.rotation.free.data.copy_(torch.randn(head.rotation.free.shape, generator=generator) * 0.3)
        head.raw.data.copy_(torch.randn(head.raw.shape, generator=generator))
        head.bias.data.copy_(torch.randn(head.bias.shape, generator=generator) * head.bias.requires_grad)
        return head

    return make


@pytest.fixture
def network(small, make_head) -> InfoDisent:
    """The small classifier's network with a head, in float64."""
    return InfoDisent(small.network.double(), feature_map(small), make_head()).eval()


@pytest.fixture
def features() -> Features:
    """Three classes; each has a pattern of channels at one position of an image."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(90) % 3
    maps = torch.rand(90, 9, 6, generator=generator)
    places = torch.randint(9, (90,), generator=generator)
    maps[torch.arange(90), places, labels] += 2
    return Features(maps.half(), labels)
