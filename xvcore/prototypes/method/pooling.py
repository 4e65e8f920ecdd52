"""Sparse pooling: of the map of a channel, its maximum where that is positive and its minimum where that is negative.

``pool(K) = max(ReLU(K)) - max(ReLU(-K))``, so that at most two positions of a channel speak, and ``pool(-K) =
-pool(K)`` [1]_. Its gradient is that of the two positions.

In the training's variant with the Gumbel-softmax, which an appendix of the paper is reported to use in place of the
hard maximum [1]_, either position is drawn with the probabilities ``softmax(±K / temperature)``, straight through:
forward the one drawn, backward their mixture. Temperature and schedule are not published; ours is a constant.

References
----------
.. [1] Ł. Struski, D. Rymarczyk, J. Tabor, "InfoDisent: Explainability of Image Classification Models by Information
   Disentanglement", arXiv 2409.10329, 2024.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Channels = Float[Tensor, "batch positions channels"]
Pooled = Float[Tensor, "batch channels"]


@dataclass(frozen=True, slots=True)
class Peaks:
    """The two positions of every channel.

    Parameters
    ----------
    positive, negative : ``max(ReLU(K))`` and ``max(ReLU(-K))``, both at least 0
    where_positive, where_negative : their positions row by row, the first of several; of a channel that is nowhere
        positive (negative), the place of its maximum (minimum) all the same
    """

    positive: Pooled
    negative: Pooled
    where_positive: Int[Tensor, "batch channels"]
    where_negative: Int[Tensor, "batch channels"]

    @property
    def values(self) -> Pooled:
        """The pooled values."""
        return self.positive - self.negative


def peaks(channels: Channels) -> Peaks:
    """Return the two positions of every channel; differentiable, to these positions alone."""
    (highest, above), (lowest, below) = _first(channels), _first(-channels)
    return Peaks(highest.clamp_min(0), lowest.clamp_min(0), above, below)


def _first(channels: Channels) -> tuple[Pooled, Int[Tensor, "batch channels"]]:
    """Return the largest values and the first of their positions: which one ``max`` takes is up to the device."""
    with torch.no_grad():
        largest = channels.amax(dim=1)
        places = torch.arange(channels.shape[1], device=channels.device)[None, :, None]
        where = places.where(channels == largest[:, None], channels.shape[1] - 1).amin(dim=1)
    return channels.gather(1, where[:, None])[:, 0], where


class _Turned(torch.autograd.Function):
    """Rotation and pooling in one: maps of the rotated channels are not kept, and the gradient has two places a map.

    A row of the rotation's gradient is the sum of the features at the places where its channel is largest and smallest,
    weighted by the channel's gradient there: ``embedding_bag`` reads these and nothing else.
    """

    @staticmethod
    def forward(ctx: Any, maps: Channels, rotation: Tensor) -> Pooled:
        turned = maps @ rotation.mT.to(maps.dtype)
        highest, above = turned.max(dim=1)
        lowest, below = turned.min(dim=1)
        ctx.save_for_backward(maps, above, below, highest > 0, lowest < 0)
        ctx.kind = rotation.dtype
        return (highest.clamp_min(0) + lowest.clamp_max(0)).to(rotation.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        maps, above, below, is_above, is_below = ctx.saved_tensors
        gradient = gradients[0].to(maps.dtype)
        first = torch.arange(len(maps), device=maps.device)[:, None] * maps.shape[1]
        places = torch.cat([first + above, first + below]).mT.contiguous()
        weights = torch.cat([gradient * is_above, gradient * is_below]).mT.contiguous()
        moved = F.embedding_bag(places, maps.flatten(0, 1), per_sample_weights=weights, mode="sum")
        return None, moved.to(ctx.kind)


def pooled(maps: Channels, rotation: Float[Tensor, "channels channels"]) -> Pooled:
    """Return the pooled values of rotated maps; quick, and differentiable by the rotation alone.

    Parameters
    ----------
    maps : of features that take no gradient, batch × positions × channels
    rotation : U
    """
    result: Tensor = _Turned.apply(maps, rotation)
    return result


def drawn(channels: Channels, temperature: float, generator: torch.Generator) -> Pooled:
    """Return pooled values at positions that are drawn by the Gumbel-softmax, straight through.

    Parameters
    ----------
    channels : rotated maps
    temperature : above 0; the lower, the nearer to the maximum
    generator : of the noise, on the CPU
    """
    total = torch.zeros((), device=channels.device)
    for sign in (1, -1):
        noise = torch.rand(channels.shape, generator=generator).clamp(1e-9, 1 - 1e-7).to(channels)
        scores = (sign * channels - (-noise.log()).log() * temperature) / temperature
        soft = scores.softmax(dim=1)
        hard = F.one_hot(soft.argmax(dim=1), channels.shape[1]).mT.to(soft)
        chosen = hard + soft - soft.detach()
        total = total + sign * (chosen * (sign * channels).clamp_min(0)).sum(dim=1)
    return total
