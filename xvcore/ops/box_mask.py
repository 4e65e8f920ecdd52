"""Boxes in whole pixels as masks."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def inside(boxes: Int[Tensor, "rows boxes 4"], size: tuple[int, ...]) -> Bool[Tensor, "rows 1 height width"]:
    """Return the pixels that lie in any of the boxes of each row.

    Parameters
    ----------
    boxes : x, y, w, h in pixels; what lies outside the picture does not count
    size : height and width of the picture
    """
    columns, lines = (_covered(boxes[..., axis], boxes[..., axis + 2], size[1 - axis]) for axis in (0, 1))
    return (lines.transpose(1, 2) @ columns > 0)[:, None]


def _covered(start: Tensor, length: Tensor, n_pixels: int) -> Tensor:
    pixels = torch.arange(n_pixels, device=start.device)
    return ((pixels >= start[..., None]) & (pixels < (start + length)[..., None])).float()
