"""Causal drop: how much of the target's probability goes when a region is blurred."""

from dataclasses import dataclass

import torch

from xvcore.errors import XvError
from xvcore.models import Classifier
from xvcore.ops.perturb import Baseline, baseline, blend
from xvcore.parameters import check, parameter
from xvcore.types import Boxes, Images, Probabilities, Targets
from xvcore.visual_summaries.method.dense_flow import window


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
            drops.append(self._of_batch(classifier, images[part], targets[part], boxes[part]))
        return torch.cat(drops)

    @torch.no_grad()
    def _of_batch(self, classifier: Classifier, images: Images, targets: Targets, boxes: Boxes) -> Probabilities:
        pictures = images.to(classifier.device)
        target = targets.to(classifier.device)[:, None]
        mask = torch.ones(len(pictures), 1, *pictures.shape[2:], device=pictures.device)
        for each, box in zip(mask, boxes.cpu().double().numpy(), strict=True):
            each[0][window(box)] = 0
        blurred = blend(pictures, baseline(pictures, self.baseline), mask)
        full = classifier.probabilities(pictures).gather(1, target)[:, 0]
        left = classifier.probabilities(blurred).gather(1, target)[:, 0]
        tiny = torch.finfo(full.dtype).tiny
        return ((full - left) / full.clamp(min=tiny)).float().cpu()
