"""Two small networks for PartBirds that train on two CPU cores in about a minute, one narrower than the other.

Plain by intent, so that every method applies: convolution, ReLU, max-pooling, global average pooling and one linear
layer. A unit of the last convolution sees 55 of 128 pixels a side, which holds a part and its surroundings.
"""

from functools import partial

from torch import nn

from xvcore.models.architecture import Architecture, Output, architectures
from xvcore.models.preprocessing import Preprocessing

INPUT_PX = 128
BIRDS = (
    "zigzag-crest ringed-wing spotted-tail",
    "ringed-bill spotted-wing chevroned-tail",
    "spotted-crest chevroned-breast rayed-tail",
    "chevroned-bill rayed-breast diamond-tail",
    "rayed-crest diamond-wing zigzag-tail",
    "diamond-bill zigzag-wing ringed-tail",
    "plain",
)
"""The classes of PartBirds: what the outputs stand for, also before a training, as long as there are so many."""
OUTPUTS = tuple(Output(index, None, name) for index, name in enumerate(BIRDS))
PREPROCESSING = Preprocessing((INPUT_PX, INPUT_PX), None, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
LAYERS = ("conv1", "relu1", "conv2", "relu2", "pool2", "conv3", "relu3", "pool3", "conv4", "relu4", "conv5", "relu5")


def build(n_classes: int, *, widths: tuple[int, int, int, int, int]) -> nn.Sequential:
    """Return a network of five convolutions.

    Parameters
    ----------
    n_classes : number of outputs
    widths : channels after each convolution
    """
    first, second, third, fourth, fifth = widths
    network = nn.Sequential()
    for name, module in (
        ("conv1", nn.Conv2d(3, first, 5, stride=2, padding=2)),
        ("relu1", nn.ReLU()),
        ("conv2", nn.Conv2d(first, second, 3, padding=1)),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("conv3", nn.Conv2d(second, third, 3, padding=1)),
        ("relu3", nn.ReLU()),
        ("pool3", nn.MaxPool2d(2)),
        ("conv4", nn.Conv2d(third, fourth, 3, padding=1)),
        ("relu4", nn.ReLU()),
        ("conv5", nn.Conv2d(fourth, fifth, 3, padding=1)),
        ("relu5", nn.ReLU()),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("head", nn.Linear(fifth, n_classes)),
    ):
        network.add_module(name, module)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return network


def _architecture(name: str, widths: tuple[int, int, int, int, int]) -> Architecture:
    return Architecture(name, partial(build, widths=widths), PREPROCESSING, len(BIRDS), LAYERS, OUTPUTS)


architectures.register("partbirds_wide")(_architecture("partbirds_wide", (16, 32, 48, 64, 96)))
architectures.register("partbirds_narrow")(_architecture("partbirds_narrow", (4, 6, 8, 12, 16)))
