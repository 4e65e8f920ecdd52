"""The target's probability for a batch of pictures and its derivative by their pixels, in a chosen arithmetic.

And the target's place among the outputs, which is read from the scores: probabilities of several outputs may be equal
(0, for one, where they underflow) where the scores are not.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.types import Images, Probabilities, Scores, Targets

Margins = Float[Tensor, " batch"]
"""Log odds of each image's target: ``log p / (1 − p)``."""
Precision = Literal["float32", "bfloat16", "float16"]
HALF_SCALE = 1024.0
"""Factor on the probability under float16, whose smallest number would else swallow an improbable target's gradient."""


def ranks(scores: Scores, targets: Targets) -> Int[Tensor, " batch"]:
    """Return the place of each target among the outputs, from 1: how many outputs have a score at least as high.

    Ties count against the target, so that 1 says that the network prefers it, and a network whose outputs are all equal
    is never right.

    Parameters
    ----------
    scores : finite logits
    targets : one an image
    """
    own = scores.gather(1, targets.to(scores.device)[:, None])
    return (scores >= own).sum(dim=1)


def n_not_finite(scores: Scores) -> Int[Tensor, " batch"]:
    """Return how many scores of each image are NaN or infinite: nothing can be read from such an image's scores."""
    return (~scores.isfinite()).sum(dim=1)


@dataclass(frozen=True, slots=True)
class TargetProbability:
    """Softmax probability of each picture's target.

    Parameters
    ----------
    logits : pictures to scores, differentiable
    precision : of the network; below ``float32`` it runs under autocast, the softmax stays in the pictures' type
    """

    logits: Callable[[Images], Scores]
    precision: Precision = "float32"

    def __call__(self, pictures: Images, targets: Targets) -> Probabilities:
        """Return the probability of each picture's target."""
        with self._arithmetic(pictures.device.type):
            scores = self.logits(pictures)
        return scores.to(pictures.dtype).softmax(dim=1).gather(1, targets[:, None]).squeeze(1)

    def gradient(self, pictures: Images, targets: Targets) -> Images:
        """Return the derivative by the pictures; the network's parameters get none."""
        scale = HALF_SCALE if self.precision == "float16" else 1.0
        with torch.enable_grad():
            pictures = pictures.detach().requires_grad_()
            total = self(pictures, targets).sum() * scale
            (gradient,) = torch.autograd.grad(total, pictures)
        return gradient if scale == 1 else gradient / scale

    def margin_gradient(self, pictures: Images, targets: Targets) -> tuple[Margins, Images]:
        """Return each target's log odds ``log p / (1 − p)`` and the derivative of their sum by the pictures.

        Computed from the scores, the target's less the logarithm of the others' summed exponentials: also a probability
        that rounds to 0 or 1 has them.
        """
        with torch.enable_grad():
            pictures = pictures.detach().requires_grad_()
            with self._arithmetic(pictures.device.type):
                scores = self.logits(pictures)
            scores = scores.to(pictures.dtype)
            own = scores.gather(1, targets[:, None])
            others = scores.scatter(1, targets[:, None], -torch.inf).logsumexp(dim=1)
            margins = own.squeeze(1) - others
            (gradient,) = torch.autograd.grad(margins.sum(), pictures)
        return margins.detach(), gradient

    def _arithmetic(self, device_type: str) -> AbstractContextManager[None]:
        if self.precision == "float32":
            return nullcontext()
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[self.precision]
        return torch.autocast(device_type, dtype)
