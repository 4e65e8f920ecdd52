"""Structural similarity of grey pictures of one size, in MATLAB's definition."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

WINDOW_PX = 11
SIGMA_PX = 1.5
RANGE = 255.0


def grey(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width"]:
    """Return the luma of an RGB picture, .299 R + .587 G + .114 B, rounded."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY))


def pairwise_ssim(images: Sequence[UInt8[np.ndarray, "height width"]]) -> Float[np.ndarray, "images images"]:
    """Return the mean structural similarity of each pair, symmetric, diagonal 1, each in [-1, 1].

    With Gaussian-weighted means m, variances v and covariance c around each pixel [1]_:

        ssim = (2 m_a m_b + C1) (2 c + C2) / ((m_a^2 + m_b^2 + C1) (v_a + v_b + C2)),  C1 = 2.55^2, C2 = 7.65^2

    averaged over **all** pixels, borders replicated (as MATLAB's ``ssim``): it is defined for a crop of any size, even
    one smaller than the window of 11 pixels. scikit-image leaves out a border of 5 pixels and refuses such crops.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, Image Quality Assessment: From Error Visibility to
       Structural Similarity, IEEE Transactions on Image Processing 13, 2004.
    """
    c1, c2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
    pictures = [image.astype(np.float64) for image in images]
    means = [_blurred(picture) for picture in pictures]
    variances = [_blurred(picture**2) - mean**2 for picture, mean in zip(pictures, means, strict=True)]
    result = np.eye(len(pictures))
    for a, b in zip(*np.triu_indices(len(pictures), k=1), strict=True):
        product = means[a] * means[b]
        covariance = _blurred(pictures[a] * pictures[b]) - product
        luminance = (2 * product + c1) / (means[a] ** 2 + means[b] ** 2 + c1)
        structure = (2 * covariance + c2) / (variances[a] + variances[b] + c2)
        result[a, b] = result[b, a] = (luminance * structure).mean()
    return result


def _blurred(picture: np.ndarray) -> np.ndarray:
    window = (WINDOW_PX, WINDOW_PX)
    return np.asarray(cv2.GaussianBlur(picture, window, SIGMA_PX, borderType=cv2.BORDER_REPLICATE))
