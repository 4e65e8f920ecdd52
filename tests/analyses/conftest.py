"""Small classifiers whose answers are known, for tests of analyses."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from xvcore.models import Architecture, Classifier, Preprocessing

SIDE = 32
N_CLASSES = 4


def classifier_of(network: nn.Module, name: str = "small", n_classes: int = N_CLASSES) -> Classifier:
    """Return a classifier of 32 × 32 px pictures that does not normalise."""
    preprocessing = Preprocessing(input_px=(SIDE, SIDE), resize_px=None, mean=(0.0,) * 3, std=(1.0,) * 3)
    architecture = Architecture(name, lambda _: network, preprocessing, n_classes)
    return Classifier(name, architecture, preprocessing, network, "drawn", "0" * 64, n_classes)


def drawn(network: nn.Module, seed: int = 7) -> nn.Module:
    """Return a network in double precision with weights of a seed."""
    generator = torch.Generator().manual_seed(seed)
    network.double()
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data *= 2 / max(parameter[0].numel(), 4) ** 0.5
    return network


@pytest.fixture
def make_classifier() -> Callable[..., Classifier]:
    return classifier_of


@pytest.fixture
def linear() -> Classifier:
    """Logits are linear in the pixels: nothing interacts."""
    return classifier_of(drawn(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, N_CLASSES))), "linear")


@pytest.fixture
def convolutional() -> Classifier:
    """A small network with a pooled head, whose logits are the mean of what 5 px windows (stride 2) say."""
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, N_CLASSES, 1)]
    return classifier_of(drawn(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())), "convolutional")


@pytest.fixture
def deep() -> Classifier:
    """A small network that sees the whole picture at once."""
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4)]
    layers += [nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, N_CLASSES)]
    return classifier_of(drawn(nn.Sequential(*layers)), "deep")


@pytest.fixture
def make_images() -> Callable[..., torch.Tensor]:
    def make(n: int, height: int = SIDE, width: int = SIDE, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(n, 3, height, width, generator=generator, dtype=torch.float64)

    return make
