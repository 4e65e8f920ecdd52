"""What a removed pixel is replaced by, and the pictures between: ``mask · picture + (1 − mask) · baseline``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.ops.separable import Separable, full_radius, gaussian
from xvcore.types import Images, Maps

Baseline = Literal["blur_weak", "blur_strong", "mean", "noise"]
Pictures = Float[Tensor, "batch channels height width"]
BLUR_SIGMA = 10.0
"""Standard deviation of the blurs in pixels [1]_ [2]_."""
NOISE_SIGMA = 0.2
"""Standard deviation of the noise, in units of the full range of a colour channel [2]_."""


def baseline(images: Images, kind: Baseline, *, seed: int = 0) -> Images:
    """Return the pictures that removed pixels are taken from.

    Parameters
    ----------
    images : RGB in [0, 1]
    kind : ``blur_weak`` a Gaussian of sigma 10 px cut to 11 taps, which leaves an effective 3.1 px [1]_;
        ``blur_strong`` sigma 10 px with full support [2]_; ``mean`` the picture's own mean colour; ``noise`` that
        colour plus independent normal noise of every pixel and channel, clipped to [0, 1] [2]_
    seed : of the noise; one field serves all pictures of a size, so that a picture's place in the batch cannot matter

    Notes
    -----
    Beyond their borders pictures are mirrored without repeating the border pixel, as OpenCV does.

    References
    ----------
    .. [1] M. Godi, M. Carletti, M. Aghaei, F. Giuliari, M. Cristani, "Understanding Deep Architectures by Visual
       Summaries", BMVC 2018.
    .. [2] R. Fong, A. Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017.
    """
    kinds: dict[Baseline, Callable[[], Images]] = {
        "blur_weak": lambda: gaussian_blur(images, BLUR_SIGMA, radius=5),
        "blur_strong": lambda: gaussian_blur(images, BLUR_SIGMA),
        "mean": lambda: images.mean(dim=(2, 3), keepdim=True).expand_as(images).contiguous(),
        "noise": lambda: _noise(images, seed),
    }
    return kinds[kind]()


def blend(images: Images, baseline: Images, masks: Maps) -> Images:
    """Return ``mask · image + (1 − mask) · baseline``: 1 keeps a pixel, 0 replaces it."""
    return Perturbation.of(images, baseline)(masks)


def gaussian_blur(pictures: Pictures, sigma: float, radius: int | None = None) -> Pictures:
    """Return the pictures, or maps, blurred channel by channel.

    Parameters
    ----------
    pictures : of any number of channels
    sigma : standard deviation in pixels
    radius : where the kernel is cut, in pixels; None is 4 sigma, beyond which nothing counts
    """
    height, width = pictures.shape[2:]
    radius = full_radius(sigma) if radius is None else radius
    return Separable(gaussian(height, sigma, radius), gaussian(width, sigma, radius)).like(pictures)(pictures)


@dataclass(frozen=True, slots=True)
class Perturbation:
    """Pictures as functions of masks: ``baseline + mask · difference``, and the gradient the other way.

    Parameters
    ----------
    baseline : what removed pixels show
    difference : picture minus baseline
    """

    baseline: Images
    difference: Images

    @classmethod
    def of(cls, images: Images, baseline: Images) -> "Perturbation":
        """Return the perturbation of pictures towards their baseline."""
        return cls(baseline, images - baseline)

    def __call__(self, masks: Maps) -> Images:
        """Return the perturbed pictures."""
        return torch.addcmul(self.baseline, masks, self.difference)

    def pulled_back(self, gradient: Images) -> Maps:
        """Return the derivative by the mask of what has this derivative by the perturbed picture."""
        mask_gradient = gradient[:, :1] * self.difference[:, :1]
        for colour in (slice(1, 2), slice(2, 3)):  # a sum over an axis of three would cost several times as much
            mask_gradient.addcmul_(gradient[:, colour], self.difference[:, colour])
        return mask_gradient

    def of_images(self, chosen: Tensor) -> "Perturbation":
        """Return the perturbation of some of the pictures, chosen by index or by a boolean per picture."""
        return Perturbation(self.baseline[chosen], self.difference[chosen])

    def cropped(self, top: int, left: int, height: int, width: int) -> "Perturbation":
        """Return the perturbation of a window of each picture, in pixels."""
        window = (..., slice(top, top + height), slice(left, left + width))
        return Perturbation(self.baseline[window], self.difference[window])


def _noise(images: Images, seed: int) -> Images:
    generator = torch.Generator().manual_seed(seed)
    field = torch.randn(images.shape[1:], generator=generator, dtype=torch.float64)
    return (images.mean(dim=(2, 3), keepdim=True) + NOISE_SIGMA * field.to(images)).clamp(0, 1)
