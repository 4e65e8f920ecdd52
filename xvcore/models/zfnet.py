"""The network of the deconvnet paper and every row of its table of variants, layers removed and widths changed.

Published error rates (ImageNet 2012, %) stand beside each variant, so that a trained one can be held against them.

Choices where the paper is silent. The paddings and the rounding up of the poolings follow from the sizes that it
prints: 224 → 110 → 55 → 26 → 13 → 6. The contrast normalisation stands after the pooling, as in its figure, with the
constants that it refers to (Krizhevsky et al. 2012): 1e-4 times the sum over five maps, which is 5e-4 times torch's
mean. Input is normalised as for every other ImageNet network here, not by a mean image into [−128, 128], and weights
are drawn for rectifiers (He et al. 2015), not "to 1e-2". The replication of Krizhevsky's network keeps its two groups.

Source: M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, figure 3, tables 2
and 3.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from xvcore.models.architecture import Architecture, architectures
from xvcore.models.labels import imagenet_outputs
from xvcore.models.preprocessing import Preprocessing

N_CLASSES = 1000
LARGEST_RMS = 0.1
"""Radius to which the paper pulls back a filter of the convolutions whose root mean square exceeds it."""


class PublishedErrors(NamedTuple):
    """Errors in % of one network trained from scratch on ImageNet 2012: on training and validation images."""

    train_top1: float
    val_top1: float
    val_top5: float


@dataclass(frozen=True, slots=True)
class ZFNet:
    """Builds the paper's network (figure 3), or with ``is_krizhevsky`` the one it improves on.

    Parameters
    ----------
    middle : widths of layers 3, 4 and 5; a width left out is a layer removed, the last is always that of layer 5
    full : widths of the fully connected layers 6 and 7; a width left out is a layer removed
    is_krizhevsky : 11 × 11 stride 4 in layer 1, stride 1 in layer 2, two groups in layers 2, 4 and 5
    """

    middle: tuple[int, ...] = (384, 384, 256)
    full: tuple[int, ...] = (4096, 4096)
    is_krizhevsky: bool = False

    def __call__(self, n_classes: int) -> nn.Sequential:
        """Return the network with fresh weights; its children are named conv1, relu1, pool1, norm1, … fc8."""
        network = nn.Sequential()
        for name, module in (*self._stem(), *self._body(), *self._head(n_classes)):
            network.add_module(name, module)
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        return network

    def _stem(self) -> list[tuple[str, nn.Module]]:
        if self.is_krizhevsky:
            convs = nn.Conv2d(3, 96, 11, stride=4, padding=2), nn.Conv2d(96, 256, 5, padding=2, groups=2)
        else:
            convs = nn.Conv2d(3, 96, 7, stride=2, padding=1), nn.Conv2d(96, 256, 5, stride=2)
        modules: list[tuple[str, nn.Module]] = []
        for number, conv in enumerate(convs, 1):
            pool = nn.MaxPool2d(3, 2, ceil_mode=not self.is_krizhevsky)
            norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
            last = (("norm", norm), ("pool", pool)) if self.is_krizhevsky else (("pool", pool), ("norm", norm))
            named = (("conv", conv), ("relu", nn.ReLU(inplace=True)), *last)
            modules.extend((f"{kind}{number}", module) for kind, module in named)
        return modules

    def _body(self) -> list[tuple[str, nn.Module]]:
        modules: list[tuple[str, nn.Module]] = []
        below = 256
        numbers = (*range(3, 2 + len(self.middle)), 5)
        for number, width in zip(numbers, self.middle, strict=True):
            groups = 2 if self.is_krizhevsky and number > 3 else 1
            conv = nn.Conv2d(below, width, 3, padding=1, groups=groups)
            modules += [(f"conv{number}", conv), (f"relu{number}", nn.ReLU(inplace=True))]
            below = width
        return [*modules, ("pool5", nn.MaxPool2d(3, 2)), ("flatten", nn.Flatten())]

    def _head(self, n_classes: int) -> list[tuple[str, nn.Module]]:
        modules: list[tuple[str, nn.Module]] = []
        below = self.middle[-1] * 6 * 6
        for number, width in enumerate(self.full, 6):
            modules += [(f"fc{number}", nn.Linear(below, width)), (f"relu{number}", nn.ReLU(inplace=True))]
            modules.append((f"dropout{number}", nn.Dropout(0.5)))
            below = width
        return [*modules, ("fc8", nn.Linear(below, n_classes))]


VARIANTS: dict[str, tuple[ZFNet, PublishedErrors]] = {
    "krizhevsky": (ZFNet(is_krizhevsky=True), PublishedErrors(35.1, 40.5, 18.1)),
    "krizhevsky_without_3_4": (ZFNet((256,), is_krizhevsky=True), PublishedErrors(41.8, 45.4, 22.1)),
    "krizhevsky_without_7": (ZFNet(full=(4096,), is_krizhevsky=True), PublishedErrors(27.4, 40.0, 18.4)),
    "krizhevsky_without_6_7": (ZFNet(full=(), is_krizhevsky=True), PublishedErrors(27.4, 44.8, 22.4)),
    "krizhevsky_without_3_4_6_7": (ZFNet((256,), (), is_krizhevsky=True), PublishedErrors(71.1, 71.3, 50.1)),
    "krizhevsky_fc2048": (ZFNet(full=(2048, 2048), is_krizhevsky=True), PublishedErrors(40.3, 41.7, 18.8)),
    "krizhevsky_fc8192": (ZFNet(full=(8192, 8192), is_krizhevsky=True), PublishedErrors(26.8, 40.0, 18.1)),
    "zfnet": (ZFNet(), PublishedErrors(33.1, 38.4, 16.5)),
    "zfnet_fc2048": (ZFNet(full=(2048, 2048)), PublishedErrors(38.2, 40.2, 17.6)),
    "zfnet_fc8192": (ZFNet(full=(8192, 8192)), PublishedErrors(22.0, 38.8, 17.0)),
    "zfnet_wide": (ZFNet((512, 1024, 512)), PublishedErrors(18.8, 37.5, 16.0)),
    "zfnet_wide_fc8192": (ZFNet((512, 1024, 512), (8192, 8192)), PublishedErrors(10.0, 38.3, 16.9)),
}
"""Every row of table 3: the network and its published errors."""

for _name, (_build, _) in VARIANTS.items():
    architectures.register(_name)(Architecture(_name, _build, Preprocessing(), N_CLASSES, outputs=imagenet_outputs()))


@torch.no_grad()
def limit_filters(network: nn.Module, radius: float = LARGEST_RMS) -> int:
    """Pull every filter of a convolution whose root mean square exceeds ``radius`` back to it, in place.

    The paper does so after each step of the training, since a few filters of layer 1 dominated the others.

    Parameters
    ----------
    network : to be changed
    radius : largest root mean square of a filter

    Returns
    -------
    int
        Number of filters that were too large.
    """
    n_limited = 0
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            rms = module.weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            module.weight.mul_(torch.where(rms > radius, radius / rms, 1.0))
            n_limited += int((rms > radius).sum())
    return n_limited
