"""The target's probability for a batch of pictures and its derivative by their pixels, in a chosen arithmetic."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from xvcore.types import Images, Probabilities, Scores, Targets

Precision = Literal["float32", "bfloat16", "float16"]
HALF_SCALE = 1024.0
"""Factor on the probability under float16, whose smallest number would else swallow an improbable target's gradient."""


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

    def _arithmetic(self, device_type: str) -> AbstractContextManager[None]:
        if self.precision == "float32":
            return nullcontext()
        dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[self.precision]
        return torch.autocast(device_type, dtype)
