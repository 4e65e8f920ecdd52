"""Proposal flow: which region of one image corresponds to which region of another, by appearance and geometry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from xvcore.errors import XvError
from xvcore.ops.boxes import frames, overlapping, similar_aspect
from xvcore.ops.hough import HoughSpace
from xvcore.ops.largest import Largest
from xvcore.ops.local_offset import LocalOffset
from xvcore.parameters import check, parameter
from xvcore.types import Boxes, Descriptors

MATCHES_AT_ONCE = {"cpu": 2**21}
"""How many pairs of regions are worked on together: what the caches of a CPU hold."""
MATCHES_AT_ONCE_ELSEWHERE = 2**25
"""The same on other devices: a few GB."""


@dataclass(frozen=True, slots=True)
class ProposalFlow:
    """How the confidence of a match of two regions is told [1]_.

    With S(a, b) = max(0, dot product of the whitened descriptors) and G(a, b) = 1 where the aspect ratios differ by
    less than the factor ``aspect``, else 0:

    * ``nam``, naive appearance matching: S G
    * ``phm``, probabilistic Hough matching: S G times the votes for the match's offset (:mod:`xvcore.ops.hough`)
    * ``lom``, local offset matching: S G times the agreement with the median offset of the matches of the regions that
      overlap a (:mod:`xvcore.ops.local_offset`)

    Confidences are not bounded and not comparable between kinds. All but ``nam`` have a direction: that from a to b is
    not the transpose of that from b to a.

    References
    ----------
    .. [1] B. Ham, M. Cho, C. Schmid, J. Ponce, Proposal Flow: Semantic Correspondences from Object Proposals, IEEE
       TPAMI 40, 2018; constants of the authors' code.
    """

    kind: Literal["lom", "phm", "nam"] = parameter("lom", "Which confidence: local offset, Hough, appearance alone")
    order: Literal["free", "sequential"] = parameter(
        "free",
        "lom: finish all regions from the same start (ours), or each from those before it as already finished (the "
        "authors' loop, whose result depends on the order of the regions)",
    )
    aspect: float = parameter(2.0, "Aspect ratios of matching regions differ by less than this factor", ge=1)
    per_px: float = parameter(0.05, "lom: decay per pixel of distance from the local offset", ge=0)
    per_ratio: float = parameter(0.3, "lom: decay per unit of difference from the local ratio of areas", ge=0)
    n_similar: int = parameter(
        100, "Of how many of its best matches in other images the mean is a region's redundancy score", ge=1
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Proposals:
    """The regions of one image.

    Parameters
    ----------
    boxes : in pixels of the image; each has an area
    descriptors : whitened, one row per box, on the same device
    """

    boxes: Boxes
    descriptors: Descriptors

    def __post_init__(self) -> None:
        if len(self.boxes) != len(self.descriptors):
            raise XvError(f"{len(self.boxes)} boxes, {len(self.descriptors)} descriptors: must be equally many")


@dataclass(frozen=True, slots=True)
class ClassMatches:
    """The candidate regions of a class and how they match.

    Parameters
    ----------
    image : number of each candidate's image
    box : number of its box in that image
    scores : the block of images i < j holds the confidences from i to j, the block (j, i) its transpose (the other
        direction is never computed, as in the authors' code); a block on the diagonal is an image with itself
    redundancy : mean of the ``n_similar`` largest confidences of a candidate with **all** regions of the other images;
        0 where there is no other image
    """

    image: Int[Tensor, " candidates"]
    box: Int[Tensor, " candidates"]
    scores: Float[Tensor, "candidates candidates"]
    redundancy: Float[Tensor, " candidates"]


def match(a: Proposals, b: Proposals, size: tuple[int, int], flow: ProposalFlow) -> Float[Tensor, "n_a n_b"]:
    """Return the confidence of each pair of regions of two images.

    Parameters
    ----------
    a, b : regions of the two images
    size : height and width of both, in pixels (for ``phm``)
    flow : which confidence
    """
    if not (len(a.boxes) and len(b.boxes)):
        return a.descriptors.new_zeros(len(a.boxes), len(b.boxes))
    everything = torch.arange(len(a.boxes), device=a.boxes.device)
    rows, _ = _OneToMany(a, b.boxes[None], b.descriptors[None], size, flow).finished(everything, everything[None, :0])
    return rows[:, 0]


def match_all(
    images: Sequence[Proposals],
    candidates: Sequence[Bool[Tensor, " _"]],
    size: tuple[int, int],
    flow: ProposalFlow,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ClassMatches:
    """Return the candidates of a class and their matches: each image with itself and with every later one.

    All regions take part in the geometry and in the redundancy score, but confidences are finished only in rows and
    columns of candidates. Pairs of images are streamed, several at a time: memory grows with the number of regions and
    the square of the number of candidates.

    Parameters
    ----------
    images : regions of each image, all on one device
    candidates : which of them may be kept
    size : height and width of all images, in pixels
    flow : which confidence
    progress : called with the number of images done and their total
    """
    if len(images) != len(candidates):
        raise XvError(f"{len(images)} images, {len(candidates)} sets of candidates: must be equally many")
    stream = _AllPairs(images, candidates, size, flow)
    for i in range(len(images)):
        stream.add(i)
        if progress:
            progress(i + 1, len(images))
    return stream.matches()


class _OneToMany:
    """Regions of one image against those of several others, which are padded to the same number.

    What is added for padding has descriptors of 0 and so matches nothing.
    """

    def __init__(
        self,
        image: Proposals,
        boxes: Float[Tensor, "pairs m 4"],
        descriptors: Float[Tensor, "pairs m dimensions"],
        size: tuple[int, int],
        flow: ProposalFlow,
    ) -> None:
        self._a, self._b, self._size, self._flow = image.boxes, boxes, size, flow
        similarity = (image.descriptors @ descriptors.flatten(0, 1).T).clamp_(min=0)
        self._appearance: Tensor = similarity.view(-1, *boxes.shape[:2])
        self._appearance *= similar_aspect(self._a, boxes, flow.aspect)

    def finished(
        self, rows: Int[Tensor, " rows"], columns: Int[Tensor, "pairs columns"]
    ) -> tuple[Float[Tensor, "rows pairs m"], Float[Tensor, "n pairs columns"]]:
        """Return the confidence of some regions of the image with all others, and of all its regions with some others.

        Parameters
        ----------
        rows : regions of the image
        columns : regions of each of the others
        """
        if self._flow.kind == "lom" and self._flow.order == "free":
            return self._locally(rows, columns)
        confidence = self._everywhere()
        return confidence[rows], _columns(confidence, columns)

    def _everywhere(self) -> Float[Tensor, "n pairs m"]:
        if self._flow.kind == "nam":
            return self._appearance
        if self._flow.kind == "phm":
            space = HoughSpace(*self._size)
            return self._appearance * space.support(self._appearance, space.bins(self._a, self._b))
        return self._lom.in_turn(self._appearance, overlapping(self._a), frames(self._a), frames(self._b))

    def _locally(self, rows: Int[Tensor, " rows"], columns: Int[Tensor, "pairs columns"]) -> tuple[Tensor, Tensor]:
        a, b = frames(self._a), frames(self._b)
        offset, support = self._lom.surroundings(self._appearance, overlapping(self._a), a, b)
        of_rows = self._lom.confidence(self._appearance[rows], a[rows], b, offset[rows], support[rows])
        chosen = b.gather(1, columns[..., None].expand(-1, -1, 3))
        return of_rows, self._lom.confidence(_columns(self._appearance, columns), a, chosen, offset, support)

    @property
    def _lom(self) -> LocalOffset:
        return LocalOffset(self._flow.per_px, self._flow.per_ratio)


class _AllPairs:
    """Scores and redundancy of the candidates, as the pairs of images come in."""

    def __init__(
        self,
        images: Sequence[Proposals],
        candidates: Sequence[Bool[Tensor, " _"]],
        size: tuple[int, int],
        flow: ProposalFlow,
    ) -> None:
        self._images, self._size, self._flow = images, size, flow
        device = images[0].boxes.device if images else torch.device("cpu")
        self._places = [each.to(device).nonzero()[:, 0] for each in candidates]
        counts = torch.tensor([len(each) for each in self._places], dtype=torch.long)
        self._ends = [0, *counts.cumsum(0).tolist()]
        self._image = torch.repeat_interleave(torch.arange(len(images)), counts).to(device)
        self._rank = torch.cat([torch.arange(each) for each in [0, *counts.tolist()]]).to(device)
        self._scores = torch.zeros(self._ends[-1], self._ends[-1], device=device)
        self._largest = Largest(self._ends[-1], flow.n_similar, device)
        if images:
            lengths = torch.tensor([len(each.boxes) for each in images], device=device)
            # Padding: boxes with an area, descriptors that match nothing.
            self._boxes = pad_sequence([each.boxes for each in images], batch_first=True, padding_value=1.0)
            self._descriptors = pad_sequence([each.descriptors for each in images], batch_first=True)
            self._columns = pad_sequence(self._places, batch_first=True)
            self._is_real = torch.arange(self._boxes.shape[1], device=device) < lengths[:, None]

    def add(self, i: int) -> None:
        """Match image i with itself and all later images."""
        n, longest = len(self._images[i].boxes), self._boxes.shape[1]
        at_once = MATCHES_AT_ONCE.get(self._scores.device.type, MATCHES_AT_ONCE_ELSEWHERE)
        step = max(1, at_once // max(1, n * longest))
        last = len(self._images) if n and self._ends[-1] > self._ends[i] else i
        for start in range(i, last, step):
            self._match(i, slice(start, min(start + step, last)))

    def matches(self) -> ClassMatches:
        """Return what was found."""
        empty = torch.zeros(0, dtype=torch.long, device=self._image.device)
        box = torch.cat([empty, *self._places])
        return ClassMatches(self._image, box, self._scores, self._largest.mean())

    def _match(self, i: int, others: slice) -> None:
        pairs = _OneToMany(self._images[i], self._boxes[others], self._descriptors[others], self._size, self._flow)
        rows, columns = pairs.finished(self._places[i], self._columns[others])
        here, there = self._span(i, i + 1), self._span(others.start, others.stop)
        image = self._image[there] - others.start
        block = rows[:, image, torch.cat(self._places[others])]
        self._scores[there, here] = block.T
        self._scores[here, there] = block
        # Of an image with itself nothing counts for the redundancy.
        own = int(others.start == i)
        later = self._span(others.start + own, others.stop)
        rows = rows.masked_fill(~self._is_real[others], -torch.inf)
        self._largest.add(here, rows[:, own:].flatten(1))
        of_later = columns[:, image, self._rank[there]].T
        self._largest.add(later, of_later[later.start - there.start :])

    def _span(self, first: int, last: int) -> slice:
        return slice(self._ends[first], self._ends[last])


def _columns(matches: Float[Tensor, "n pairs m"], columns: Int[Tensor, "pairs columns"]) -> Tensor:
    return matches.gather(2, columns.expand(len(matches), -1, -1))
