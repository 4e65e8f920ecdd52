"""Boxes: overlap of axis-parallel rectangles x, y, w, h in pixels."""

from jaxtyping import Bool, Float
from torch import Tensor

from xvcore.types import Boxes


def centres(boxes: Boxes) -> Float[Tensor, "boxes 2"]:
    """Return x, y of the middle of each box."""
    return boxes[:, :2] + boxes[:, 2:] / 2


def meets(boxes: Boxes) -> Bool[Tensor, "boxes boxes"]:
    """Say of each pair whether the boxes share area (intersection over union > 0)."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    shared = high[:, None].minimum(high[None]) - low[:, None].maximum(low[None])
    return (shared > 0).all(dim=2)
