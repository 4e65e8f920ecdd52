"""Causal drop: how much of the target's probability goes when a region is blurred."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.errors import XvError
from xvcore.models import Classifier, laid_out
from xvcore.ops.perturb import Baseline, baseline, blend
from xvcore.parameters import check, parameter
from xvcore.types import Boxes, Images, Probabilities, Targets
from xvcore.visual_summaries.method.dense_flow import window
from xvcore.visual_summaries.method.judged_masks import JUDGES


@dataclass(frozen=True, slots=True)
class WorstDrop:
    """The smallest of the median drops under several baselines, and the baseline under which it is that small."""

    drop: float
    baseline: Baseline


@dataclass(frozen=True, slots=True)
class CausalDrop:
    """Blurs one box of each image and compares: (p - p_blurred) / p, with p the probability of the target.

    1 means that nothing is left, 0 that the region does not matter, less than 0 that the target gains.

    Source: the drop of Carletti's implementation of Godi, Carletti, Aghaei, Giuliari, Cristani, Understanding Deep
    Architectures by Visual Summaries, BMVC 2018, taken for the box of a region.
    """

    baseline: Baseline = parameter("blur_weak", "What replaces the region's pixels")

    def __post_init__(self) -> None:
        check(self)

    def __call__(
        self, classifier: Classifier, images: Images, targets: Targets, boxes: Boxes, *, batch_size: int = 32
    ) -> Probabilities:
        """Return the relative drop of each image, at most 1, on the CPU; it does not depend on ``batch_size``.

        Parameters
        ----------
        classifier : frozen network
        images : RGB in [0, 1], on any device
        targets : output to be explained, one per image
        boxes : one per image, in pixels of the image; an empty one gives 0

        Raises
        ------
        XvError
            Not as many targets and boxes as images.
        """
        if not len(images) == len(targets) == len(boxes):
            raise XvError(f"{len(images)} images, {len(targets)} targets, {len(boxes)} boxes: must be equally many")
        drops = [torch.zeros(0)]
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            full = probabilities(classifier, images[part], targets[part])
            left = self.left(classifier, images[part], targets[part], boxes[part, None])
            drops.append(relative_drop(full, left).float().cpu())
        return torch.cat(drops)

    def worst(
        self, classifier: Classifier, images: Images, targets: Targets, boxes: Boxes, *, batch_size: int = 32
    ) -> WorstDrop:
        """Return the smallest median drop over the images under any of ``JUDGES``, whatever ``baseline`` is.

        A region whose drop holds under every baseline is needed however its pixels are removed; under one of them
        alone, the drop may be due to what that baseline puts there. Ties go to the first baseline.

        Parameters
        ----------
        classifier, images, targets, boxes : as above; at least one image
        """
        medians = {
            kind: float(
                replace(self, baseline=kind)(classifier, images, targets, boxes, batch_size=batch_size).median()
            )
            for kind in JUDGES
        }
        kind = min(medians, key=lambda each: medians[each])
        return WorstDrop(medians[kind], kind)

    @torch.no_grad()
    def left(
        self, classifier: Classifier, images: Images, targets: Targets, boxes: Float[Tensor, "batch regions 4"]
    ) -> Probabilities:
        """Return the probability of each target when all boxes of its image are blurred together, as one batch.

        Parameters
        ----------
        classifier, images, targets : as above
        boxes : of each image, equally many; an empty one (no width or height) blurs nothing
        """
        pictures = images.to(classifier.device)
        mask = torch.ones(len(pictures), 1, *pictures.shape[2:])
        for each, of_image in zip(mask.numpy(), boxes.cpu().double().numpy(), strict=True):
            for box in of_image[of_image[:, 2:].prod(axis=1) > 0]:
                each[0][window(box)] = 0
        mask = mask.to(pictures.device)
        return probabilities(classifier, blend(pictures, baseline(pictures, self.baseline), mask), targets)


@torch.no_grad()
def probabilities(classifier: Classifier, images: Images, targets: Targets) -> Probabilities:
    """Return the probability of each target, on the classifier's device."""
    target = targets.to(classifier.device)[:, None]
    return classifier.probabilities(laid_out(classifier, images)).gather(1, target)[:, 0]


def relative_drop(full: Probabilities, left: Probabilities) -> Probabilities:
    """Return (full - left) / full, 0 where there was nothing to lose."""
    return (full - left) / full.clamp(min=torch.finfo(full.dtype).tiny)
