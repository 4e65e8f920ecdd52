"""Proposal flow: which region of one image corresponds to which region of another, by appearance and geometry."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xvcore.errors import XvError
from xvcore.ops.boxes import centres, meets
from xvcore.ops.hough import hough_confidence
from xvcore.ops.local_offset import local_offset_confidence
from xvcore.parameters import check, parameter
from xvcore.types import Boxes, Descriptors

_PAIRS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ProposalFlow:
    """How the confidence of a match of two regions is told.

    With S(a, b) the appearance similarity, cut at 0, and G(a, b) = 1 where the aspect ratios differ by less than
    ``aspect``, else 0:

    * ``nam``, naive appearance matching: S G
    * ``phm``, probabilistic Hough matching: S G times the votes for the match's offset, see :mod:`xvcore.ops.hough`
    * ``lom``, local offset matching: S G times how well the match agrees with the median offset of the matches of
      the regions that overlap a, see :mod:`xvcore.ops.local_offset`

    Confidences are not bounded and not comparable between methods.

    Source: Ham, Cho, Schmid, Ponce, Proposal Flow, CVPR 2016 (constants of the authors' code).
    """

    kind: Literal["lom", "phm", "nam"] = parameter("lom", "The confidence")
    order: Literal["free", "sequential"] = parameter(
        "free",
        "lom: all rows from the same start (ours), or each row from the rows before it as already changed "
        "(the authors' loop, which depends on the order of the regions)",
    )
    aspect: float = parameter(2.0, "Aspect ratios may differ by this factor", ge=1)
    distance_weight: float = parameter(0.05, "lom: decay per pixel of distance from the local offset", ge=0)
    scale_weight: float = parameter(0.3, "lom: decay per unit of difference of the ratio of areas", ge=0)
    n_similar: int = parameter(100, "Matches whose mean says how typical a region is of its class", ge=1)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Proposals:
    """The regions of one image.

    Parameters
    ----------
    boxes : in pixels of the image
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
    scores : block (i, j) of two images i < j holds the confidences from i to j, block (j, i) its transpose (only one
        direction is ever computed, as in the paper's code); a diagonal block is the match of an image with itself
    redundancy : mean of the ``n_similar`` largest confidences of a candidate with **all** regions of other images; among
        regions that cover each other the one with the largest is kept
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
    size : height and width of both, in pixels
    flow : which confidence
    """
    appearance = gated_appearance(a, b, flow.aspect)
    if flow.kind == "nam":
        return appearance
    if flow.kind == "phm":
        return hough_confidence(appearance, a.boxes, b.boxes, size)
    everything = torch.ones(len(a.boxes), dtype=torch.bool, device=appearance.device)
    all_columns = torch.ones(1, len(b.boxes), dtype=torch.bool, device=appearance.device)
    return _local_offset(appearance[None], a, _Padded.of([b]), everything, all_columns, flow)[0]


def gated_appearance(a: Proposals, b: Proposals, aspect: float) -> Float[Tensor, "n_a n_b"]:
    """Return S(a, b) G(a, b): the dot product of the descriptors cut at 0, and 0 where the shapes differ too much."""
    appearance = (a.descriptors @ b.descriptors.T).clamp_(min=0)
    ratio = _aspect(b.boxes)[None] / _aspect(a.boxes)[:, None]
    return appearance.mul_((ratio > 1 / aspect) & (ratio < aspect))


def match_all(
    images: Sequence[Proposals],
    candidates: Sequence[Bool[Tensor, " boxes"]],
    size: tuple[int, int],
    flow: ProposalFlow,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ClassMatches:
    """Return the candidates of a class and all their matches, each image with itself and with every later one.

    All regions take part in the geometry and in the redundancy score; confidences are finished only for rows and
    columns of candidates. Pairs are streamed: memory grows with the square of the candidates, not of the regions.

    Parameters
    ----------
    images : regions of each image
    candidates : which of them may be kept
    size : height and width of all images, in pixels
    flow : which confidence
    progress : called with the number of images done and their total
    """
    if len(images) != len(candidates):
        raise XvError(f"{len(images)} images, {len(candidates)} sets of candidates: must be equally many")
    counts = [int(each.sum()) for each in candidates]
    ends = list(itertools.accumulate(counts, initial=0))
    device = images[0].boxes.device if images else torch.device("cpu")
    chosen = [each.to(device) for each in candidates]
    scores = torch.zeros(ends[-1], ends[-1], device=device)
    typical = _Largest(ends[-1], flow.n_similar, device)
    for i, image in enumerate(images):
        later = [j for j in range(i, len(images)) if counts[i] or counts[j]]
        rows = slice(ends[i], ends[i + 1])
        for start in range(0, len(later), _PAIRS_AT_ONCE):
            group = later[start : start + _PAIRS_AT_ONCE]
            found = _matched(image, [images[j] for j in group], chosen[i], [chosen[j] for j in group], size, flow)
            for j, confidence in zip(group, found, strict=True):
                columns = slice(ends[j], ends[j + 1])
                block = confidence[chosen[i]]
                scores[rows, columns] = block[:, chosen[j]]
                if i != j:
                    scores[columns, rows] = scores[rows, columns].T
                    typical.add(columns, confidence[:, chosen[j]].T)
            others = [confidence[chosen[i]] for j, confidence in zip(group, found, strict=True) if j != i]
            if others and counts[i]:
                typical.add(rows, torch.cat(others, dim=1))
        if progress:
            progress(i + 1, len(images))
    places = [each.nonzero()[:, 0] for each in chosen]
    empty = torch.zeros(0, dtype=torch.long, device=device)
    return ClassMatches(
        image=torch.repeat_interleave(torch.arange(len(images), device=device), torch.tensor(counts, device=device))
        if images
        else empty,
        box=torch.cat([empty, *places]),
        scores=scores,
        redundancy=typical.mean(),
    )


def _matched(
    image: Proposals,
    others: list[Proposals],
    rows: Bool[Tensor, " n"],
    columns: list[Tensor],
    size: tuple[int, int],
    flow: ProposalFlow,
) -> list[Tensor]:
    """Return the confidences of one image with several, at least in the given rows and columns."""
    if flow.kind != "lom":
        return [match(image, other, size, flow) for other in others]
    padded = _Padded.of(others)
    longest = padded.boxes.shape[1]
    wanted = torch.zeros(len(others), longest, dtype=torch.bool, device=rows.device)
    for index, each in enumerate(columns):
        wanted[index, : len(each)] = each
    appearance = (image.descriptors @ padded.descriptors.flatten(0, 1).T).clamp_(min=0)
    appearance = appearance.unflatten(1, (len(others), longest)).transpose(0, 1)
    ratio = _aspect(padded.boxes.flatten(0, 1)).unflatten(0, (len(others), longest))[:, None]
    ratio = ratio / _aspect(image.boxes)[:, None]
    gated = appearance * ((ratio > 1 / flow.aspect) & (ratio < flow.aspect))
    found = _local_offset(gated.contiguous(), image, padded, rows, wanted, flow)
    return [each[:, : len(other.boxes)] for each, other in zip(found, others, strict=True)]


@dataclass(frozen=True, slots=True)
class _Padded:
    """Regions of several images as one tensor; those added match nothing, since their descriptors are 0."""

    boxes: Float[Tensor, "images longest 4"]
    descriptors: Float[Tensor, "images longest dimensions"]

    @classmethod
    def of(cls, images: list[Proposals]) -> "_Padded":
        return cls(
            torch.nn.utils.rnn.pad_sequence([each.boxes for each in images], batch_first=True, padding_value=1.0),
            torch.nn.utils.rnn.pad_sequence([each.descriptors for each in images], batch_first=True),
        )


def _local_offset(
    appearance: Float[Tensor, "images n longest"],
    image: Proposals,
    others: _Padded,
    rows: Bool[Tensor, " n"],
    columns: Bool[Tensor, "images longest"],
    flow: ProposalFlow,
) -> Float[Tensor, "images n longest"]:
    return local_offset_confidence(
        appearance,
        meets(image.boxes),
        centres(image.boxes),
        image.boxes[:, 2] * image.boxes[:, 3],
        others.boxes[..., :2] + others.boxes[..., 2:] / 2,
        others.boxes[..., 2] * others.boxes[..., 3],
        rows,
        columns,
        distance_weight=flow.distance_weight,
        scale_weight=flow.scale_weight,
        is_sequential=flow.order == "sequential",
    )


class _Largest:
    """Keeps the largest values of each row of a stream of columns."""

    def __init__(self, n_rows: int, n_kept: int, device: torch.device) -> None:
        self._kept = torch.full((n_rows, n_kept), -torch.inf, device=device)

    def add(self, rows: slice, values: Float[Tensor, "rows columns"]) -> None:
        everything = torch.cat([self._kept[rows], values], dim=1)
        self._kept[rows] = everything.topk(self._kept.shape[1], dim=1).values

    def mean(self) -> Float[Tensor, " rows"]:
        """Return the mean of what was kept; 0 where nothing was."""
        is_there = self._kept.isfinite()
        return self._kept.where(is_there, 0).sum(dim=1) / is_there.sum(dim=1).clamp(min=1)


def _aspect(boxes: Boxes) -> Float[Tensor, " boxes"]:
    return boxes[:, 2] / boxes[:, 3]
