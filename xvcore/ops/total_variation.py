"""Total variation of maps with any exponent, its two usual forms, and its gradient written out."""

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.types import Maps


def total_variation(maps: Maps, power: float, *, isotropic: bool, summed: bool) -> Float[Tensor, " batch"]:
    """Return how much each map varies from pixel to pixel.

    Parameters
    ----------
    maps : one per image
    power : exponent β, at least 1
    isotropic : False gives Σ |Δ_row m|^β + Σ |Δ_col m|^β [1]_, True Σ (Δ_row m² + Δ_col m²)^(β/2), where a difference
        beyond the last row or column is 0 [2]_
    summed : True gives sums, False means (over each direction's differences, or over the pixels)

    References
    ----------
    .. [1] M. Godi, M. Carletti, M. Aghaei, F. Giuliari, M. Cristani, "Understanding Deep Architectures by Visual
       Summaries", BMVC 2018.
    .. [2] R. Fong, A. Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017.
    """
    if isotropic:
        squares = _squared_steps(maps)
        return _reduced(squares.pow(power / 2), summed=summed)
    directions = (_reduced(maps.diff(dim=axis).abs().pow(power), summed=summed) for axis in (2, 3))
    return sum(directions, torch.zeros(len(maps), dtype=maps.dtype, device=maps.device))


def total_variation_gradient(maps: Maps, power: float, *, isotropic: bool, summed: bool) -> Maps:
    """Return the derivative of each map's total variation by its pixels (0 where a difference is 0)."""
    gradient = torch.zeros_like(maps)
    common = _squared_steps(maps).clamp_min_(torch.finfo(maps.dtype).tiny).pow_(power / 2 - 1) if isotropic else None
    for axis in (2, 3):
        steps = maps.diff(dim=axis)
        count = maps[0].numel() if isotropic else steps[0].numel()
        scale = power if summed else power / max(count, 1)
        if common is not None:
            slopes = steps.mul_(common.narrow(axis, 0, steps.shape[axis]))
        elif power < 2:
            slopes = steps.abs().pow_(power - 1).mul_(steps.sign_())  # at a step of 0, |step|^(power - 2) is infinite
        else:
            slopes = steps.abs().pow_(power - 2).mul_(steps)
        gradient.narrow(axis, 1, slopes.shape[axis]).add_(slopes, alpha=scale)
        gradient.narrow(axis, 0, slopes.shape[axis]).sub_(slopes, alpha=scale)
    return gradient


def _squared_steps(maps: Maps) -> Maps:
    squares = torch.zeros_like(maps)
    for axis in (2, 3):
        steps = maps.diff(dim=axis)
        squares.narrow(axis, 0, steps.shape[axis]).add_(steps.square())
    return squares


def _reduced(values: Maps, *, summed: bool) -> Float[Tensor, " batch"]:
    total = values.sum(dim=(1, 2, 3))
    return total if summed else total / max(values[0].numel(), 1)
