"""A small classifier with maps, a rectifier that works in place and a linear head."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from xvcore.models import Architecture, Classifier, Preprocessing


def small_network(n_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, n_classes),
    )


@pytest.fixture
def classify() -> Callable[[nn.Module, tuple[int, int]], Classifier]:
    """Return a function that makes a classifier of a network and an input size."""

    def make(network: nn.Module, size: tuple[int, int], n_classes: int = 4) -> Classifier:
        preprocessing = Preprocessing(input_px=size)
        return Classifier(
            name="small",
            architecture=Architecture("small", small_network, preprocessing, n_classes),
            preprocessing=preprocessing,
            network=network,
            weights="drawn",
            weights_sha256="0" * 64,
            n_classes=n_classes,
        )

    return make


@pytest.fixture
def small(classify) -> Classifier:
    """Return a classifier of 24 × 32 px images with drawn weights, in double precision."""
    network = small_network(4).double()
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data.copy_(drawn / max(parameter[0].numel(), 1) ** 0.5)
    return classify(network, (24, 32))


@pytest.fixture
def images() -> Tensor:
    """Return three images of 24 × 32 px."""
    generator = torch.Generator().manual_seed(5)
    return torch.rand((3, 3, 24, 32), generator=generator, dtype=torch.float64)
