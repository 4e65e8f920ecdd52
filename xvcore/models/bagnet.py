"""BagNets: classifiers whose decision is the mean of the evidence of small patches, each judged by itself [1]_.

A ResNet-50 in which nearly all 3 × 3 convolutions are 1 × 1, without padding and max-pooling, so that an element of the
last map sees q × q pixels (q = 9, 17, 33) and nothing else::

    logits = W mean_ij f(patch_ij) + b = mean_ij (W f(patch_ij) + b) = mean_ij evidence_ij

Patch ``i, j`` is rows ``8 i … 8 i + q - 1`` and columns ``8 j … 8 j + q - 1``: the grid starts at the image's first
pixel, and pixels after the last whole patch are not seen (224 px: the last 7 rows and columns; sides of 1 modulo 8
waste none). The modules have the names of the authors' release, whose files load as they are.

The padded variants (``_v2``) have the layout of a later re-training: one convolution as stem, padding in all
convolutions, patches centred at ``8 i``; near the border a patch knows where the border is.

References
----------
.. [1] W. Brendel, M. Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on
   ImageNet", ICLR 2019.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from xvcore.errors import ParameterError
from xvcore.models.architecture import Architecture, Output, PublishedWeights, architectures
from xvcore.models.labels import imagenet_outputs
from xvcore.models.partbirds import OUTPUTS, PREPROCESSING
from xvcore.models.preprocessing import Preprocessing
from xvcore.ops.full_precision import full_precision
from xvcore.ops.patch_grid import PatchGrid
from xvcore.types import Images, Scores

PATCH_SIDES = (9, 17, 33)
STRIDES = (2, 2, 2, 1)
STRIDE_PX = 8
RELEASE = "https://bitbucket.org/wielandbrendel/bag-of-feature-pretrained-models/raw"
RELEASE += "/249e8fa82c0913623a807d9d35eeab9da7dcc2a8"
FILES = {9: "bagnet8-34f4ccd2.pth.tar", 17: "bagnet16-105524de.pth.tar", 33: "bagnet32-2ddd53ed.pth.tar"}
"""The authors' files, which count from one less; the first digits of the SHA-256 are part of the name."""

FeatureMaps = Float[Tensor, "batch features rows columns"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes of a BagNet; the defaults are the published ones.

    Parameters
    ----------
    patch_px : side of the patches: 9, 17 or 33
    stem : channels of the stem
    planes : narrow channels of each stage; four times as many leave it
    blocks : bottlenecks of each stage, of which the first may have a 3 × 3 convolution
    is_padded : the later layout (``_v2``)
    stem_momentum : of the stem's batch norm; the authors' is small, which takes thousands of steps to train
    is_guarded : in eval mode, compute without TF32 and autocast: see :func:`~xvcore.ops.full_precision.full_precision`
    """

    patch_px: int
    stem: int = 64
    planes: tuple[int, int, int, int] = (64, 128, 256, 512)
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    is_padded: bool = False
    stem_momentum: float = 0.001
    is_guarded: bool = True

    def __post_init__(self) -> None:
        if self.patch_px not in PATCH_SIDES:
            raise ParameterError(f"patch_px = {self.patch_px}: expected one of {', '.join(map(str, PATCH_SIDES))}")

    @property
    def kernels(self) -> tuple[int, int, int, int]:
        """Side of the one spatial convolution of each stage: 3, or 1 where the patch is wide enough before."""
        return (3, 3, 3 if self.patch_px >= 17 else 1, 3 if self.patch_px >= 33 else 1)

    @property
    def patches(self) -> PatchGrid:
        """Which patch each element of the last map sees."""
        return PatchGrid(self.patch_px, STRIDE_PX, (self.patch_px - 1) // 2 if self.is_padded else 0)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers worth tapping."""
        blocks = (f"layer{stage}.{block}" for stage, n in enumerate(self.blocks, 1) for block in range(n))
        return (*(("conv1",) if self.is_padded else ("conv1", "conv2")), "bn1", "relu", *blocks)


class Bottleneck(nn.Module):
    """Narrow, look around (or not), widen, add what came in."""

    def __init__(self, width_in: int, window: nn.Conv2d, *, is_first: bool) -> None:
        super().__init__()
        planes = window.out_channels
        self.conv1 = nn.Conv2d(width_in, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu1 = nn.ReLU()
        self.conv2 = window
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu3 = nn.ReLU()
        if is_first:
            shortcut = nn.Conv2d(width_in, 4 * planes, 1, window.stride[0], bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * planes))
        self.is_first = is_first

    def forward(self, images: Tensor, dilation: int | None = None) -> Tensor:
        """Return the next map.

        Parameters
        ----------
        images : map that comes in
        dilation : distance in elements of what were neighbours before strides were taken away: computes at every
            element what the strided block computes at some; None is the block as it is
        """
        maps = self.relu1(self.bn1(self.conv1(images)))
        if dilation is None:
            maps = self.conv2(maps)
            shortcut = self.downsample(images) if self.is_first else images
        else:
            maps = F.conv2d(maps, self.conv2.weight, dilation=dilation)
            shortcut = self._dense_shortcut(images) if self.is_first else images
        maps = self.bn3(self.conv3(self.relu2(self.bn2(maps))))
        # Without padding the map has lost rows and columns, and its first element is still the input's first.
        result: Tensor = self.relu3(maps + shortcut[:, :, : maps.shape[2], : maps.shape[3]])
        return result

    def _dense_shortcut(self, images: Tensor) -> Tensor:
        maps: Tensor = self.downsample[1](F.conv2d(images, self.downsample.get_parameter("0.weight")))
        return maps


class BagNet(nn.Module):
    """The network: normalised images of any size, at least a patch's, to logits."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, layout: Layout, n_classes: int) -> None:
        super().__init__()
        self.layout = layout
        if layout.is_padded:
            self.conv1 = nn.Conv2d(3, layout.stem, 3, padding=1, bias=False)
        else:
            # Two convolutions with nothing between: one in effect, two in the files.
            self.conv1 = nn.Conv2d(3, layout.stem, 1, bias=False)
            self.conv2 = nn.Conv2d(layout.stem, layout.stem, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(layout.stem, momentum=layout.stem_momentum)
        self.relu = nn.ReLU()
        width = layout.stem
        for index, (planes, n_blocks) in enumerate(zip(layout.planes, layout.blocks, strict=True)):
            stage = nn.Sequential()
            for number in range(n_blocks):
                kernel, stride = (layout.kernels[index], STRIDES[index]) if number == 0 else (1, 1)
                padding = (kernel - 1) // 2 if layout.is_padded else 0
                window = nn.Conv2d(planes, planes, kernel, stride, padding, bias=False)
                stage.append(Bottleneck(width, window, is_first=number == 0))
                width = 4 * planes
            self.add_module(f"layer{index + 1}", stage)
        self.fc = nn.Linear(width, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Images) -> Scores:
        """Return the logits."""
        with self._guard(images):
            scores: Scores = self.fc(self._features(images).mean(dim=(2, 3)))
        return scores

    def features(self, images: Images) -> FeatureMaps:
        """Return what is known of each patch; their mean goes into the linear layer."""
        with self._guard(images):
            return self._features(images)

    def dense_features(self, images: Images) -> FeatureMaps:
        """Return what is known of the patch that starts at **each** pixel: q - 1 rows and columns fewer than the input.

        Every eighth element of every eighth row is :meth:`features`. The same weights, with every stride taken away
        and the convolutions behind it dilated instead.

        Raises
        ------
        ParameterError
            A padded network, whose patches know where the border is.
        """
        if self.layout.is_padded:
            raise ParameterError("a padded BagNet has patches at multiples of its stride only")
        with self._guard(images):
            maps, dilation = self._stem(images), 1
            for stage, stride in zip(self._stages, STRIDES, strict=True):
                for number, block in enumerate(stage):
                    maps = block(maps, dilation)
                    dilation *= stride if number == 0 else 1
            return maps

    @property
    def _stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4

    def _stem(self, images: Images) -> Tensor:
        maps = self.conv1(images) if self.layout.is_padded else self.conv2(self.conv1(images))
        result: Tensor = self.relu(self.bn1(maps))
        return result

    def _features(self, images: Images) -> FeatureMaps:
        maps = self._stem(images)
        for stage in self._stages:
            maps = stage(maps)
        return maps

    def _guard(self, images: Images) -> AbstractContextManager[None]:
        """Return the arithmetic: guarded when the weights are used, not while they are trained or compiled."""
        if not self.layout.is_guarded or self.training or torch.compiler.is_compiling():
            return nullcontext()
        return full_precision(images.device.type)


def build(n_classes: int, *, layout: Layout) -> BagNet:
    """Return a BagNet with random weights: convolutions as He et al., the linear layer as torch does.

    Parameters
    ----------
    n_classes : number of outputs
    layout : its sizes
    """
    return BagNet(layout, n_classes)


def _architecture(
    name: str, layout: Layout, preprocessing: Preprocessing, outputs: tuple[Output, ...], url: str = ""
) -> Architecture:
    n_classes = len(outputs)
    weights = PublishedWeights("IMAGENET1K_BRENDEL", url, preprocessing, n_classes, outputs)
    published = {weights.name: weights} if url else {}
    make = partial(build, layout=layout)
    return Architecture(name, make, preprocessing, n_classes, layout.layers, outputs, published, patches=layout.patches)


for side, file in FILES.items():
    checked = f"{RELEASE}/{file}#sha256={file.partition('-')[2].partition('.')[0]}"
    official = _architecture(f"bagnet{side}", Layout(side), Preprocessing(), imagenet_outputs(), checked)
    architectures.register(official.name)(official)
    later = Layout(side, is_padded=True, stem_momentum=0.1, is_guarded=False)
    architectures.register(f"bagnet{side}_v2")(
        _architecture(f"bagnet{side}_v2", later, Preprocessing(), imagenet_outputs())
    )
    # Widths of whole multiples of eight: oneDNN of torch 2.15 breaks memory on narrower strided layers (channels last).
    small = Layout(side, 16, (8, 16, 24, 32), (1, 1, 2, 1), stem_momentum=0.1, is_guarded=False)
    birds = _architecture(f"partbirds_bagnet{side}", small, PREPROCESSING, OUTPUTS)
    architectures.register(birds.name)(birds)
