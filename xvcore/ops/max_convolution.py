"""Smooth masks by construction: the largest of bumps that stand on a coarse grid."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xvcore.ops.coarse_grid import CoarseMaps
from xvcore.types import Maps


@dataclass(frozen=True)
class MaxConvolution:
    """Maps of pixels in [0, 1] that fall off no faster than a bump, as functions of elements in [0, 1] [1]_.

    The map is the smooth maximum of bumps::

        m(u) = smax_i k(|u − c_i| / σ) e_i      k(z) = exp(−2 max(0, z − 1/2)²)
        smax_i a_i = Σ_i a_i exp(T a_i) / Σ_i exp(T a_i)

    where element i stands at c_i, the middle of its cell. A bump is flat up to σ / 2. The sum is over the cells at most
    1 + ⌈σ / cell⌉ rows and columns away, as in the authors' published code; those beyond the border are 0.

    Parameters
    ----------
    size : height and width of the maps in pixels
    cell_px : width of a cell
    sigma_px : scale of the bump
    coldness : T; the larger, the nearer to the maximum
    dtype, device : of the maps

    References
    ----------
    .. [1] R. Fong, M. Patrick, A. Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks",
       ICCV 2019.
    """

    size: tuple[int, int]
    cell_px: int = 7
    sigma_px: float = 21.0
    coldness: float = 20.0
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the elements: the cells that cover the map."""
        return math.ceil(self.size[0] / self.cell_px), math.ceil(self.size[1] / self.cell_px)

    @property
    def radius(self) -> int:
        """Cells, up, down and to either side, whose bumps reach a pixel."""
        return 1 + math.ceil(self.sigma_px / self.cell_px)

    @cached_property
    def _weights(self) -> Float[Tensor, "phases neighbours 1"]:
        """Height of each neighbour's bump at each pixel of a cell."""
        middle = (self.cell_px - 1) / 2
        phases = torch.arange(self.cell_px, dtype=torch.float64) - middle
        steps = torch.arange(-self.radius, self.radius + 1, dtype=torch.float64) * self.cell_px
        squares = (phases[:, None] - steps) ** 2
        distances = (squares[:, None, :, None] + squares[None, :, None, :]).sqrt() / self.sigma_px
        bumps = torch.exp(-2 * (distances - 0.5).clamp(min=0) ** 2)
        return bumps.flatten(2).flatten(0, 1)[..., None].to(self.device, self.dtype)

    def __call__(self, elements: CoarseMaps) -> Maps:
        """Return the maps.

        Parameters
        ----------
        elements : of ``grid``'s rows and columns, in [0, 1]
        """
        near = self._near(elements)
        shown = torch.stack([self._shown(near, weights)[0] for weights in self._weights], dim=1)
        return F.pixel_shuffle(shown.unflatten(2, self.grid), self.cell_px)[..., : self.size[0], : self.size[1]]

    def pulled_back(self, elements: CoarseMaps, gradient: Maps) -> CoarseMaps:
        """Return the derivative by the elements of what has this derivative by the pixels.

        Parameters
        ----------
        elements : where it is taken
        gradient : one number a pixel
        """
        rows, columns = self.grid
        height, width = rows * self.cell_px, columns * self.cell_px
        whole = F.pad(gradient, (0, width - self.size[1], 0, height - self.size[0]))
        of_phases = F.pixel_unshuffle(whole, self.cell_px).flatten(2).unbind(dim=1)
        near = self._near(elements)
        felt = torch.zeros_like(near)
        for weights, felt_there in zip(self._weights, of_phases, strict=True):
            value, bumps, powers, total = self._shown(near, weights)
            # d value / d bump = share (1 + T (bump − value)), d bump / d element = weight
            slopes = bumps.sub_(value[:, None]).mul_(self.coldness).add_(1).mul_(powers).mul_(weights)
            felt.addcmul_(slopes, (felt_there / total)[:, None])
        return F.fold(felt, (rows, columns), 2 * self.radius + 1, padding=self.radius)

    def _near(self, elements: CoarseMaps) -> Float[Tensor, "batch neighbours cells"]:
        return F.unfold(elements, 2 * self.radius + 1, padding=self.radius)

    def _shown(
        self, near: Float[Tensor, "batch neighbours cells"], weights: Float[Tensor, "neighbours 1"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the smooth maximum at one pixel of each cell; the bumps, their exponentials, and the sum of these.

        A pixel of the cells at a time: what is in between stays in the processor's cache.
        """
        bumps = near * weights
        powers = (bumps * self.coldness).exp_()
        total = powers.sum(dim=1)
        return (powers * bumps).sum(dim=1) / total, bumps, powers, total
