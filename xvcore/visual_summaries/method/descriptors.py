"""Descriptors of regions: HOG of the box and a little around it, whitened by background statistics."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.ops.hog import crops, hog
from xvcore.parameters import check, parameter
from xvcore.types import Boxes, Descriptors
from xvcore.visual_summaries.method.background import CELLS, whitening

_CHUNK = 64


@dataclass(frozen=True, slots=True)
class WhitenedHog:
    """Descriptor of 8 x 8 cells x 31 channels: ``L^-1 (phi - mu)`` with L L^T = Sigma + ridge I.

    The dot product of two descriptors is (phi_a - mu)^T Sigma^-1 (phi_b - mu). The box is enlarged by an eighth on each
    side (one cell) and resized to 80 x 80 pixels; the outer cells only serve to normalise the inner ones.

    Source: Ham, Cho, Schmid, Ponce, Proposal Flow, CVPR 2016; Hariharan, Malik, Ramanan, ECCV 2012.
    """

    ridge: float = parameter(0.01, "Added to the covariance's diagonal; raised in such steps if need be", ge=1e-6)
    background: str | None = parameter(None, "File of background statistics; none = those shipped (drawn textures)")

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, picture: Float[Tensor, "3 height width"], boxes: Boxes) -> Descriptors:
        """Return one descriptor of 1984 numbers per box, on the picture's device.

        Parameters
        ----------
        picture : RGB in [0, 1]
        boxes : in pixels of the picture
        """
        mean, matrix = whitening(self.background, self.ridge, picture.device)
        if not len(boxes):
            return torch.zeros(0, len(matrix), device=picture.device)
        grown = torch.cat([boxes[:, :2] - boxes[:, 2:] / 8, boxes[:, 2:] * 1.25], dim=1).to(picture.device)
        side = (CELLS + 2) * 8
        parts = [hog(crops(picture * 255, part, side)) - mean for part in grown.split(_CHUNK)]
        return torch.cat(parts).flatten(1) @ matrix.T
