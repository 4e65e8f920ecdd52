"""Masks of few elements: a coarse grid, raised to the pixels and smoothed."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from xvcore.ops.separable import Separable, bilinear, full_radius, gaussian, nearest
from xvcore.types import Images, Maps

CoarseMaps = Float[Tensor, "batch 1 rows columns"]
"""One number per cell of a coarse grid over the picture."""
Upsampling = Literal["bilinear", "nearest"]


@dataclass(frozen=True, slots=True)
class CoarseGrid:
    """How the elements of a coarse grid show as a mask of pixels, and how they feel a gradient there.

    Parameters
    ----------
    shown : elements to pixels: upsampling, then blur
    felt : the map whose transpose carries gradients back. It is ``shown`` itself for the true derivative; without the
        blur the gradient passes the blur unchanged (straight-through)
    """

    shown: Separable
    felt: Separable

    @classmethod
    def over(
        cls, images: Images, *, cell_px: int, upsampling: Upsampling, blur_sigma: float, is_straight_through: bool
    ) -> "CoarseGrid":
        """Return the grid over images whose cells are ``cell_px`` wide; what remains at the end widens them all.

        Parameters
        ----------
        images : give the size in pixels, type and device
        cell_px : a side of n pixels gets ⌊n / cell_px⌋ elements, at least one
        upsampling : ``bilinear`` with aligned corners, or ``nearest``
        blur_sigma : of the Gaussian after the upsampling, in pixels; 0 is none
        is_straight_through : whether gradients leave out the blur
        """
        upsample = {"bilinear": bilinear, "nearest": nearest}[upsampling]
        height, width = images.shape[2:]
        raised = Separable(*(upsample(size, max(1, size // cell_px)) for size in (height, width)))
        shown = raised
        if blur_sigma:
            radius = full_radius(blur_sigma)
            shown = raised.then(Separable(*(gaussian(size, blur_sigma, radius, "reflect") for size in (height, width))))
        return cls(shown.like(images), (raised if is_straight_through else shown).like(images))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self.shown.rows.shape[1], self.shown.columns.shape[1]

    def __call__(self, elements: CoarseMaps) -> Maps:
        """Return the masks of pixels; between 0 and 1 (but for rounding) if the elements are."""
        return self.shown(elements)

    def pulled_back(self, gradient: Maps) -> CoarseMaps:
        """Return the derivative by the elements of what has this derivative by the pixels."""
        return self.felt.transposed(gradient)
