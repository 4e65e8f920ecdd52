"""Recount: how many summaries and parts there are among some of the images of a class, and how sure that is."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int

from xvcore.parameters import check, parameter
from xvcore.visual_summaries.method.clustering import Clustering, Clusters
from xvcore.visual_summaries.method.coherence import Aligner, ClassImages, Coherence, Summary, nearest_per_image
from xvcore.visual_summaries.method.distinct_parts import DistinctParts, Places, occurrences
from xvcore.visual_summaries.method.proposal_flow import ClassMatches, ProposalFlow


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are in each of several samples of the images of a class.

    Parameters
    ----------
    n_images : images of a sample
    summaries : accepted clusters of each sample
    parts : distinct parts of each sample
    """

    n_images: int
    summaries: Int[np.ndarray, " samples"]
    parts: Int[np.ndarray, " samples"]


@dataclass(frozen=True)
class Recount:
    """Clusters, judges and groups anew what a sample of the images of a class holds.

    Masks, regions and their similarity are those of the whole class; which regions are near copies of each other was
    told with all images. Members are laid box onto box, whatever the coherence says: a dense flow takes a second.
    """

    images: ClassImages
    regions: ClassMatches
    places: Places
    clustering: Clustering
    coherence: Coherence
    parts: DistinctParts
    flow: ProposalFlow
    seed: int = 0
    _judge: Coherence = dataclasses.field(init=False)
    _aligner: Aligner = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        judge = dataclasses.replace(self.coherence, alignment="box")
        object.__setattr__(self, "_judge", judge)
        object.__setattr__(self, "_aligner", Aligner(judge, self.images, self.regions, self.flow))

    def __call__(self, chosen: Bool[np.ndarray, " images"]) -> tuple[int, int]:
        """Return the number of accepted summaries and of distinct parts among the regions of some images."""
        used = torch.from_numpy(np.flatnonzero(chosen[self.places.image]))
        if not len(used) or chosen.sum() < self.coherence.min_images:
            return 0, 0
        found = self.clustering(self.regions.scores[used][:, used], seed=self.seed)
        labels = torch.full((len(self.places.image),), -1)
        labels[used] = found.labels
        clusters = dataclasses.replace(found, labels=labels, exemplars=used[found.exemplars])
        summaries = self._judge.judged(self._aligner, self.regions, clusters)
        accepted = [each for each in summaries if each.accepted]
        where = occurrences([supporting(each, clusters, self.regions) for each in accepted], self.places.image)
        return len(accepted), len(set(self.parts(self.places, where).tolist()))


def supporting(summary: Summary, clusters: Clusters, regions: ClassMatches) -> list[int]:
    """Return the region that a summary has in each image of its cluster, the exemplar first; outliers are left out."""
    scores = regions.scores[summary.exemplar].cpu().numpy()
    in_cluster = clusters.labels.cpu().numpy() == summary.cluster_id
    outliers = {member for member, kept in zip(summary.members, summary.kept, strict=True) if not kept}
    nearest = nearest_per_image(scores, regions.image.cpu().numpy(), in_cluster, summary.exemplar)
    return [each for each in nearest if each not in outliers]


@dataclass(frozen=True, slots=True)
class CountInterval:
    """Draws samples of the images of a class, and tells from the counts in them how sure the count of all is.

    Halves are drawn without replacement. A sample with replacement, the usual bootstrap, holds images twice: their
    regions match themselves far better than any other, so that affinity propagation makes pairs of copies clusters, and
    only .63 of the images are there to support a summary. Half of the images without replacement vary, to first order,
    as much around their mean as samples of all images do, (1 / m - 1 / n) = 1 / n for m = n / 2, and hold each image
    once. But half of the images hold fewer summaries: the mean of the halves is taken off, and with q the quantiles

        low = count - (q_high - mean),  high = count + (mean - q_low)

    not below 0. Counts at other sizes of the sample tell whether the count still grows with the images.

    Source: D. N. Politis, J. P. Romano, Large Sample Confidence Regions Based on Subsamples under Minimal Assumptions,
    Annals of Statistics 22, 1994; for the rest ours.
    """

    n_halves: int = parameter(100, "Halves of the images that are drawn for the interval", ge=0)
    n_others: int = parameter(20, "Samples of each other size", ge=0)
    shares: tuple[float, ...] = parameter((0.25, 0.75), "Other sizes, as shares of the images", ge=0.01, le=0.99)
    confidence: float = parameter(0.95, "Share of samples that the interval covers", ge=0.5, le=0.999)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, recount: Recount, n_images: int, *, seed: int = 0) -> tuple[Counts, ...]:
        """Return the counts in samples of each size, smaller ones first.

        Parameters
        ----------
        recount : counts in a sample
        n_images : of the class
        seed : of the draws
        """
        wanted = {self.n_images_of(0.5, n_images): self.n_halves}
        for share in self.shares:
            wanted.setdefault(self.n_images_of(share, n_images), self.n_others)
        found = []
        for size, n_draws in sorted(wanted.items()):
            generator = np.random.default_rng([seed, size])
            draws = [recount(_sample(size, n_images, generator)) for _ in range(n_draws if 0 < size < n_images else 0)]
            if draws:
                summaries, parts = np.array(draws).T
                found.append(Counts(size, summaries, parts))
        return tuple(found)

    def n_images_of(self, share: float, n_images: int) -> int:
        """Return how many images a share is."""
        return round(share * n_images)

    def interval(self, count: int, halves: Int[np.ndarray, " samples"]) -> tuple[float, float]:
        """Return the interval of a count over all images from the counts in halves of them."""
        low, high = self.quantiles(halves)
        mean = float(halves.mean())
        return max(count - (high - mean), 0.0), count + (mean - low)

    def quantiles(self, counts: Int[np.ndarray, " samples"]) -> tuple[float, float]:
        """Return the quantiles between which a share ``confidence`` of the counts lies."""
        tail = 100 * (1 - self.confidence) / 2
        low, high = np.percentile(counts, [tail, 100 - tail])
        return float(low), float(high)


def _sample(size: int, n_images: int, generator: np.random.Generator) -> Bool[np.ndarray, " images"]:
    chosen = np.zeros(n_images, dtype=bool)
    chosen[generator.permutation(n_images)[:size]] = True
    return chosen
