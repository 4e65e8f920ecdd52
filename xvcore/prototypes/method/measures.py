"""What can be measured of prototypes without anybody's opinion: how many a decision takes, and how pure they are.

Whether a prototype's patches meet one part of the object is measured by :class:`xvcore.ops.parts.PartShares`, with the
prototypes in the place of summaries and the plain channels of the network below as control.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.prototypes.method.pooling import Channels, Pooled
from xvcore.types import Images


@dataclass(frozen=True, slots=True)
class Sparsity:
    """How many prototypes decisions take, a number an image.

    Parameters
    ----------
    above : contributions of at least the threshold, in units of the logit, to either side
    above_share : contributions of at least that share of the logit's absolute value
    needed : the fewest contributions, strongest first, whose sum comes within the threshold's share of the sum of all
    """

    above: Int[Tensor, " batch"]
    above_share: Int[Tensor, " batch"]
    needed: Int[Tensor, " batch"]


def sparsity(contributions: Pooled, logits: Float[Tensor, " batch"], threshold: float) -> Sparsity:
    """Return how many prototypes each decision takes.

    Parameters
    ----------
    contributions : to the logit that is explained
    logits : that logit
    threshold : SIDE counts contributions above 0.2
    """
    size = contributions.abs()
    ordered = contributions.gather(1, size.argsort(dim=1, descending=True, stable=True))
    total = ordered.sum(dim=1, keepdim=True)
    is_away = (ordered.cumsum(dim=1) - total).abs() > threshold * total.abs()
    places = torch.arange(1, ordered.shape[1] + 1, device=ordered.device)
    needed = (is_away * places).amax(dim=1) + 1
    return Sparsity(
        (size >= threshold).sum(dim=1),
        (size >= threshold * logits.abs()[:, None]).sum(dim=1),
        needed.clamp_max(ordered.shape[1]),
    )


def purity(channels: Channels) -> Float[Tensor, "batch channels"]:
    """Return for each channel the share that it has in the length of the vector at its strongest position.

    EPIC's purity, for either sign: 1 where the position has nothing of any other channel.
    """
    size = channels.abs()
    where = size.argmax(dim=1)
    lengths = channels.norm(dim=2).gather(1, where)
    found: Tensor = size.gather(1, where[:, None])[:, 0] / lengths.clamp_min(1e-12)
    return found


def correlation(channels: Channels) -> float:
    """Return the mean absolute correlation of two channels over all positions of all images; constant ones left out."""
    values = channels.flatten(0, 1).double()
    return _off_diagonal(_unit(values - values.mean(dim=0)).mT)


def rv_coefficient(channels: Channels) -> float:
    """Return the mean RV coefficient of two channels' maps over the images.

    ``RV(X, Y) = tr(XXᵀYYᵀ) / √(tr((XXᵀ)²) tr((YYᵀ)²))`` for the maps of two channels, a row an image, centred: 1 where
    images are alike to both in the same way. That InfoDisent's appendix measures disentanglement by RV is known, not
    between which matrices: this is our choice.

    References
    ----------
    .. [1] P. Robert, Y. Escoufier, "A Unifying Tool for Linear Multivariate Statistical Methods: The RV-Coefficient",
       Applied Statistics 25, 1976.
    """
    maps = channels.permute(2, 0, 1).double()
    maps = maps - maps.mean(dim=1, keepdim=True)
    alike = (maps @ maps.mT).flatten(1)
    return _off_diagonal(_unit(alike.mT).mT)


def covered(images: Images, boxes: Float[Tensor, "batch 4"]) -> Images:
    """Return images whose box x, y, w, h is filled with the mean colour of the image."""
    height, width = images.shape[2:]
    x, y, w, h = (each[:, None, None, None] for each in boxes.to(images).unbind(dim=1))
    row = torch.arange(height, device=images.device)[None, None, :, None] + 0.5
    column = torch.arange(width, device=images.device)[None, None, None, :] + 0.5
    is_inside = (row > y) & (row < y + h) & (column > x) & (column < x + w)
    return torch.where(is_inside, images.mean(dim=(2, 3), keepdim=True), images)


def _unit(columns: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Return the columns in length 1, without those that are 0."""
    lengths = columns.norm(dim=0)
    is_there = lengths > 1e-12
    found: Tensor = columns[:, is_there] / lengths[is_there]
    return found


def _off_diagonal(vectors: Float[Tensor, "vectors values"]) -> float:
    """Return the mean absolute product of two different vectors of length 1; NaN where there are not two."""
    n = len(vectors)
    products = (vectors @ vectors.mT).abs()
    return float((products.sum() - products.diagonal().sum()) / (n * (n - 1))) if n > 1 else float("nan")
