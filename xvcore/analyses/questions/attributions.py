"""Maps of what counted for an output, to be compared by removing what they rank first.

All have the shape of a method's call, (classifier, images, targets) to maps, and treat each image by itself.

References
----------
.. [1] K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks: Visualising Image Classification
   Models and Saliency Maps", ICLR workshop 2014.
.. [2] M. Sundararajan, A. Taly, Q. Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
"""

from dataclasses import dataclass

import torch

from xvcore.models.classifier import Classifier
from xvcore.ops.perturb import Baseline, Perturbation, baseline
from xvcore.parameters import check, parameter
from xvcore.types import Images, Maps, Targets


@dataclass(frozen=True, slots=True)
class Gradient:
    """Largest absolute derivative of the target's logit over the colour channels [1]_."""

    def __call__(self, classifier: Classifier, images: Images, targets: Targets) -> Maps:
        """Return one unsigned map per image, in logits per unit of colour."""
        return logit_gradient(classifier, images, targets).abs().amax(dim=1, keepdim=True)


@dataclass(frozen=True, slots=True)
class IntegratedGradients:
    """Derivative of the target's logit along the straight line from a baseline, times the way [2]_.

    The map is summed over the colours and adds up to ``logit(image) − logit(baseline)`` as ``steps`` grows. The
    integral is taken by the midpoint rule.
    """

    steps: int = parameter(
        32, "Points on the line; neither their number nor the rule is found for the BagNet paper", ge=1
    )
    baseline: Baseline | None = parameter(None, "Where the line starts; none is black, as in the source")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, classifier: Classifier, images: Images, targets: Targets) -> Maps:
        """Return one signed map per image, in logits."""
        start = torch.zeros_like(images) if self.baseline is None else baseline(images, self.baseline)
        line = Perturbation.of(images, start)
        total = torch.zeros_like(images)
        for step in range(self.steps):
            at = torch.full_like(images[:, :1], (step + 0.5) / self.steps)
            total += logit_gradient(classifier, line(at), targets)
        return (total / self.steps * line.difference).sum(dim=1, keepdim=True)


def logit_gradient(classifier: Classifier, images: Images, targets: Targets) -> Images:
    """Return the derivative of each image's target logit by its own pixels, on the images' device."""
    with torch.enable_grad():
        pictures = images.detach().to(classifier.device).requires_grad_()
        total = classifier.logits(pictures).gather(1, targets.to(classifier.device)[:, None]).sum()
        (gradient,) = torch.autograd.grad(total, pictures)
    return gradient.to(images.device)
