"""Local offset matching: a match is trusted as far as it agrees with the matches of the regions around it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xvcore.ops.boxes import Frames

Appearance = Float[Tensor, "n pairs m"]
"""At least 0, 0 is no match: regions of one image with those of several others."""
Offsets = Float[Tensor, "n pairs 3"]
"""From a region of the first image to its counterpart: x, y in pixels, ratio of areas."""


@dataclass(frozen=True, slots=True)
class LocalOffset:
    """Confidence of a match by the local offset of its surroundings [1]_.

    With C(a, b) the appearance, b*(a) = argmax_b C(a, b) and offsets o(a, b) = (x_a - x_b, y_a - y_b, area_a / area_b):

        o*(a)   = median of o(a', b*(a')) over the regions a' that overlap a (itself too), each coordinate for itself
        sup(a)  = sum of max_b C(a', b) over these a', divided by that over all a'
        z(a, b) = C(a, b) exp(-per_px |o_xy(a, b) - o*_xy(a)| - per_ratio |o_s(a, b) - o*_s(a)|) sup(a)

    The authors' code approaches o* by 20 re-weighted iterations per coordinate; here it is the median itself (of an
    even number of values the middle between the two in the middle).

    Parameters
    ----------
    per_px, per_ratio : decay per pixel and per unit of the ratio of areas

    References
    ----------
    .. [1] B. Ham, M. Cho, C. Schmid, J. Ponce, Proposal Flow: Semantic Correspondences from Object Proposals, IEEE
       TPAMI 40, 2018.
    """

    per_px: float
    per_ratio: float

    def surroundings(
        self, appearance: Appearance, overlaps: Bool[Tensor, "n n"], a: Frames, b: Float[Tensor, "pairs m 3"]
    ) -> tuple[Offsets, Float[Tensor, "n pairs"]]:
        """Return the local offset o* and the support sup of each region of the first image, for each pair.

        Parameters
        ----------
        appearance : of **all** regions
        overlaps : which regions of the first image overlap, each with itself
        a, b : frames of the regions: x, y of the centre, area
        """
        best, counterpart = appearance.max(dim=2)
        offsets = _offsets(a, b, counterpart)
        # Regions with an area have a neighbour at least: themselves.
        support = overlaps.to(best) @ best / best.sum(dim=0).clamp(min=torch.finfo(best.dtype).tiny)
        return medians(offsets.flatten(1), overlaps).view_as(offsets), support

    def confidence(
        self,
        appearance: Appearance,
        a: Frames,
        b: Float[Tensor, "pairs m 3"],
        offset: Offsets,
        support: Float[Tensor, "n pairs"],
    ) -> Appearance:
        """Return z for any rows and columns: all arguments hold those regions only.

        Parameters
        ----------
        appearance : of these regions
        a, b : their frames
        offset, support : of the first image's regions among them, from :meth:`surroundings`
        """
        expected = torch.cat([a[:, None, :2] - offset[..., :2], offset[..., 2:]], dim=-1)[..., None]
        distance = torch.hypot(expected[:, :, 0] - b[..., 0], expected[:, :, 1] - b[..., 1])
        ratio = (a[:, 2, None, None] / b[..., 2]).sub_(expected[:, :, 2]).abs_()
        decay = distance.mul_(-self.per_px).sub_(ratio.mul_(self.per_ratio)).exp_()
        return decay.mul_(appearance).mul_(support[..., None])

    def in_turn(
        self, appearance: Appearance, overlaps: Bool[Tensor, "n n"], a: Frames, b: Float[Tensor, "pairs m 3"]
    ) -> Appearance:
        """Return z when the rows are finished one after the other and each takes the place of its appearance.

        Later rows then see the rows before them as already finished: the authors' loop, whose result depends on the
        order of the regions.

        Parameters
        ----------
        appearance, overlaps, a, b : as for :meth:`surroundings`
        """
        result = appearance.clone()
        best, counterpart = result.max(dim=2)
        offsets = _offsets(a, b, counterpart)
        for row in range(len(result)):
            around = overlaps[row].nonzero()[:, 0]
            total = best.sum(dim=0).clamp(min=torch.finfo(best.dtype).tiny)
            support = (best[around].sum(dim=0) / total)[None]
            offset = _median(offsets[around])[None]
            here = slice(row, row + 1)
            result[here] = self.confidence(result[here], a[here], b, offset, support)
            best[here], counterpart = result[here].max(dim=2)
            offsets[here] = _offsets(a[here], b, counterpart)
        return result


def medians(values: Float[Tensor, "n columns"], chosen: Bool[Tensor, "rows n"]) -> Float[Tensor, "rows columns"]:
    """Return the median of each column over the values chosen by each row; a row without any gives NaN.

    Parameters
    ----------
    values : finite
    chosen : which values belong to each row
    """
    columns = values.T.contiguous()
    ordered, order = columns.sort(dim=1)
    # How many of a row's values are among the first k of the column.
    counts = chosen.to(torch.uint8)[:, order].cumsum(dim=2, dtype=torch.int32)
    total = chosen.sum(dim=1, dtype=torch.int32)
    middle = torch.stack([(total + 1) // 2, total // 2 + 1], dim=1)
    place = torch.searchsorted(counts, middle[:, None].expand(-1, len(columns), -1).contiguous())
    found = ordered.expand(len(chosen), -1, -1).gather(2, place.clamp(max=len(values) - 1)).mean(dim=2)
    return found.where(total[:, None] > 0, torch.nan)


def _median(values: Float[Tensor, "n pairs 3"]) -> Float[Tensor, "pairs 3"]:
    ordered = values.sort(dim=0).values
    return (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2


def _offsets(a: Tensor, b: Tensor, counterpart: Tensor) -> Offsets:
    """Return the offset of each region to its counterpart."""
    found = b[torch.arange(len(b), device=b.device), counterpart]
    return torch.cat([a[:, None, :2] - found[..., :2], a[:, None, 2:] / found[..., 2:]], dim=-1)
