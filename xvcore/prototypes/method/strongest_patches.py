"""The strongest patches of every prototype, to both sides, over a stream of images.

Of each image the one position where a channel is largest, and the one where it is smallest, are looked at: a prototype
shows as many distinct images as patches. A summary of a part of the images is a value, and the merge of two is the
summary of all: it commutes and associates to the last bit, since equals go to the lower image number.

>>> summary = StrongestPatches.of_batch(peaks, numbers, n_kept=5)  # doctest: +SKIP
>>> summary.merge(other).rows()                                     # doctest: +SKIP
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.errors import XvError
from xvcore.prototypes.method.pooling import Peaks
from xvcore.shown import Shown

Side = Literal["positive", "negative"]
SIDES: tuple[Side, ...] = ("positive", "negative")
"""Where a channel is above 0, and where it is below."""
NOBODY = 2**62
"""Image number of an empty place, behind all images."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One of the strongest patches of a prototype.

    Parameters
    ----------
    prototype : number of the channel
    side : of which its value is
    position : place among them, from 1
    image : number of the image
    place : in the map, counted row by row
    value : how strong, above 0 to either side
    """

    prototype: int
    side: Side
    position: int
    image: int
    place: int
    value: float


@dataclass(frozen=True, slots=True)
class StrongestPatches(Shown):
    """The strongest patches of the images seen so far, on the CPU; values fall along the last axis.

    Parameters
    ----------
    values : above 0; 0 in empty places, which come last
    images : number of the image of each, :data:`NOBODY` in empty places
    places : in the map
    """

    values: Float[Tensor, "channels sides kept"]
    images: Int[Tensor, "channels sides kept"]
    places: Int[Tensor, "channels sides kept"]

    @classmethod
    def empty(cls, n_channels: int, n_kept: int) -> "StrongestPatches":
        """Return the summary of no image."""
        shape = (n_channels, len(SIDES), n_kept)
        return cls(
            torch.zeros(shape), torch.full(shape, NOBODY, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        )

    @classmethod
    def of_batch(cls, found: Peaks, numbers: Int[Tensor, " batch"], n_kept: int) -> "StrongestPatches":
        """Return the summary of a batch.

        Parameters
        ----------
        found : the two positions of every channel in every image
        numbers : number of each image, at least 0 and each once
        n_kept : patches kept of each prototype and side

        Raises
        ------
        XvError
            An image number that occurs twice, or values that are not finite.
        """
        if len(numbers.unique()) != len(numbers):
            raise XvError(f"image numbers {numbers.tolist()}: each image may be in a batch once")
        values = torch.stack([found.positive, found.negative]).detach().cpu().float().permute(2, 0, 1)
        if not values.isfinite().all():
            raise XvError("features are NaN or infinite: they must be finite to be ranked")
        places = torch.stack([found.where_positive, found.where_negative]).cpu().permute(2, 0, 1)
        images = numbers.cpu().long().expand_as(places).masked_fill(values <= 0, NOBODY)
        return cls(*_strongest(values, images, places, n_kept))

    def merge(self, other: "StrongestPatches") -> "StrongestPatches":
        """Return the summary of all images of both, which have none in common.

        Raises
        ------
        XvError
            They are of other shapes, or an image is in both.
        """
        if self.values.shape != other.values.shape:
            shapes = tuple(self.values.shape), tuple(other.values.shape)
            raise XvError(f"summaries of shapes {shapes[0]} and {shapes[1]} cannot be merged: they must be equal")
        pairs = zip(self._entries, other._entries, strict=True)
        values, images, places = (torch.cat(pair, dim=2) for pair in pairs)
        ordered = images.sort(dim=2).values
        if ((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] != NOBODY)).any():
            raise XvError("an image is in both summaries: each may be seen once")
        return StrongestPatches(*_strongest(values, images, places, self.values.shape[2]))

    def rows(self) -> Iterator[Patch]:
        """Yield the patches, by prototype, side and position."""
        for prototype, side, kept in (self.images != NOBODY).nonzero().tolist():
            image, place, value = (
                each[prototype, side, kept].item() for each in (self.images, self.places, self.values)
            )
            yield Patch(prototype, SIDES[side], kept + 1, int(image), int(place), float(value))

    @property
    def _entries(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.values, self.images, self.places


def _strongest(values: Tensor, images: Tensor, places: Tensor, n_kept: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first entries by value (falling), then image."""
    is_empty = images == NOBODY
    values, places = values.masked_fill(is_empty, 0), places.masked_fill(is_empty, 0)
    order = images.argsort(dim=-1, stable=True)
    falling = values.gather(-1, order).argsort(dim=-1, descending=True, stable=True)
    order = order.gather(-1, falling)[..., :n_kept]
    missing = max(n_kept - values.shape[-1], 0)
    kept = (each.gather(-1, order) for each in (values, images, places))
    one, two, three = (F.pad(each, (0, missing), value=fill) for each, fill in zip(kept, (0, NOBODY, 0), strict=True))
    return one, two, three
