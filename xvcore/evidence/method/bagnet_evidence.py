"""Evidence: what each patch of an image says for a class, such that the mean of all is the logit.

A BagNet [1]_ judges each patch of q × q pixels by itself and takes the mean, so its evidence is no attribution but the
decision itself, element by element: ``evidence_ij = w · f(patch_ij) + b`` and ``logit = mean_ij evidence_ij``. One pass
over the whole image gives all patches.

The same algebra holds for every network that ends in a mean over positions (of maps, or of the tokens of a grid) and
affine layers: a linear one, a batch normalisation before it, two heads whose outputs are averaged (class activation
mapping, with the bias). There a position knows of far more than its cell, and the boxes are nominal. Other networks are
refused, with the distance where only what follows the mean is not affine.

>>> evidence = BagNetEvidence()(classifier, images, targets)  # doctest: +SKIP
>>> evidence.values.mean((2, 3)), evidence.logits             # doctest: +SKIP

References
----------
.. [1] W. Brendel, M. Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on
   ImageNet", ICLR 2019.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.errors import ParameterError, XvError
from xvcore.methods import methods
from xvcore.models.bagnet import BagNet
from xvcore.models.classifier import Classifier
from xvcore.ops.full_precision import full_precision
from xvcore.ops.mean_head import TOLERANCE, MeanHead, evidence_of, watched
from xvcore.ops.memory import in_halves
from xvcore.ops.patch_grid import PatchGrid
from xvcore.parameters import check, parameter
from xvcore.shown import Shown
from xvcore.types import Images, Scores, Targets

Resolution = Literal["decision", "full"]
LIVE_TENSORS = 4
"""Maps of the widest layer that live at the same time in a dense pass."""


@dataclass(frozen=True, slots=True)
class Evidence(Shown):
    """Evidence maps of a batch of images.

    Parameters
    ----------
    values : in units of the logit; positive speaks for the target
    logits : of each target for the whole image
    resolution : ``"decision"``: the patches of the network's own grid, whose mean is the logit; ``"full"``: patches
        centred at every pixel, those of the border with zeros around the normalised image; their mean is **not** the
        logit
    patches : which patch each element sees; None: no patch but (nearly) all of the image
    input_px : height and width of the images
    images : what the maps are of, for :meth:`figure` and :meth:`plot`; None where it was let go
    """

    values: Float[Tensor, "batch targets rows columns"]
    logits: Float[Tensor, "batch targets"]
    resolution: Resolution
    patches: PatchGrid | None
    input_px: tuple[int, int]
    images: Images | None = field(default=None, repr=False, compare=False)

    @classmethod
    def joined(cls, parts: Sequence["Evidence"]) -> "Evidence":
        """Return the evidence of several batches as that of one."""
        values, logits = torch.cat([part.values for part in parts]), torch.cat([part.logits for part in parts])
        known = [part.images for part in parts if part.images is not None]
        images = torch.cat(known) if len(known) == len(parts) else None
        return replace(parts[0], values=values, logits=logits, images=images)

    @property
    def sums_to_logit(self) -> bool:
        """Whether the mean of the values is the logit."""
        return self.resolution == "decision"

    @property
    def is_local(self) -> bool:
        """Whether an element sees its box and nothing else; else the boxes are nominal."""
        return self.patches is not None

    @property
    def boxes(self) -> Float[Tensor, "rows columns 4"]:
        """x, y, w, h in pixels of the input: the patch of each element, or its nominal cell where it sees all."""
        height, width = self.input_px
        if self.patches is not None:
            return self.patches.boxes(height, width)
        rows, columns = self.values.shape[2:]
        boxes = torch.empty(rows, columns, 4)
        boxes[..., 2], boxes[..., 3] = width / columns, height / rows
        boxes[..., 0] = torch.arange(columns) * (width / columns)
        boxes[..., 1] = (torch.arange(rows) * (height / rows))[:, None]
        return boxes


@methods.register("bagnet_evidence")
@dataclass(frozen=True, slots=True)
class BagNetEvidence:
    """Evidence of each patch for chosen targets, without computing the other classes.

    Computed without TF32 and autocast (see :func:`~xvcore.ops.full_precision.full_precision`), or mean and logit would
    be two numbers.
    """

    resolution: Resolution = parameter(
        "decision", "The network's own patches, whose mean is the logit, or patches centred at every pixel (BagNets)"
    )
    tile_mib: int = parameter(1024, "Memory in MiB that a tile of the full resolution may take", ge=1)

    def __post_init__(self) -> None:
        check(self)

    @torch.no_grad()
    def __call__(
        self, classifier: Classifier, images: Images, targets: Targets | Int[Tensor, "batch targets"]
    ) -> Evidence:
        """Return the evidence in each image for its target or targets.

        Parameters
        ----------
        classifier : any that ends in a mean over positions and affine layers
        images : RGB in [0, 1], any size that the network takes
        targets : outputs to be explained: one of each image, or several

        Raises
        ------
        XvError
            The logits are no mean over positions, or what follows it is not affine, so there is no exact evidence; or
            full resolution was asked for, and the network is no BagNet without padding.
        ParameterError
            A target that is not an output of the network.
        torch.OutOfMemoryError
            Not even one image fits into the device's memory.
        """
        chosen = targets[:, None] if targets.ndim == 1 else targets
        unknown = chosen[(chosen < 0) | (chosen >= classifier.n_classes)].unique().tolist()
        if unknown:
            raise ParameterError(f"targets {unknown}: {classifier.name} has the outputs 0 … {classifier.n_classes - 1}")
        if self.resolution == "full" and not isinstance(classifier.network, BagNet):
            raise XvError(f"evidence at full resolution needs a BagNet; {classifier.name} is none")
        return Evidence.joined(in_halves(partial(self._of_batch, classifier), images, chosen))

    @torch.no_grad()
    def look(self, classifier: Classifier, images: Images) -> "Pass":
        """Return a pass over images, of which the evidence at the decision can be asked once the scores are known.

        Raises
        ------
        XvError, ParameterError, torch.OutOfMemoryError
            As a call.
        """
        return Pass(classifier, in_halves(partial(_watched, classifier), images), (images.shape[2], images.shape[3]))

    def _of_batch(self, classifier: Classifier, images: Images, targets: Int[Tensor, "batch targets"]) -> Evidence:
        with full_precision(images.device.type):
            head = _watched(classifier, images)
            values, logits = head.evidence(targets), head.logits.gather(1, targets)
            _compare(values, logits, classifier.name)
            patches = classifier.architecture.patches
            if isinstance(classifier.network, BagNet) and self.resolution == "full":
                patches = classifier.network.layout.patches.dense
                values = self._full(classifier.network, classifier.preprocessing.normalise(images), targets)
        return Evidence(values, logits, self.resolution, patches, (images.shape[2], images.shape[3]), images)

    def _full(
        self, network: BagNet, images: Images, targets: Int[Tensor, "batch targets"]
    ) -> Float[Tensor, "batch targets height width"]:
        """Return the evidence of the patch centred at each pixel of normalised images, in tiles."""
        height, width = images.shape[2:]
        margin = network.layout.patch_px - 1
        padded = F.pad(images, [margin // 2] * 4)
        values = images.new_empty(*targets.shape, height, width)
        side = self._side(network, images.element_size())
        tiles = product(range(len(images)), _tiles(height, side), _tiles(width, side))
        for index, (top, bottom), (left, right) in tiles:
            part = padded[index : index + 1, :, top : bottom + margin, left : right + margin]
            of_tile = evidence_of(
                network.dense_features(part), network.fc.weight, network.fc.bias, targets[index : index + 1]
            )
            values[index, :, top:bottom, left:right] = of_tile[0]
        return values

    def _side(self, network: BagNet, item_bytes: int) -> int:
        """Return the side of a tile in pixels, at least a patch's: its margin is computed twice."""
        bytes_of_pixel = LIVE_TENSORS * network.fc.in_features * item_bytes
        seen = int((self.tile_mib * 2**20 / bytes_of_pixel) ** 0.5)
        return max(seen - network.layout.patch_px + 1, network.layout.patch_px)


@dataclass(frozen=True, eq=False, slots=True)
class Pass:
    """A pass over a batch, watched.

    Parameters
    ----------
    classifier : whose
    heads : its end, for the whole batch or for parts of it in order
    input_px : height and width of the images
    """

    classifier: Classifier
    heads: Sequence[MeanHead]
    input_px: tuple[int, int]

    @property
    def logits(self) -> Scores:
        """What the network said."""
        return torch.cat([head.logits for head in self.heads])

    @torch.no_grad()
    def evidence(self, targets: Int[Tensor, "batch targets"], kept: Sequence[int]) -> Evidence:
        """Return the evidence at the decision for each image's targets, of the images at the places ``kept``.

        Raises
        ------
        XvError
            Its mean is not the logit.
        """
        sizes = [len(head.logits) for head in self.heads]
        parts = list(zip(self.heads, targets.split(sizes), strict=True))
        with full_precision(targets.device.type):
            values = torch.cat([head.evidence(of_head) for head, of_head in parts])[kept]
            logits = torch.cat([head.logits.gather(1, of_head) for head, of_head in parts])[kept]
            if kept:
                _compare(values, logits, self.classifier.name)
        return Evidence(values, logits, "decision", self.classifier.architecture.patches, self.input_px)


def _watched(classifier: Classifier, images: Images) -> MeanHead:
    try:
        with full_precision(images.device.type):
            return watched(classifier.logits, images)
    except ParameterError:
        raise
    except XvError as error:
        raise XvError(f"no exact evidence in {classifier.name}: {error}") from error


def _tiles(size: int, side: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of equal parts of a length, none above ``side``."""
    n_tiles = -(-size // side)
    for index in range(n_tiles):
        yield size * index // n_tiles, size * (index + 1) // n_tiles


def _compare(
    values: Float[Tensor, "batch targets rows columns"], logits: Float[Tensor, "batch targets"], name: str
) -> None:
    """Refuse evidence whose mean is not the logit."""
    difference = (values.mean(dim=(2, 3)) - logits).abs().max()
    if not difference <= TOLERANCE * torch.maximum(values.abs().max(), logits.abs().max()):
        raise XvError(f"no exact evidence in {name}: its mean differs from the logit by {float(difference):.3g}")
