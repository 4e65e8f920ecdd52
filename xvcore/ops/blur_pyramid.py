"""Pictures of which each place has its own blur: the less a mask keeps there, the more."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.ops.perturb import gaussian_blur
from xvcore.types import Images, Maps


@dataclass(frozen=True, slots=True)
class BlurPyramid:
    """Pictures as functions of masks: at mask value m a place shows the picture blurred with sigma ``(1 − m) σ_max``.

    Between the levels, whose blurs are equally far apart, pictures are interpolated linearly [1]_.

    Parameters
    ----------
    levels : from the most blurred pictures, which the mask 0 shows, to the pictures themselves

    References
    ----------
    .. [1] R. Fong, M. Patrick, A. Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks",
       ICCV 2019.
    """

    levels: Float[Tensor, "levels batch 3 height width"]

    @classmethod
    def of(cls, images: Images, n_levels: int, sigma_px: float) -> "BlurPyramid":
        """Return the pyramid of images.

        Parameters
        ----------
        n_levels : number of levels, the images among them; at least 2
        sigma_px : standard deviation of the strongest blur in pixels
        """
        sigmas = [sigma_px * (1 - level / (n_levels - 1)) for level in range(n_levels - 1)]
        return cls(torch.stack([*(gaussian_blur(images, sigma) for sigma in sigmas), images]))

    def __call__(self, masks: Maps) -> Images:
        """Return the perturbed pictures."""
        lower, upper, share = self._neighbours(masks)
        return torch.lerp(lower, upper, share)

    def with_derivative(self, masks: Maps) -> tuple[Images, Images]:
        """Return the perturbed pictures, and the derivative of each pixel's colours by its mask."""
        lower, upper, share = self._neighbours(masks)
        return torch.lerp(lower, upper, share), (upper - lower).mul_(len(self.levels) - 1)

    def _neighbours(self, masks: Maps) -> tuple[Images, Images, Maps]:
        """Return the levels below and above each mask, and the share of the way between them."""
        last = len(self.levels) - 1
        heights = masks * last
        below = heights.floor().clamp_(0, last - 1).nan_to_num_(0)  # a mask that is not a number stays one in the share
        places = below.long().expand_as(self.levels[0])[None]
        lower, upper = (self.levels.gather(0, each)[0] for each in (places, places + 1))
        return lower, upper, heights - below
