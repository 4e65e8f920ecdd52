"""Probabilistic Hough matching: matches that agree on one offset of position and scale support each other."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import correlate1d
from torch import Tensor

from xvcore.types import Boxes

_SCALE_BINS = 20
_SCALE_RANGE = 4.0
_CELLS = 8000
_LEAST_CELL_PX = 5.0
_SIGMA = 5 / 2 / 2.354


def hough_confidence(
    appearance: Float[Tensor, "n m"],
    boxes_a: Float[Tensor, "n 4"],
    boxes_b: Float[Tensor, "m 4"],
    size: tuple[int, int],
) -> Float[Tensor, "n m"]:
    """Return appearance times the votes for the offset of each match.

    With centres (x, y) and half sizes (w, h), a match (a, b) says where the corner (W, H) of a's image would lie in b's:

        X = x_b + w_b (W - x_a) / w_a,   Y = y_b + h_b (H - y_a) / h_a,   s = log2(w_b h_b / (w_a h_a))

    Votes are counted over X in [1, 2W], Y in [1, 2H] in cells of max(sqrt(4 W H / 8000), 5) px and s in [-4, 4] in 20
    bins; a match outside is invalid. Each region a votes once per bin, with its best appearance there; then the votes
    are blurred (5 x 5 x 5, sigma 1.062 bins, zeros outside).

    Parameters
    ----------
    appearance : at least 0; 0 is no match
    boxes_a, boxes_b : regions of the two images
    size : height and width of both images, in pixels

    Source: Cho, Kwak, Schmid, Ponce, CVPR 2015; Ham et al., Proposal Flow, CVPR 2016 (PHM), constants of its code.
    """
    values = appearance.detach().cpu().numpy()
    height, width = size
    cell = max(np.sqrt(4 * width * height / _CELLS), _LEAST_CELL_PX)
    shape = (int(2 * height / cell) + 1, int(2 * width / cell) + 1, _SCALE_BINS)
    bins, is_valid = _bins(boxes_a, boxes_b, size, cell, shape)
    voting = is_valid & (values > 0)
    votes = np.zeros(shape[0] * shape[1] * shape[2])
    for row in range(len(values)):
        chosen, value = bins[row][voting[row]], values[row][voting[row]]
        place, inverse = np.unique(chosen, return_inverse=True)
        best = np.zeros(len(place))
        np.maximum.at(best, inverse, value)
        votes[place] += best
    blurred = _blurred(votes.reshape(shape)).ravel()
    support = np.where(voting, blurred[np.where(is_valid, bins, 0)], 0.0)
    return appearance * torch.from_numpy(support).to(appearance)


def _bins(
    boxes_a: Float[Tensor, "n 4"],
    boxes_b: Float[Tensor, "m 4"],
    size: tuple[int, int],
    cell: float,
    shape: tuple[int, int, int],
) -> tuple[np.ndarray, np.ndarray]:
    height, width = size
    xa, ya, wa, ha = _frames(boxes_a)
    xb, yb, wb, hb = _frames(boxes_b)
    x = xb + wb * ((width - xa) / wa)[:, None]
    y = yb + hb * ((height - ya) / ha)[:, None]
    scale = np.log2(wb * hb / (wa * ha)[:, None])
    is_valid = (x >= 1) & (x <= 2 * width) & (y >= 1) & (y <= 2 * height) & (np.abs(scale) <= _SCALE_RANGE)
    column = np.floor(np.where(is_valid, x, 0) / cell).astype(np.int64)
    row = np.floor(np.where(is_valid, y, 0) / cell).astype(np.int64)
    step = 2 * _SCALE_RANGE / _SCALE_BINS
    level = np.floor((np.where(is_valid, scale, 0) + _SCALE_RANGE) / step).astype(np.int64).clip(0, _SCALE_BINS - 1)
    return (row * shape[1] + column) * shape[2] + level, is_valid


def _frames(boxes: Boxes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, y, w, h = boxes.detach().cpu().double().numpy().T
    return x + w / 2, y + h / 2, w / 2, h / 2


def _blurred(votes: np.ndarray) -> np.ndarray:
    weights = np.exp(-0.5 * (np.arange(-2, 3) / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in range(3):
        votes = correlate1d(votes, weights, axis=axis, mode="constant")
    return votes
