"""Boxes: frames and overlap of axis-parallel rectangles x, y, w, h in pixels."""

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xvcore.types import Boxes

Frames: TypeAlias = Float[Tensor, "boxes 3"]
"""x, y of the centre in pixels, area in square pixels."""


def frames(boxes: Float[Tensor, "*images 4"]) -> Float[Tensor, "*images 3"]:
    """Return x, y of the middle and the area of each box."""
    return torch.cat([boxes[..., :2] + boxes[..., 2:] / 2, boxes[..., 2:].prod(dim=-1, keepdim=True)], dim=-1)


def overlapping(boxes: Boxes) -> Bool[Tensor, "boxes boxes"]:
    """Say of each pair whether the boxes share area (intersection over union > 0); a box always meets itself."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    shared = high[:, None].minimum(high[None]) - low[:, None].maximum(low[None])
    return (shared > 0).all(dim=2)


def similar_aspect(a: Boxes, b: Float[Tensor, "images m 4"], factor: float) -> Bool[Tensor, "boxes images m"]:
    """Say of each pair whether ``1 / factor < (w_b / h_b) / (w_a / h_a) < factor``.

    Without division: sides in whole pixels and whole factors are compared exactly.
    """
    (w_a, h_a), (w_b, h_b) = (each[..., 2:].unbind(dim=-1) for each in (a[:, None, None], b))
    return (w_b * h_a < (factor * w_a) * h_b).logical_and_(h_b * w_a < (factor * h_a) * w_b)
