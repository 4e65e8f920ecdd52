"""The patches that speak loudest for each class, and where the evidence of a class lies on average.

For each target two lists: from images **of** the class (what the network goes by) and from images of **other** classes
(what it can be misled by) [1]_. Each image gives its strongest patch only, or one image would fill the list; whether
and how the authors limited this is not known.

A summary of a part of the images is a value; the merge of two is the summary of all. Merging commutes and associates to
the last bit: equal evidence goes to the lower image number, then to the upper and the left patch, and means are kept as
sums of whole numbers.

>>> summary = TopPatches(n_kept=9).of_batch(evidence, numbers, members)  # doctest: +SKIP
>>> merged = summary.merge(other)                                         # doctest: +SKIP
>>> merged.rows(boxes), merged.mean_maps                                  # doctest: +SKIP

References
----------
.. [1] W. Brendel, M. Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on
   ImageNet", ICLR 2019.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xvcore.errors import XvError
from xvcore.parameters import check, parameter
from xvcore.shown import Shown

Origin = Literal["class", "others"]
ORIGINS: tuple[Origin, ...] = ("class", "others")
"""Where a patch is from: an image of the class, or of another one."""
NOBODY = 2**62
"""Image number of an empty place, behind all images."""
QUANTUM = 2.0**-20
"""Unit of the sums behind the mean maps, in logits: sums of whole numbers do not depend on their order.

There is room for 10⁹ images of evidence up to 8000.
"""


@dataclass(frozen=True, slots=True)
class TopPatch:
    """A patch in one of the lists.

    Parameters
    ----------
    target : place of the target among those of the summary
    origin : from an image of the class or of another
    position : 1 is the strongest
    image : number of the image
    row, column : of the patch in the evidence map
    box : x, y, w, h in pixels of the network's input
    evidence : in units of the logit
    """

    target: int
    origin: Origin
    position: int
    image: int
    row: int
    column: int
    box: tuple[float, float, float, float]
    evidence: float


@dataclass(frozen=True, slots=True)
class PatchSummary(Shown):
    """Strongest patches and mean maps of the images seen so far; on the CPU.

    The axis ``origins`` is :data:`ORIGINS`. Empty places have evidence -inf and come last.

    Parameters
    ----------
    evidence : of the patches kept, falling
    images : number of the image of each
    rows_of, columns_of : place of each in its evidence map
    sums : of the evidence maps, in units of :data:`QUANTUM`
    n_images : images seen
    """

    evidence: Float[Tensor, "targets origins kept"]
    images: Int[Tensor, "targets origins kept"]
    rows_of: Int[Tensor, "targets origins kept"]
    columns_of: Int[Tensor, "targets origins kept"]
    sums: Int[Tensor, "targets origins rows columns"]
    n_images: Int[Tensor, "targets origins"]

    @property
    def mean_maps(self) -> Float[Tensor, "targets origins rows columns"]:
        """Mean evidence at each position over images of the class, and over others; NaN where there are none."""
        return ((self.sums.double() / self.n_images[..., None, None]) * QUANTUM).float()

    def merge(self, other: "PatchSummary") -> "PatchSummary":
        """Return the summary of all images of both, which have none in common.

        Raises
        ------
        XvError
            They are of other targets, another number of patches kept, or maps of another size; or an image among the
            strongest is in both.
        """
        if self.evidence.shape != other.evidence.shape or self.sums.shape != other.sums.shape:
            seen = [(tuple(each.evidence.shape), tuple(each.sums.shape[2:])) for each in (self, other)]
            raise XvError(f"summaries of shapes {seen[0]} and {seen[1]} cannot be merged: they must be equal")
        both = [torch.cat(pair, dim=2) for pair in zip(self._entries, other._entries, strict=True)]
        images = both[1].sort(dim=2).values
        shared = images[..., 1:][(images[..., 1:] == images[..., :-1]) & (images[..., 1:] != NOBODY)]
        if len(shared):
            raise XvError(f"images {shared.unique().tolist()} are in both summaries: each may be seen once")
        best = _strongest(both, self.evidence.shape[2])
        return replace(self, **best, sums=self.sums + other.sums, n_images=self.n_images + other.n_images)

    def rows(self, boxes: Float[Tensor, "rows columns 4"]) -> list[TopPatch]:
        """Return the patches kept, by target, origin and position.

        Parameters
        ----------
        boxes : x, y, w, h of the patch at each position of the map, as the evidence gives them
        """
        found = []
        for target, origin, place in (self.images != NOBODY).nonzero().tolist():
            row, column = (int(each[target, origin, place]) for each in (self.rows_of, self.columns_of))
            x, y, w, h = boxes[row, column].tolist()
            image, evidence = int(self.images[target, origin, place]), float(self.evidence[target, origin, place])
            found.append(TopPatch(target, ORIGINS[origin], place + 1, image, row, column, (x, y, w, h), evidence))
        return found

    @property
    def _entries(self) -> list[Tensor]:
        return [self.evidence, self.images, self.rows_of, self.columns_of]


@dataclass(frozen=True, slots=True)
class TopPatches:
    """Keeps the strongest patches of each target, from images of the class and from others."""

    n_kept: int = parameter(9, "Patches kept of each target and origin; not known of the authors", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def of_batch(
        self,
        evidence: Float[Tensor, "batch targets rows columns"],
        numbers: Int[Tensor, " batch"],
        members: Bool[Tensor, "batch targets"],
    ) -> PatchSummary:
        """Return the summary of a batch.

        Parameters
        ----------
        evidence : maps of the same targets for all images, of any device
        numbers : number of each image in the dataset, at least 0; decides between equals
        members : whether the image is of the target's class

        Raises
        ------
        XvError
            An image number that occurs twice, or evidence that is not finite.
        """
        if not evidence.isfinite().all():
            raise XvError("evidence is NaN or infinite: it must be finite to be ranked")
        if len(numbers.unique()) != len(numbers):
            raise XvError(f"image numbers {numbers.tolist()}: each image may be in a batch once")
        n_columns = evidence.shape[3]
        best = evidence.flatten(2).amax(dim=2)
        index = _first_of_the_largest(evidence.flatten(2), best)
        best, index, of_class = best.T.cpu().float(), index.T.cpu(), members.T.cpu()
        chosen = torch.stack([of_class, ~of_class], dim=1)
        values = best[:, None].where(chosen, -torch.inf)
        images = numbers.cpu().long()[None, None].where(chosen, NOBODY)
        rows, columns = (each[:, None].expand_as(images) for each in (index // n_columns, index % n_columns))
        whole = (evidence.double() / QUANTUM).round().long().cpu()
        own = whole.where(members.cpu()[..., None, None], 0).sum(dim=0)
        sums = torch.stack([own, whole.sum(dim=0) - own], dim=1)
        return PatchSummary(
            **_strongest([values, images, rows, columns], self.n_kept), sums=sums, n_images=chosen.sum(dim=2)
        )


def crop(
    image: Float[Tensor, "3 height width"], box: tuple[float, float, float, float]
) -> Float[Tensor, "3 rows columns"]:
    """Return the pixels of a box x, y, w, h; where it reaches beyond the image, they are 0.

    A nominal box with fractions of pixels is taken to the nearest whole ones, at least one.
    """
    x, y, w, h = box
    left, top = round(x), round(y)
    right, bottom = max(round(x + w), left + 1), max(round(y + h), top + 1)
    pixels = image.new_zeros(len(image), bottom - top, right - left)
    first_row, first_column = max(top, 0), max(left, 0)
    inside = image[:, first_row : max(bottom, 0), first_column : max(right, 0)]
    height, width = inside.shape[1:]
    pixels[:, first_row - top :, first_column - left :][:, :height, :width] = inside
    return pixels


def _first_of_the_largest(
    values: Float[Tensor, "batch targets positions"], largest: Float[Tensor, "batch targets"]
) -> Int[Tensor, "batch targets"]:
    """Return the lowest position of the largest value: which one ``max`` takes is up to the device."""
    positions = torch.arange(values.shape[2], device=values.device)
    return positions.where(values == largest[..., None], values.shape[2]).amin(dim=2)


def _strongest(entries: list[Tensor], n_kept: int) -> dict[str, Tensor]:
    """Return the first entries by evidence (falling), then image, with empty places behind.

    Parameters
    ----------
    entries : evidence, image, row and column, of equal shape; sorted along the last axis
    n_kept : entries kept
    """
    evidence, images, *places = entries
    is_empty = images == NOBODY
    entries = [evidence, images, *(each.masked_fill(is_empty, 0) for each in places)]
    order = images.argsort(dim=-1, stable=True)
    order = order.gather(-1, evidence.gather(-1, order).argsort(dim=-1, descending=True, stable=True))[..., :n_kept]
    missing = max(n_kept - evidence.shape[-1], 0)
    kept = [
        F.pad(each.gather(-1, order), (0, missing), value=fill)
        for each, fill in zip(entries, (-torch.inf, NOBODY, 0, 0), strict=True)
    ]
    return dict(zip(("evidence", "images", "rows_of", "columns_of"), kept, strict=True))
