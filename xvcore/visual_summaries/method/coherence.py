"""Coherence: which clusters of regions look alike once laid over each other, hence are visual summaries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from xvcore.errors import XvError
from xvcore.parameters import check, parameter
from xvcore.shown import Shown
from xvcore.types import Images
from xvcore.visual_summaries.method.clustering import Clusters
from xvcore.visual_summaries.method.dense_flow import DenseFlow, RegionMatch, warp, window
from xvcore.visual_summaries.method.proposal_flow import ClassMatches, ProposalFlow, Proposals, match
from xvcore.visual_summaries.method.structural_similarity import grey, pairwise_ssim

Rejection: TypeAlias = Literal["support", "mask", "coherence"]


@dataclass(frozen=True, slots=True)
class ClassImages:
    """The images of a class at the classifier's input size, with what was found in each.

    Parameters
    ----------
    images : RGB in [0, 1]
    salient : true where the crisp mask removes the pixel
    proposals : boxes and descriptors of each image
    """

    images: Images
    salient: Bool[Tensor, "batch height width"]
    proposals: Sequence[Proposals]

    def __post_init__(self) -> None:
        counts = {len(self.images), len(self.salient), len(self.proposals)}
        if len(counts) != 1:
            raise XvError(
                f"{len(self.images)} images, {len(self.salient)} masks, {len(self.proposals)} proposals: "
                "must be equally many"
            )


@dataclass(frozen=True, slots=True)
class Summary(Shown):
    """A cluster as a candidate for a visual summary, accepted or not.

    Parameters
    ----------
    cluster_id : as in :class:`Clusters`
    exemplar : index of the region that stands for it
    members : regions shown, the exemplar first, then the best of each other image by similarity to it
    similarities : of each member to the exemplar
    n_regions : size of the cluster before it came down to the members
    ssim_median : median structural similarity of the members' aligned crops; NaN where there are too few to compare
    score : ``ssim_median`` over its median over the clusters of the class; NaN where that cannot be told
    accepted : it is a visual summary
    kept : members that are not outliers of it
    rejected : why not: ``"support"`` (too few images), ``"mask"`` (no pixel salient in enough members),
        ``"coherence"`` (members look too different); None when accepted
    """

    cluster_id: int
    exemplar: int
    members: tuple[int, ...]
    similarities: tuple[float, ...]
    n_regions: int
    ssim_median: float
    score: float
    accepted: bool
    kept: tuple[bool, ...]
    rejected: Rejection | None


@dataclass(frozen=True, slots=True)
class Coherence:
    """Accepts a cluster when its aligned regions are about as similar as those of the class's other clusters are.

    Each member is laid over the exemplar: its box onto the exemplar's box, or, as published, its image warped into the
    exemplar's frame along the dense flow and cropped to the exemplar's box. With C the structural similarity of each
    pair of crops (diagonal 1):

        med_c = median of C off the diagonal;   med_all = median of med_c over the clusters
        score = med_c / med_all;   accepted iff med_c >= acceptance * med_all
        member k kept iff #(C(k, :) < med_all) / n < outlier

    So, while med_all > 0, at least half of the clusters that can be judged pass: the number of summaries means little
    without the number of images. Box onto box is the default since the dense flow follows the most confident region
    around a pixel, often the whole animal, and misses parts of a few pixels: on six PartBirds classes it finds .72 of
    the decisive parts at purity .985, box onto box all of them at 1.0. Three more things differ from the published
    code. Clusters of fewer than ``min_images`` images, or without a common salient pixel, are rejected first and do not
    enter med_all: there a single cluster of one image turns every comparison into NaN, by which **all** clusters are
    accepted. A summary always keeps its exemplar. And where the rule for members would leave fewer than ``min_images``,
    there is no majority to be an outlier of, and all stay.

    Source: Godi, Carletti, Aghaei, Giuliari, Cristani, Understanding Deep Architectures by Visual Summaries, BMVC 2018.
    """

    top_k: int = parameter(10, "Most members, the exemplar included", ge=2)
    min_images: int = parameter(
        3, "Images that a summary must have; ours (paper: no rule), two may look alike by accident", ge=2
    )
    mask_share: float = parameter(0.75, "A pixel is common when the members' mean mask exceeds this there", ge=0, le=1)
    acceptance: float = parameter(0.9, "Least median similarity, as a share of the median over the clusters", ge=0)
    outlier: float = parameter(
        0.6, "A member leaves when this share of its similarities is below the median over the clusters", ge=0, le=1
    )
    alignment: Literal["box", "flow"] = parameter(
        "box", "How members are laid over the exemplar: box onto box (ours, far cheaper), or by dense flow (the paper)"
    )
    dense_flow: DenseFlow = parameter(DenseFlow(), "The dense flow")

    def __post_init__(self) -> None:
        check(self)

    def __call__(
        self,
        images: ClassImages,
        regions: ClassMatches,
        clusters: Clusters,
        flow: ProposalFlow,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Summary, ...]:
        """Return one summary per cluster, in the order of the clusters.

        Parameters
        ----------
        images : of the class
        regions : image and box of each region, and their similarities
        clusters : of the regions
        flow : how regions are matched
        progress : called with the number of clusters done and their total
        """
        return self.judged(Aligner(self, images, regions, flow), regions, clusters, progress)

    def judged(
        self,
        aligner: "Aligner",
        regions: ClassMatches,
        clusters: Clusters,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Summary, ...]:
        """Return one summary per cluster, where several clusterings of the same regions are judged.

        Parameters
        ----------
        aligner : of the images and regions
        regions, clusters, progress : as above; a region that is in no cluster (-1) counts nowhere
        """
        scores = regions.scores.cpu().numpy()
        image_of = regions.image.cpu().numpy()
        labels = clusters.labels.cpu().numpy()
        candidates: list[_Candidate] = []
        for cluster, exemplar in enumerate(clusters.exemplars.tolist()):
            members = nearest_per_image(scores[exemplar], image_of, labels == cluster, exemplar)[: self.top_k]
            candidates.append(self._compared(members, aligner))
            if progress:
                progress(cluster + 1, len(clusters.exemplars))
        reference = _median([each.median for each in candidates if each.rejected is None])
        return tuple(
            self._judged(cluster, candidate, reference, scores, int((labels == cluster).sum()))
            for cluster, candidate in enumerate(candidates)
        )

    def _compared(self, members: list[int], aligner: "Aligner") -> "_Candidate":
        if len(members) < self.min_images:
            return _Candidate(members, np.full((len(members), len(members)), np.nan), "support")
        crops, common = aligner(members)
        similarity = pairwise_ssim([grey(crop) for crop in crops])
        return _Candidate(members, similarity, None if (common > self.mask_share).any() else "mask")

    def _judged(
        self, cluster: int, candidate: "_Candidate", reference: float, scores: np.ndarray, n_regions: int
    ) -> Summary:
        members, median, rejected = candidate.members, candidate.median, candidate.rejected
        if rejected is None and not median >= self.acceptance * reference:
            rejected = "coherence"
        below = (candidate.similarity < reference).mean(axis=1)
        kept = below < self.outlier
        kept[0] = True
        if kept.sum() < self.min_images:
            kept[:] = True
        return Summary(
            cluster_id=cluster,
            exemplar=members[0],
            members=tuple(members),
            similarities=tuple(float(scores[members[0], member]) for member in members),
            n_regions=n_regions,
            ssim_median=median,
            score=median / reference if reference else float("nan"),
            accepted=rejected is None,
            kept=tuple(bool(each) for each in kept),
            rejected=rejected,
        )


def nearest_per_image(
    similarity: Float[np.ndarray, " regions"],
    image: Int[np.ndarray, " regions"],
    in_cluster: Bool[np.ndarray, " regions"],
    exemplar: int,
) -> list[int]:
    """Return the exemplar, then of every other image the member most similar to it, the most similar first.

    Ties go to the lower index.

    Parameters
    ----------
    similarity : of each region to the exemplar
    image : number of each region's image
    in_cluster : regions that belong to the exemplar's cluster
    exemplar : index of a region
    """
    order = np.argsort(-similarity, kind="stable")
    seen = {int(image[exemplar])}
    members = [exemplar]
    for region in order[in_cluster[order]].tolist():
        if int(image[region]) not in seen:
            seen.add(int(image[region]))
            members.append(region)
    return members


@dataclass(frozen=True, slots=True)
class _Candidate:
    members: list[int]
    similarity: Float[np.ndarray, "members members"]
    rejected: Rejection | None

    @property
    def median(self) -> float:
        return _median(self.similarity[np.triu_indices(len(self.members), k=1)])


class Aligner:
    """Lays the members of a cluster over its exemplar; matches each pair of images once."""

    def __init__(self, settings: Coherence, images: ClassImages, regions: ClassMatches, flow: ProposalFlow) -> None:
        self._settings = settings
        self._pictures = images.images.mul(255).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).cpu().numpy()
        self._salient = images.salient.cpu().numpy().astype(np.float32)
        self._proposals = images.proposals
        self._image, self._box = regions.image.tolist(), regions.box.tolist()
        self._flow = flow
        self._matches: dict[tuple[int, int], RegionMatch] = {}

    def __call__(
        self, members: list[int]
    ) -> tuple[list[UInt8[np.ndarray, "rows columns 3"]], Float[np.ndarray, "rows columns"]]:
        """Return each member's crop in the exemplar's box (itself first), and their mean mask there."""
        exemplar = members[0]
        box = self._place(exemplar)
        inside = window(box)
        crops, masks = [self._pictures[self._image[exemplar]][inside]], [self._salient[self._image[exemplar]][inside]]
        for member in members[1:]:
            lay = self._by_flow if self._settings.alignment == "flow" else self._by_box
            crop, salient = lay(exemplar, member, box)
            crops.append(crop)
            masks.append(salient.clip(0, 1))
        return crops, np.mean(masks, axis=0)

    def _by_flow(self, exemplar: int, member: int, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = self._image[exemplar], self._image[member]
        found = self._matched(first, second)
        if not (found.confidence > 0).any():
            return self._by_box(exemplar, member, box)
        size: tuple[int, int] = self._pictures.shape[1:3]
        flow = self._settings.dense_flow(found, self._pictures[first], box, size)
        return warp(self._pictures[second], box, flow), warp(self._salient[second], box, flow)

    def _by_box(self, _exemplar: int, member: int, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside, target = window(self._place(member)), window(box)
        size = (target[1].stop - target[1].start, target[0].stop - target[0].start)
        number = self._image[member]
        crop, salient = self._pictures[number][inside], self._salient[number][inside]
        by = cv2.INTER_AREA if size[0] * size[1] < salient.size else cv2.INTER_CUBIC
        crop, salient = (np.asarray(cv2.resize(each, size, interpolation=by)) for each in (crop, salient))
        return crop, salient

    def _matched(self, first: int, second: int) -> RegionMatch:
        key = (first, second)
        if key not in self._matches:
            a, b = self._proposals[first], self._proposals[second]
            size: tuple[int, int] = self._pictures.shape[1:3]
            confidence, best = match(a, b, size, self._flow).max(dim=1)
            self._matches[key] = RegionMatch(
                boxes=a.boxes.cpu().numpy().astype(np.float64),
                counterparts=b.boxes[best].cpu().numpy().astype(np.float64),
                confidence=confidence.cpu().numpy().astype(np.float64),
            )
        return self._matches[key]

    def _place(self, region: int) -> np.ndarray:
        box = self._proposals[self._image[region]].boxes[self._box[region]]
        return np.asarray(box.cpu().numpy(), dtype=np.float64)


def _median(values: Sequence[float] | np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
