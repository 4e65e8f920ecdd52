"""How far a mask is from one of a given area: a distance of sorted values."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.types import Maps


@dataclass(frozen=True, slots=True)
class AreaConstraint:
    """The distance ``mean (vecsort(m) − r_a)²`` of each map from the nearest one of zeros and ones with its area [1]_.

    ``vecsort`` sorts the pixels, the smallest first; r_a are ``(1 − a) n`` zeros, then ones. It is 0 where exactly the
    share a of the pixels is 1 and the rest is 0.

    Parameters
    ----------
    areas : of each map, a share of the pixels

    References
    ----------
    .. [1] R. Fong, M. Patrick, A. Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks",
       ICCV 2019.
    """

    areas: Float[Tensor, " batch"]

    def __call__(self, maps: Maps) -> Float[Tensor, " batch"]:
        """Return the distance of each map."""
        return (self._excess(maps) ** 2).mean(dim=1)

    def gradient(self, maps: Maps) -> Maps:
        """Return the derivative of the sum of the distances by the pixels."""
        excess = self._excess(maps)
        return (2 / excess.shape[1] * excess).view_as(maps)

    def _excess(self, maps: Maps) -> Float[Tensor, "batch pixels"]:
        """Return each pixel less what it is to be: 1 for the largest, so many as the area says, 0 for the others."""
        pixels = maps.flatten(1)
        n_pixels = pixels.shape[1]
        order = pixels.argsort(dim=1, stable=True)
        n_zeros = (n_pixels * (1 - self.areas.double())).round()
        places = torch.arange(n_pixels, device=maps.device)
        wanted = (places >= n_zeros[:, None]).to(pixels)
        return pixels - torch.empty_like(pixels).scatter_(1, order, wanted)
