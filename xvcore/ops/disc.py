"""Masks that remove a centred disc, and the smallest one that takes a decision away."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.types import Maps, Probabilities


def without_disc(height: int, width: int, radius: int | float) -> Float[Tensor, "1 1 height width"]:
    """Return the mask that is 0 where a pixel's centre lies nearer than ``radius`` (pixels) to the middle, else 1."""
    rows = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    return (rows**2 + columns**2 >= radius**2).double()[None, None]


def smallest_disc(
    probability: Callable[[Maps], Probabilities], masks: Maps, *, step_px: int = 5, share: float = 0.01
) -> Maps:
    """Return for each image the smallest removed disc that leaves less than ``share`` of its probability [1]_.

    The first radius r of 0, step, 2 · step, … with ``(p_r − p_none) / (p_all − p_none) < share``, where p_all is the
    probability for the whole picture and p_none for the baseline; where there is none, the disc removes everything.

    Parameters
    ----------
    probability : of each image's target under a mask
    masks : any masks of the wanted size, number, type and device
    step_px : distance of the radii, in pixels
    share : in (0, 1)

    References
    ----------
    .. [1] R. Fong, A. Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017.
    """
    height, width = masks.shape[2:]
    everything, nothing = torch.ones_like(masks), torch.zeros_like(masks)
    lowest = probability(nothing)
    span = probability(everything) - lowest
    found, is_open = nothing, torch.ones_like(lowest, dtype=torch.bool)
    for radius in range(0, max(height, width), step_px):
        disc = without_disc(height, width, radius).to(masks).expand_as(masks)
        suffices = is_open & ((probability(disc) - lowest) / span < share)
        found = torch.where(suffices[:, None, None, None], disc, found)
        is_open &= ~suffices
        if not is_open.any():
            break
    return found
