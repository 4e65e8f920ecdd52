"""Small classifiers with fixed weights for tests of methods."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from xvcore.models import Architecture, Classifier, Preprocessing

N_CLASSES = 5


def small_network(n_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, n_classes),
    )


@pytest.fixture
def make_classifier() -> Callable[..., Classifier]:
    """Return a function that makes a classifier of 40 × 48 px pictures, of the same weights each time."""

    def make(dtype: torch.dtype = torch.float32, wrap: Callable[[nn.Module], nn.Module] = lambda net: net):
        generator = torch.Generator().manual_seed(7)
        network = small_network(N_CLASSES)
        for parameter in network.parameters():
            drawn = torch.randn(parameter.shape, generator=generator) * 2 / max(parameter[0].numel(), 16) ** 0.5
            parameter.data.copy_(drawn)
        network[0].weight.data -= network[0].weight.mean((2, 3), keepdim=True)  # blind to what a blur leaves
        network[2].weight.data.abs_()
        evidence = network[-1].weight.data[:3].abs()
        network[-1].weight.data.zero_()[:3] = 2 * evidence / evidence.sum(1, keepdim=True)
        network[-1].bias.data.copy_(torch.tensor([0.0, 0.0, 0.0, -4.0, 7.0]))  # where there is nothing: class 4
        preprocessing = Preprocessing(input_px=(40, 48))
        return Classifier(
            name="small",
            architecture=Architecture("small", small_network, preprocessing, N_CLASSES),
            preprocessing=preprocessing,
            network=wrap(network.to(dtype)),
            weights="drawn",
            weights_sha256="0" * 64,
            n_classes=N_CLASSES,
        )

    return make


@pytest.fixture
def make_images() -> Callable[..., tuple[Tensor, Tensor]]:
    """Return a function that makes smooth pictures with a rough patch each, and targets for which the patch counts."""

    def make(n: int = 4, dtype: torch.dtype = torch.float32):
        generator = torch.Generator().manual_seed(11)
        coarse = torch.rand((n, 3, 6, 7), generator=generator, dtype=torch.float64)
        smooth = nn.functional.interpolate(coarse, (40, 48), mode="bicubic").clamp(0, 1)
        noise = torch.rand(smooth.shape, generator=generator, dtype=torch.float64) - 0.5
        for index in range(n):
            noise[index, :, : 4 * (index % 3)], noise[index, :, 4 * (index % 3) + 16 :] = 0, 0
            noise[index, ..., : 5 * (index % 5)], noise[index, ..., 5 * (index % 5) + 20 :] = 0, 0
        return (smooth + noise).clamp(0, 1).to(dtype), torch.arange(n) % 3

    return make
