"""Whether the gradient that torch passes to the pixels is the derivative of the scores.

Tried on two images of noise: that a gradient reaches the pixels at all; that an image has the same gradient alone as
beside another; and that a small step along a direction changes the scores by what the gradient says::

    (f(x + ε d) − f(x − ε d)) / 2ε  =  ⟨∇f(x), d⟩

Rounding and the kinks of rectifiers may spoil a step, so that several lengths are tried: one that fits suffices, and
only where two agree on something else the gradient is wrong. Where none does (a network that rounds inside) nothing
can be said.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from xvcore.ops.relu_rules import has_gap
from xvcore.types import Images, Scores

STEPS = {torch.float32: (3e-3, 1e-3, 1e-2, 3e-2), torch.float64: (1e-6, 1e-7, 1e-5, 1e-4)}
"""Of the pixels, in [0, 1]; the first that fits suffices. Long steps meet kinks, short ones the rounding."""
NEAR = {torch.float32: 0.05, torch.float64: 0.01}
"""Error of a gradient, as a share of its length, that rounding and kinks explain."""


@dataclass(frozen=True, slots=True)
class Derivative:
    """What was found of a gradient.

    Parameters
    ----------
    fault : what is wrong with it, in words; None where nothing is
    is_sure : whether more digits would tell the same
    """

    fault: str | None = None
    is_sure: bool = True


def derivative(scores: Callable[[Images], Scores], images: Images, seed: int = 0) -> Derivative:
    """Return what is to be said of the gradient of the scores by the pixels.

    Parameters
    ----------
    scores : differentiable, of a batch of any number of images
    images : two, different
    seed : of the directions
    """
    alone, own, is_broken = _gradient(scores, images[:1], seed)
    beside, both, _ = _gradient(scores, images, seed)
    if not (both.isfinite().all() and beside.isfinite().all() and alone.isfinite().all()):
        return Derivative(is_sure=False)  # of which each image's row tells
    if is_broken:
        return Derivative(
            "no gradient reaches the pixels through an operator that has no derivative in torch (those of quantised "
            "networks have none)"
        )
    if not (alone.any() or beside.any()):
        is_constant = bool(torch.equal(both[0], both[1]))
        return Derivative(None if is_constant else "no gradient reaches the pixels (a quantised or detached layer?)")
    near, length = NEAR[images.dtype], beside[0].norm()
    is_sure = images.dtype == torch.float64
    is_by_image = bool((own[0] - both[0]).norm() <= 1e-3 * both[0].norm())
    apart = (alone[0] - beside[0]).norm() / length.clamp_min(torch.finfo(images.dtype).tiny)
    if is_by_image and apart > near:
        fault = f"the gradient of a lone image is off by {float(apart):.0%} from that of the same image in a batch"
        return Derivative(fault, is_sure)
    return _along(scores, images[:1], alone, seed)


def _gradient(scores: Callable[[Images], Scores], images: Images, seed: int) -> tuple[Images, Scores, bool]:
    """Return the gradient of the weighted scores, the scores, and whether an operator has none."""
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_()
        found = scores(leaf)
        total = _weighted(found, seed).sum()
    if not total.requires_grad:
        return torch.zeros_like(leaf), found.detach(), False
    is_broken = has_gap(total.grad_fn)
    (gradient,) = (None,) if is_broken else torch.autograd.grad(total, leaf, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient, found.detach(), is_broken


@torch.no_grad()
def _along(scores: Callable[[Images], Scores], image: Images, gradient: Images, seed: int) -> Derivative:
    """Return whether steps change the scores by what the gradient says."""
    length = gradient.norm()
    if not length > 0:
        return Derivative(is_sure=False)
    # Along the gradient, so that the change is no rounding, and off it, where a part may be that it lacks.
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed + 1)).to(image)
    directions = (gradient / length + noise / 2, gradient / length - noise / 2)
    expected = torch.stack([(gradient * direction).sum() for direction in directions]).double()
    near = NEAR[image.dtype]
    found: list[Float[Tensor, 2]] = []
    for step in STEPS[image.dtype]:
        moved = [scores(image + sign * step * direction) for direction in directions for sign in (1, -1)]
        totals = _weighted(torch.cat(moved).double(), seed).sum(dim=1).view(2, 2)
        found.append((totals[:, 0] - totals[:, 1]) / (2 * step))
        if bool(((found[-1] - expected).abs() <= near * length).all()):
            return Derivative()
    for one, other in pairwise(found):
        if bool(((one - other).abs() <= near * length).all()):
            apart = float((one - expected).abs().max() / length)
            fault = f"its gradient is off by {apart:.0%} from what a small step changes the scores by"
            return Derivative(fault, image.dtype == torch.float64)
    return Derivative(is_sure=False)


def _weighted(scores: Scores, seed: int) -> Scores:
    """Return the scores times the same random numbers for each image."""
    weights = torch.randn(scores.shape[1], generator=torch.Generator().manual_seed(seed))
    return scores * weights.to(scores)
