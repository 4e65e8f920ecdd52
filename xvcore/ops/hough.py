"""Probabilistic Hough matching: matches that agree on one offset of position and scale support each other."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.types import Boxes

CELLS = 8000
"""Cells of the grid of positions, at most."""
LEAST_CELL_PX = 5.0
SCALES = 20
"""Bins of the scale."""
SCALE_RANGE = 4.0
"""Scales go from minus this to this, as logarithms to the base 2 of the ratio of areas."""
SIGMA = 5 / 2 / 2.354
"""Of the blur over 5 x 5 x 5 bins, in bins."""


@dataclass(frozen=True, slots=True)
class HoughSpace:
    """Offsets of position and scale, in bins.

    With centres (x, y) and half sizes (w, h), a match of regions a and b says where the lower right corner (W, H) of
    the first image would lie in the second, and at which scale::

        X = x_b + w_b (W - x_a) / w_a,   Y = y_b + h_b (H - y_a) / h_a,   s = log2(w_b h_b / (w_a h_a))

    for X in [1, 2 W] and Y in [1, 2 H] in cells of max(sqrt(4 W H / 8000), 5) px, and s in [-4, 4] in 20 bins. A match
    outside of these is invalid.

    Parameters
    ----------
    height, width : of both images, in pixels
    """

    height: int
    width: int

    @property
    def cell(self) -> float:
        """Side of a cell of positions, in pixels."""
        return max(math.sqrt(4 * self.width * self.height / CELLS), LEAST_CELL_PX)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of bins: scale, row, column."""
        rows, columns = (math.floor((2 * side - 1) / self.cell) + 1 for side in (self.height, self.width))
        return SCALES, rows, columns

    def bins(self, a: Boxes, b: Float[Tensor, "pairs m 4"]) -> Int[Tensor, "boxes pairs m"]:
        """Return the number of the bin of each match, -1 where it is invalid.

        Parameters
        ----------
        a, b : regions of one image and of several others
        """
        x_a, y_a, w_a, h_a = (each[:, None, None] for each in _halves(a))
        x_b, y_b, w_b, h_b = _halves(b)
        x = x_b + w_b * ((self.width - x_a) / w_a)
        y = y_b + h_b * ((self.height - y_a) / h_a)
        scale = torch.log2(w_b * h_b / (w_a * h_a))
        is_valid = (x >= 1) & (x <= 2 * self.width) & (y >= 1) & (y <= 2 * self.height) & (scale.abs() <= SCALE_RANGE)
        _, rows, columns = self.shape
        level = ((scale + SCALE_RANGE) * (SCALES / (2 * SCALE_RANGE))).long().clamp(max=SCALES - 1)
        found = (level * rows + ((y - 1) / self.cell).long()) * columns + ((x - 1) / self.cell).long()
        return found.where(is_valid, -1)

    def support(
        self, appearance: Float[Tensor, "boxes pairs m"], bins: Int[Tensor, "boxes pairs m"]
    ) -> Float[Tensor, "boxes pairs m"]:
        """Return the votes for the bin of each match, 0 for an invalid one.

        In every bin each region of the first image votes once for a pair, with its best appearance there. The votes are
        blurred over 5 x 5 x 5 bins, with zeros outside.

        Parameters
        ----------
        appearance : at least 0
        bins : from :meth:`bins`
        """
        n_pairs, size = bins.shape[1], math.prod(self.shape)
        # Bits of floats >= 0 are in the order of the floats: after sorting, a bin's last entry is its best appearance.
        key = (bins << 32) + appearance.float().contiguous().view(torch.int32)
        key = key.sort(dim=2).values
        place = key >> 32
        is_best = F.pad(place[..., 1:] != place[..., :-1], (0, 1), value=True) & (place >= 0)
        value = (key & 0xFFFFFFFF).to(torch.int32).view(torch.float32).double()
        pair = torch.arange(n_pairs, device=bins.device)[:, None] * size
        votes = torch.zeros(n_pairs * size, dtype=torch.float64, device=bins.device)
        votes.index_add_(0, (place.clamp(min=0) + pair).flatten(), (value * is_best).flatten())
        blurred = _blurred(votes.view(n_pairs, *self.shape)).flatten()
        return blurred[bins.clamp(min=0) + pair].where(bins >= 0, 0).to(appearance)


def _halves(boxes: Float[Tensor, "*images 4"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return centre x, y and half width and height, in double precision: devices agree on the bins."""
    x, y, w, h = (boxes.double() * boxes.new_tensor([1, 1, 0.5, 0.5], dtype=torch.float64)).unbind(dim=-1)
    return x + w, y + h, w, h


def _blurred(votes: Float[Tensor, "pairs scales rows columns"]) -> Float[Tensor, "pairs scales rows columns"]:
    weights = torch.exp(-0.5 * (torch.arange(-2, 3, dtype=votes.dtype, device=votes.device) / SIGMA) ** 2)
    weights /= weights.sum()
    for dim in (1, 2, 3):
        padded = F.pad(votes, [2 if side // 2 == 3 - dim else 0 for side in range(6)])
        votes = sum(weight * padded.narrow(dim, k, votes.shape[dim]) for k, weight in enumerate(weights.tolist()))
    return votes
