"""Linear maps of pictures that treat rows and columns apart: Gaussian blur, upsampling, and their transposes."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Matrix = Float[Tensor, "size_out size_in"]
Border = Literal["reflect101", "reflect"]


@dataclass(frozen=True, slots=True)
class Separable:
    """The map ``rows @ picture @ columns.T`` of every channel of every picture.

    Blurs, resizes and chains of them are of this form; two small matrix products apply them, whatever their radius, and
    the transpose, which carries gradients back, is as cheap.
    """

    rows: Float[Tensor, "height_out height_in"]
    columns: Float[Tensor, "width_out width_in"]

    def __call__(self, maps: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h_out w_out"]:
        """Return the mapped pictures."""
        return self.rows @ maps @ self.columns.T

    def transposed(self, maps: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h_in w_in"]:
        """Return the transposed map of pictures of the output's size: a gradient, pulled back to the input."""
        return self.rows.T @ maps @ self.columns

    def then(self, after: "Separable") -> "Separable":
        """Return this map followed by another, as one map."""
        return Separable(after.rows @ self.rows, after.columns @ self.columns)

    def like(self, tensor: Tensor) -> "Separable":
        """Return the same map in a tensor's type and on its device."""
        return Separable(self.rows.to(tensor), self.columns.to(tensor))


def gaussian(size: int, sigma: float, radius: int, border: Border = "reflect101") -> Matrix:
    """Return the blur of a line of ``size`` pixels: 2 · radius + 1 taps of exp(−x² / 2σ²), normalised to sum 1.

    Parameters
    ----------
    size : pixels of the line
    sigma : standard deviation in pixels, before the cut at ``radius``
    radius : in pixels; may exceed the line
    border : what lies beyond the ends: ``reflect101`` continues as ``cb|abc|ba`` (OpenCV's default), ``reflect`` as
        ``ba|abc|cb`` (SciPy's)
    """
    offsets = torch.arange(-radius, radius + 1)
    taps = torch.exp(-(offsets.double() ** 2) / (2 * sigma**2))
    sources = _folded(torch.arange(size)[:, None] + offsets, size, border)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, sources, (taps / taps.sum()).expand(size, -1))


def bilinear(size_out: int, size_in: int) -> Matrix:
    """Return linear interpolation in which the first and last pixels of both lines coincide (aligned corners)."""
    positions = torch.linspace(0, size_in - 1, size_out, dtype=torch.float64)
    return (1 - (positions[:, None] - torch.arange(size_in)).abs()).clamp_min(0)


def nearest(size_out: int, size_in: int) -> Matrix:
    """Return the copy of the input pixel in which the output pixel's left edge lies: output i shows ⌊i · in / out⌋."""
    sources = torch.arange(size_out) * size_in // size_out
    return torch.eye(size_in, dtype=torch.float64)[sources]


def full_radius(sigma: float) -> int:
    """Return the radius in pixels from which a Gaussian's taps no longer count: 4 σ."""
    return math.ceil(4 * sigma)


def _folded(positions: Int[Tensor, "size taps"], size: int, border: Border) -> Int[Tensor, "size taps"]:
    """Return the pixel that a position beyond the line's ends repeats."""
    if size == 1:
        return torch.zeros_like(positions)
    last = size - 1 if border == "reflect101" else size
    period = 2 * last
    positions = positions % period
    mirrored = period - positions if border == "reflect101" else period - 1 - positions
    return torch.where(positions < size, positions, mirrored)
