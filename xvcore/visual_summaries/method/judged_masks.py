"""Masks of a batch of images, whichever method made them, and the probabilities that judge them.

A mask is evidence of what the network needs when the pixels that it removes are replaced **by this baseline**: so every
mask is judged under several. It is no outline of an object, it is not the only set of pixels that will do, and a part
of it by itself may take nothing away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xvcore.models.classifier import Classifier
from xvcore.ops.coarse_grid import CoarseMaps
from xvcore.ops.perturb import Baseline, Perturbation, baseline
from xvcore.shown import Shown
from xvcore.types import Images, Maps, Probabilities, Targets

KEPT = 0.5
"""A binarised mask keeps the pixels that are not below."""
JUDGES: tuple[Baseline, ...] = get_args(Baseline)
"""Baselines under which every crisp mask is judged, whatever it was made for."""

MasksT = TypeVar("MasksT", bound="JudgedMasks")


def binarised(masks: Maps) -> Maps:
    """Return 1 where a mask keeps, 0 where it removes."""
    return (masks >= KEPT).to(masks)


@dataclass(frozen=True, slots=True)
class JudgedMasks(Shown):
    """Two masks of each image, in [0, 1] where 1 keeps a pixel, and what is left of the target's probability.

    Parameters
    ----------
    low : the smooth mask on a coarse grid; of :class:`~xvcore.visual_summaries.method.sparse_mask.SparseMask` the
        elements that are optimised, of other methods means over cells
    smooth : the mask as the method finds it, before it is to be crisp
    crisp : the binary mask, or one that is nearly
    prob_full, prob_smooth, prob_crisp, prob_blurred : probability of the target for the image, under the smooth mask,
        under the crisp mask **binarised at 0.5** (below it a pixel is removed), and for the baseline alone
    prob_by_baseline : the same as ``prob_crisp``, a column for each of ``JUDGES``
    smooth_iterations, crisp_iterations : steps taken for each mask, a pass of the network each
    smooth_settled, crisp_settled : whether an image left a stage early, since its loss no longer fell
    smooth_objective, crisp_objective : what each stage minimises, at the masks that it returns; None where a method
        minimises nothing there
    images : what the masks are of, for :meth:`figure` and :meth:`plot`; None where it was let go
    """

    low: CoarseMaps
    smooth: Maps
    crisp: Maps
    prob_full: Probabilities
    prob_smooth: Probabilities
    prob_crisp: Probabilities
    prob_blurred: Probabilities
    prob_by_baseline: Float[Tensor, "batch baselines"]
    smooth_iterations: Int[Tensor, " batch"]
    crisp_iterations: Int[Tensor, " batch"]
    smooth_settled: Bool[Tensor, " batch"]
    crisp_settled: Bool[Tensor, " batch"]
    smooth_objective: Float[Tensor, " batch"] | None
    crisp_objective: Float[Tensor, " batch"] | None
    images: Images | None = field(default=None, kw_only=True, repr=False, compare=False)

    @classmethod
    def joined(cls: type[MasksT], parts: Sequence[MasksT]) -> MasksT:
        """Return the masks of several batches as those of one."""
        values = {each.name: [getattr(part, each.name) for part in parts] for each in fields(cls)}
        joined: dict[str, Any] = {name: None if each[0] is None else torch.cat(each) for name, each in values.items()}
        return cls(**joined)

    @property
    def removed(self) -> Bool[Tensor, "batch 1 height width"]:
        """The pixels that the crisp mask removes: what the decision stands on."""
        return self.crisp < KEPT

    @property
    def area_crisp(self) -> Float[Tensor, " batch"]:
        """Share of the pixels that the binarised crisp mask removes."""
        return _area(self.crisp)

    @property
    def area_smooth(self) -> Float[Tensor, " batch"]:
        """Share of the pixels that the binarised smooth mask removes."""
        return _area(self.smooth)

    @property
    def drop_crisp(self) -> Float[Tensor, " batch"]:
        """Relative drop ``(p − p_masked) / p`` of the probability under the binarised crisp mask."""
        return (self.prob_full - self.prob_crisp) / self.prob_full

    @property
    def drop_by_baseline(self) -> Float[Tensor, "batch baselines"]:
        """Relative drop under the binarised crisp mask, a column for each of ``JUDGES``."""
        full = self.prob_full[:, None]
        return (full - self.prob_by_baseline) / full

    @property
    def drop_smooth(self) -> Float[Tensor, " batch"]:
        """Relative drop of the probability under the smooth mask."""
        return (self.prob_full - self.prob_smooth) / self.prob_full

    @property
    def crispness(self) -> Float[Tensor, " batch"]:
        """Mean of ``m (1 − m)`` over the crisp mask before it is binarised: 0 if binary, at most 0.25."""
        return (self.crisp * (1 - self.crisp)).mean(dim=(1, 2, 3))


@dataclass(frozen=True, slots=True)
class Judge:
    """What masks leave of the target's probability, for methods that make masks in one piece.

    Parameters
    ----------
    classifier, images, targets : the network, a batch, and the output that each of its images is explained for
    baseline : what replaces a removed pixel where a drop is asked for
    seed : of the noise
    """

    classifier: Classifier
    images: Images
    targets: Targets
    baseline: Baseline
    seed: int = 0

    def __call__(self, masks: Maps, kind: Baseline | None = None) -> Probabilities:
        """Return what is left under a mask an image, removed pixels being replaced by this baseline."""
        pictures = Perturbation.of(self.images, baseline(self.images, kind or self.baseline, seed=self.seed))(masks)
        return self.classifier.probabilities(pictures).gather(1, self.targets[:, None]).squeeze(1)

    def judged(self, smooth: Maps, crisp: Maps, n_passes: int) -> dict[str, Any]:
        """Return the fields of :class:`JudgedMasks`, of masks that took so many passes and have no objective."""
        size, device = len(smooth), smooth.device
        by_baseline = torch.stack([self(binarised(crisp), kind) for kind in JUDGES], dim=1)
        never = torch.zeros(size, dtype=torch.bool, device=device)
        return {
            "low": coarse(smooth),
            "smooth": smooth,
            "crisp": crisp,
            "prob_full": self(torch.ones_like(smooth)),
            "prob_smooth": self(smooth),
            "prob_crisp": by_baseline[:, JUDGES.index(self.baseline)],
            "prob_blurred": self(torch.zeros_like(smooth)),
            "prob_by_baseline": by_baseline,
            "smooth_iterations": torch.full((size,), n_passes, device=device),
            "crisp_iterations": torch.zeros(size, dtype=torch.int64, device=device),
            "smooth_settled": never,
            "crisp_settled": never,
            "smooth_objective": None,
            "crisp_objective": None,
            "images": self.images,
        }


def coarse(masks: Maps, cell_px: int = 8) -> CoarseMaps:
    """Return the means of masks over cells of about so many pixels."""
    rows, columns = (max(1, length // cell_px) for length in masks.shape[2:])
    return F.adaptive_avg_pool2d(masks, (rows, columns))


def first_that_suffices(suffices: Bool[Tensor, "batch areas"]) -> Int[Tensor, " batch"]:
    """Return the place of the first area that suffices for each image; the last where none does."""
    last = suffices.shape[1] - 1
    return torch.where(suffices.any(dim=1), suffices.int().argmax(dim=1), last)


def _area(masks: Maps) -> Float[Tensor, " batch"]:
    return (masks < KEPT).double().mean(dim=(1, 2, 3)).to(masks)
