"""RISE: how much of a class's probability there is, on the average, where a pixel is seen.

The network is asked about a picture under many random masks; a pixel's saliency is the mean of the probability over the
masks, weighted by how far they show the pixel [1]_::

    S(u) = 1 / (p N) Σ_i f(x ⊙ M_i) M_i(u)

with N masks whose mean is p. Its expectation is the mean probability given that the pixel is seen. No gradient is
taken. It ranks pixels one at a time, averaged over what else may be hidden: it says nothing of which pixels are needed
together, and has no area of its own.

References
----------
.. [1] V. Petsiuk, A. Das, K. Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xvcore.errors import ParameterError
from xvcore.methods import methods
from xvcore.models.classifier import Classifier
from xvcore.ops.memory import in_halves
from xvcore.ops.perturb import Baseline
from xvcore.parameters import check, parameter
from xvcore.types import Images, Maps, Targets
from xvcore.visual_summaries.method.judged_masks import Judge, JudgedMasks, first_that_suffices

PICTURES = 64
"""Masked pictures that the network sees at once, about."""


@dataclass(frozen=True, slots=True)
class RiseMasks(JudgedMasks):
    """Saliency of a batch, and the masks that remove its most salient pixels.

    ``smooth`` is 1 where the saliency is least and 0 where it is largest; ``crisp`` removes the pixels of largest
    saliency, as many as the chosen area says.

    Parameters
    ----------
    saliency : S, in units of probability
    reached : relative drop without the most salient pixels of each area
    """

    saliency: Maps
    reached: Float[Tensor, "batch areas"]


@methods.register("rise")
@dataclass(frozen=True, slots=True)
class Rise:
    """Randomised input sampling [1]_; constants are the paper's for VGG16 (8000 masks for a ResNet-50).

    Notes
    -----
    A mask is a grid of cells, each shown with probability p, enlarged bilinearly to one cell more than the picture and
    cropped at a random place. Cells are ⌈size / cells⌉ pixels wide, as in the authors' code. As there the *normalised*
    picture is multiplied: a hidden pixel shows the mean colour that the network's preprocessing subtracts. All images
    meet the same masks, so that an image's place in the batch does not matter.

    The paper makes no binary mask. Ours: the most salient pixels of the smallest of ``areas`` without which a share of
    the probability is gone; of the largest area, where none reaches it.
    """

    n_masks: int = parameter(4000, "Random masks, a pass of the network each", ge=1)
    cells: int = parameter(7, "Cells of the grid to a side", ge=1)
    shown: float = parameter(0.5, "Probability that a cell is shown", ge=0.001, le=1)
    areas: tuple[float, ...] = parameter(
        (0.025, 0.05, 0.1, 0.2),
        "Areas of the binary masks that are tried, rising, each a share of the picture (ours)",
        ge=0,
        le=1,
    )
    share: float = parameter(0.9, "Relative drop from which an area suffices (ours)", ge=0, le=1)
    baseline: Baseline = parameter("blur_weak", "What replaces a removed pixel where a mask is judged (ours)")
    seed: int = parameter(0, "Seed of the masks", ge=0)

    def __post_init__(self) -> None:
        check(self)
        if not self.areas or list(self.areas) != sorted(set(self.areas)):
            raise ParameterError(f"areas = {self.areas}: expected at least one, rising")

    @torch.no_grad()
    def __call__(self, classifier: Classifier, images: Images, targets: Targets) -> RiseMasks:
        """Return the saliency and the masks of each image for its target.

        Raises
        ------
        torch.OutOfMemoryError
            Not even one image fits into the device's memory.
        """
        return RiseMasks.joined(in_halves(partial(self._explain, classifier), images, targets))

    def _explain(self, classifier: Classifier, images: Images, targets: Targets) -> RiseMasks:
        saliency = self.saliency(classifier, images, targets)
        low, high = (saliency.flatten(1).aminmax(dim=1)[i][:, None, None, None] for i in (0, 1))
        smooth = 1 - (saliency - low) / (high - low).clamp_min(torch.finfo(saliency.dtype).tiny)
        judge = Judge(classifier, images, targets, self.baseline, self.seed)
        full = judge(torch.ones_like(smooth))
        tried = [without_most_salient(saliency, area) for area in self.areas]
        reached = torch.stack([1 - judge(masks) / full for masks in tried], dim=1)
        place = first_that_suffices(reached >= self.share)
        crisp = torch.stack(tried, dim=1)[torch.arange(len(images)), place]
        judged = judge.judged(smooth, crisp, self.n_masks)
        return RiseMasks(**judged, saliency=saliency, reached=reached)

    @torch.no_grad()
    def saliency(self, classifier: Classifier, images: Images, targets: Targets) -> Maps:
        """Return S: for each pixel the mean probability over the masks, weighted by how far they show it."""
        mean = images.new_tensor(classifier.preprocessing.mean).view(3, 1, 1)
        centred = images - mean
        total = torch.zeros_like(images[:, :1])
        size = images.shape[2], images.shape[3]
        for masks in self.masks(size, max(1, PICTURES // len(images))):
            shown = masks.to(images)
            pictures = (centred[:, None] * shown + mean).flatten(0, 1)
            index = targets.repeat_interleave(len(shown))[:, None]
            found = classifier.probabilities(pictures).gather(1, index).view(len(images), len(shown))
            total += torch.einsum("bm,mchw->bchw", found, shown)
        return total / (self.shown * self.n_masks)

    def masks(self, size: tuple[int, int], n_at_once: int) -> Iterator[Float[Tensor, "masks 1 height width"]]:
        """Yield the masks, so many at once; which they are does not depend on that."""
        generator = torch.Generator().manual_seed(self.seed)
        cell = [math.ceil(length / self.cells) for length in size]
        grids = torch.rand((self.n_masks, 1, self.cells, self.cells), generator=generator, dtype=torch.float64)
        corners = [torch.randint(each, (self.n_masks,), generator=generator).tolist() for each in cell]
        places = list(zip(*corners, strict=True))
        enlarged = [(self.cells + 1) * each for each in cell]
        for first in range(0, self.n_masks, n_at_once):
            grid = (grids[first : first + n_at_once] < self.shown).double()
            whole = F.interpolate(grid, enlarged, mode="bilinear", align_corners=False)
            windows = zip(whole, places[first : first + n_at_once], strict=True)
            yield torch.stack([each[:, y : y + size[0], x : x + size[1]] for each, (y, x) in windows])


def without_most_salient(saliency: Maps, area: float) -> Maps:
    """Return the masks that remove a share of the pixels, those of largest saliency; of equal ones the first."""
    pixels = saliency.flatten(1)
    n_removed = round(area * pixels.shape[1])
    first = pixels.argsort(dim=1, descending=True, stable=True)[:, :n_removed]
    return torch.ones_like(pixels).scatter_(1, first, 0).view_as(saliency)
