"""Histograms of oriented gradients with 31 channels (Felzenszwalb et al., TPAMI 2010), for many pictures at once."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.types import Boxes

CELL_PX = 8
"""Side of a cell."""
CHANNELS = 31
"""18 signed orientations, 9 unsigned ones, 4 texture energies."""

_EPSILON = 1e-4
_CLIP = 0.2
_TEXTURE = 0.2357
_TIE = 1e-5


def hog(pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch rows columns 31"]:
    """Return the features of all inner cells: ``rows = height // 8 - 2``, ``columns = width // 8 - 2``.

    Each pixel takes the gradient of its strongest colour channel, votes with its magnitude for the nearest of 18
    directions, bilinearly into the four nearest cells. With h_o the votes of a cell and n_k = 1 / sqrt(energy of
    the k-th of the four 2 x 2 blocks that hold the cell + 1e-4):

        signed and unsigned:  0.5 * sum_k min(h_o * n_k, 0.2);   texture k:  0.2357 * sum_o min(h_o * n_k, 0.2)

    Parameters
    ----------
    pictures : RGB in [0, 255]; what goes beyond whole cells at the right and at the bottom is not used

    Source: Felzenszwalb, Girshick, McAllester, Ramanan, Object detection with discriminatively trained part based
    models, TPAMI 2010; the 32nd channel (truncation) is left out.
    """
    cells = _votes(pictures)
    unsigned = cells[:, :9] + cells[:, 9:]
    energy = unsigned.square().sum(dim=1)
    blocks = energy[:, :-1, :-1] + energy[:, 1:, :-1] + energy[:, :-1, 1:] + energy[:, 1:, 1:]
    norms = (blocks + _EPSILON).rsqrt()
    around = (norms[:, :-1, :-1], norms[:, :-1, 1:], norms[:, 1:, :-1], norms[:, 1:, 1:])
    signed, unsigned = cells[:, :, 1:-1, 1:-1], unsigned[:, :, 1:-1, 1:-1]
    by_block = [(signed * norm[:, None]).clamp(max=_CLIP) for norm in around]
    texture = torch.stack([_TEXTURE * each.sum(dim=1) for each in by_block], dim=1)
    signed = torch.stack(by_block).sum(dim=0) / 2
    unsigned = torch.stack([(unsigned * norm[:, None]).clamp(max=_CLIP) for norm in around]).sum(dim=0) / 2
    return torch.cat([signed, unsigned, texture], dim=1).movedim(1, -1)


def crops(picture: Float[Tensor, "3 height width"], boxes: Boxes, side: int) -> Float[Tensor, "boxes 3 side side"]:
    """Return the content of each box, resized to ``side`` x ``side``: bilinear, antialiased, borders replicated.

    Parameters
    ----------
    picture : any range
    boxes : may reach beyond the picture
    side : of the result, in pixels
    """
    height, width = picture.shape[1:]
    rows = _resampling(boxes[:, 1], boxes[:, 3], height, side).to(picture.dtype)
    columns = _resampling(boxes[:, 0], boxes[:, 2], width, side).to(picture.dtype)
    by_rows = torch.einsum("nsh,chw->ncsw", rows, picture)
    return torch.einsum("ncsw,ntw->ncst", by_rows, columns)


def _votes(pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 18 rows columns"]:
    rows, columns = pictures.shape[2] // CELL_PX, pictures.shape[3] // CELL_PX
    seen = pictures[:, :, : rows * CELL_PX, : columns * CELL_PX]
    dx = seen[:, :, 1:-1, 2:] - seen[:, :, 1:-1, :-2]
    dy = seen[:, :, 2:, 1:-1] - seen[:, :, :-2, 1:-1]
    dx, dy, strength = _strongest(dx, dy)
    # Upright gradients lie half-way between two directions and go to the first of them, whatever the rounding.
    direction = (torch.atan2(dy, dx) * (9 / math.pi) - (0.5 + _TIE)).ceil().long().remainder(18)
    votes = torch.zeros(len(seen), 18, *dx.shape[1:], device=seen.device, dtype=seen.dtype)
    votes.scatter_(1, direction[:, None], strength.sqrt()[:, None])
    return _sharing(rows, votes) @ (votes @ _sharing(columns, votes).T)


def _strongest(dx: Tensor, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of the colour channel in which it is longest, and its squared length; the first on a tie."""
    squared = dx.square() + dy.square()
    best_x, best_y, best = dx[:, 0], dy[:, 0], squared[:, 0]
    for channel in (1, 2):
        is_longer = squared[:, channel] > best
        best_x = torch.where(is_longer, dx[:, channel], best_x)
        best_y = torch.where(is_longer, dy[:, channel], best_y)
        best = torch.where(is_longer, squared[:, channel], best)
    return best_x, best_y, best


def _sharing(cells: int, like: Tensor) -> Float[Tensor, "cells pixels"]:
    """Return the share of each inner pixel's vote that each cell gets: falls linearly with the distance."""
    pixel = torch.arange(1, cells * CELL_PX - 1, device=like.device, dtype=like.dtype)
    place = (pixel + 0.5) / CELL_PX - 0.5
    cell = torch.arange(cells, device=like.device, dtype=like.dtype)
    return (1 - (place[None] - cell[:, None]).abs()).clamp(min=0)


def _resampling(
    start: Float[Tensor, " boxes"], length: Float[Tensor, " boxes"], size: int, side: int
) -> Float[Tensor, "boxes side size"]:
    """Return the weight of each pixel of a line in each pixel of the resized box."""
    scale = length / side
    support = scale.clamp(min=1)
    out = torch.arange(side, device=start.device, dtype=start.dtype) + 0.5
    centre = start[:, None] + out[None] * scale[:, None]
    reach = torch.stack([-(centre[:, 0] - support), centre[:, -1] + support - size]).amax().ceil()
    pad = max(int(reach), 0) + 1
    pixel = torch.arange(-pad, size + pad, device=start.device, dtype=start.dtype) + 0.5
    weights = (1 - (pixel - centre[..., None]).abs() / support[:, None, None]).clamp(min=0)
    weights /= weights.sum(dim=-1, keepdim=True)
    inside = weights[..., pad:-pad].clone()
    inside[..., 0] += weights[..., :pad].sum(dim=-1)
    inside[..., -1] += weights[..., -pad:].sum(dim=-1)
    return inside
