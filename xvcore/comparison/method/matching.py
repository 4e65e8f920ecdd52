"""Which part of one network is which part of another: by place, by proposal flow, by images, each against its null.

A part of a class is a set of regions in the class's images: the members of a visual summary, or of several that lie on
the same part. Of two networks whose boxes are in the same pixels, three scores are kept of each pair of parts:

* **place**: in the images that show both, the best intersection over union of their regions, averaged. Null: the
  regions of the second part at random places of the same images (equal sizes).
* **flow**: the mean proposal-flow similarity of their regions in different images, over the geometric mean of what
  each part has with itself. Null: as many other regions of about equal size in the same images.
* **images**: intersection over union of the images that show them. Null: as many images at random, exactly.

``(score - null) / (1 - null)`` makes them comparable: 0 is chance, 1 is equality.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from xvcore.errors import XvError
from xvcore.parameters import check, parameter

BoxArray = Float[np.ndarray, "_regions 4"]
PerPair = Float[np.ndarray, "parts_a parts_b"]
NONE = -1
"""Instead of the number of a part: there is none."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The regions of all parts of a class in the eyes of one network.

    Parameters
    ----------
    part : number of each region's part, from 0
    image : number of its image, the same for all networks
    boxes : x, y, w, h in pixels that all networks share
    n_parts : parts, of which some may have no region
    """

    part: Int[np.ndarray, " _regions"]
    image: Int[np.ndarray, " _regions"]
    boxes: BoxArray
    n_parts: int

    def __post_init__(self) -> None:
        if not len(self.part) == len(self.image) == len(self.boxes):
            raise XvError(
                f"{len(self.part)} parts, {len(self.image)} images, {len(self.boxes)} boxes: expected as many"
            )
        if len(self.part) and not 0 <= self.part.min() <= self.part.max() < self.n_parts:
            raise XvError(f"parts {self.part.min()} … {self.part.max()}: expected 0 … {self.n_parts - 1}")

    def of_images(self, images: Int[np.ndarray, " _images"]) -> "Parts":
        """Return what the parts have in some images."""
        chosen = np.isin(self.image, images)
        return Parts(self.part[chosen], self.image[chosen], self.boxes[chosen], self.n_parts)

    def shown(self, n_images: int) -> Bool[np.ndarray, "parts images"]:
        """Return which image shows which part."""
        found = np.zeros((self.n_parts, n_images), bool)
        found[self.part, self.image] = True
        return found


@dataclass(frozen=True, slots=True)
class Scores:
    """A score of each pair of parts, against what chance gives; NaN where it is not known.

    Parameters
    ----------
    score : higher is more alike; 1 for a part and itself
    null : what chance gives
    p_value : how often chance gives as much to any part of the second network (place), or to this one (others), 0 … 1
    n : images (place, images) or regions (flow) that it was found from
    """

    score: PerPair
    null: PerPair
    p_value: PerPair
    n: Int[np.ndarray, "parts_a parts_b"]

    @property
    def above_null(self) -> PerPair:
        """``(score - null) / (1 - null)``: 0 is chance, 1 is equality; NaN where chance alone makes them equal."""
        can_tell = self.null < 1 - 1e-9
        return np.where(can_tell, (self.score - self.null) / np.where(can_tell, 1 - self.null, 1.0), np.nan)


@dataclass(frozen=True, slots=True)
class Matches:
    """Which part is which.

    Parameters
    ----------
    partner : of each part of the first network, one to one; -1 for none
    nearest : the part of the second network that is most like it among those above the null, whether or not another
        part has it; -1 for none
    strength : mean of the scores above their nulls of each pair that are known
    eligible : pairs above the null
    """

    partner: Int[np.ndarray, " parts_a"]
    nearest: Int[np.ndarray, " parts_a"]
    strength: PerPair
    eligible: Bool[np.ndarray, "parts_a parts_b"]


@dataclass(frozen=True, slots=True)
class Matching:
    """Scores the pairs of parts of two networks and decides which are the same part, or that there is none."""

    alpha: float = parameter(0.05, "Most often that chance may give as much", ge=1e-4, le=0.5)
    least: float = parameter(
        0.1, "A match lies this much above its null, on the scale from chance (0) to equality (1)", ge=0, le=1
    )
    least_flow: float = parameter(
        0.5, "The same for proposal flow, which decides where too few images show both parts", ge=0, le=1
    )
    least_images: int = parameter(3, "Images that show both, for their places to decide", ge=1)
    n_draws: int = parameter(500, "Random places of the regions", ge=20)

    def __post_init__(self) -> None:
        check(self)

    def place(self, a: Parts, b: Parts, size: tuple[int, int], *, seed: int = 0) -> Scores:
        """Return how the regions of each pair overlap in the images that show both.

        The probability is that of the largest of the second network's parts: who looks at many finds one by accident.

        Parameters
        ----------
        a, b : the parts
        size : height and width of the images, in the pixels of the boxes
        seed : of the random places
        """
        of_a, of_b = _in_one_image(a, b)
        keys = np.stack([a.part[of_a], b.part[of_b], a.image[of_a]])
        order = np.lexsort(keys[::-1])
        of_a, of_b, keys = of_a[order], of_b[order], keys[:, order]
        starts = np.flatnonzero(np.diff(keys, axis=1, prepend=NONE).any(axis=0))
        # Which pair of parts each image's best overlap belongs to, as a matrix: a mean for each draw is a product.
        pair = keys[0, starts] * b.n_parts + keys[1, starts]
        n = np.bincount(pair, minlength=a.n_parts * b.n_parts).reshape(a.n_parts, b.n_parts)
        belongs = (pair[:, None] == np.arange(n.size)) / np.maximum(n.ravel(), 1)

        def means(boxes: Float[np.ndarray, "draws regions 4"]) -> Float[np.ndarray, "draws parts_a parts_b"]:
            best = np.maximum.reduceat(overlaps(a.boxes[of_a], boxes[:, of_b]), starts, axis=1)
            return np.where(n > 0, (best @ belongs).reshape(len(boxes), *n.shape), np.nan)

        if not len(starts):
            unknown = np.full(n.shape, np.nan)
            return Scores(unknown, unknown, unknown, n)
        generator = np.random.default_rng(seed)
        room = np.maximum(np.array(size[::-1], float) - b.boxes[:, 2:], 0)
        corners = generator.uniform(size=(self.n_draws, *room.shape)) * room
        drawn = means(np.concatenate([corners, np.broadcast_to(b.boxes[:, 2:], corners.shape)], axis=2))
        (score,) = means(b.boxes[None])
        null, spread = drawn.mean(axis=0), drawn.std(axis=0)
        is_known = (n > 0) & (spread > 0)
        scale = np.where(is_known, spread, 1.0)
        most = np.where(is_known, (drawn - null) / scale, -np.inf).max(axis=2, initial=-np.inf)
        reached = np.where(is_known, (score - null) / scale, np.nan)
        p_value = (1 + (most[:, :, None] >= reached - 1e-12).sum(axis=0)) / (1 + len(drawn))
        return Scores(score, null, np.where(is_known, p_value, np.nan), n)

    def flow(
        self,
        a: Parts,
        b: Parts,
        similarity: Float[np.ndarray, "regions_a regions_b"],
        own: tuple[Float[np.ndarray, "regions_a regions_a"], Float[np.ndarray, "regions_b regions_b"]],
        control: Float[np.ndarray, "regions_a regions_b"],
    ) -> Scores:
        """Return how alike the regions of each pair are by proposal flow, in different images only.

        Parameters
        ----------
        a, b : the parts
        similarity : of each region of the first with each of the second network
        own : of the regions of each network among themselves
        control : similarity of each region of the first network with a region that stands beside each of the second's:
            of about its size, in its image
        """
        means = _block_means(a, b, similarity)
        scale = np.sqrt(_block_means(a, a, own[0]).diagonal()[:, None] * _block_means(b, b, own[1]).diagonal()[None])
        scale = np.where(scale > 0, scale, np.nan)
        null = _block_means(a, b, control) / scale
        p_value, n = np.full(null.shape, np.nan), np.zeros(null.shape, int)
        is_other = a.image[:, None] != b.image[None]
        for i in range(a.n_parts):
            rows = a.part == i
            weight = is_other[rows]
            gain = ((similarity - control)[rows] * weight).sum(axis=0) / np.maximum(weight.sum(axis=0), 1)
            for j in range(b.n_parts):
                of_pair = gain[(b.part == j) & weight.any(axis=0)]
                n[i, j] = len(of_pair)
                p_value[i, j] = _above_zero(of_pair)
        return Scores(means / scale, null, np.minimum(1.0, p_value * max(1, b.n_parts)), n)

    def images(self, a: Parts, b: Parts, n_images: int) -> Scores:
        """Return whether the pairs are shown by the same images, of those in which both networks were looked at."""
        of_a, of_b = (each.shown(n_images).astype(int) for each in (a, b))
        common, sums = of_a @ of_b.T, of_a.sum(axis=1)[:, None] + of_b.sum(axis=1)[None]
        score = np.where(sums > 0, common / np.maximum(sums - common, 1), np.nan)
        null, p_value = np.full(score.shape, np.nan), np.full(score.shape, np.nan)
        for i, j in np.argwhere(sums > 0):
            null[i, j], at_least = _chance_in_common(n_images, int(of_a[i].sum()), int(of_b[j].sum()))
            p_value[i, j] = at_least[common[i, j]]
        return Scores(score, null, p_value, common)

    def __call__(self, place: Scores, flow: Scores | None = None, images: Scores | None = None) -> Matches:
        """Return which part is which, of the pairs that are above their nulls.

        A pair is above where its place is: ``least`` above the null, which chance gives at most with ``alpha``. Where
        fewer than ``least_images`` images show both parts its proposal flow decides, where that is known. One to one,
        the sum of the strengths is largest; a part that no pair is left for has none.
        """
        is_seen = place.n >= self.least_images
        eligible = is_seen & (place.p_value <= self.alpha) & (place.above_null >= self.least)
        known = [np.where(place.n > 0, place.above_null, np.nan)]
        if flow is not None:
            by_flow = (flow.p_value <= self.alpha) & (flow.above_null >= self.least_flow)
            eligible = eligible | (~is_seen & by_flow)
            known.append(np.where(flow.n > 0, flow.above_null, np.nan))
        if images is not None:
            known.append(images.above_null)
        strength = _mean_of_known(known)
        gain = np.where(eligible, np.clip(np.nan_to_num(strength), 1e-6, None), 0.0)
        partner = np.full(len(gain), NONE)
        for i, j in zip(*scipy.optimize.linear_sum_assignment(gain, maximize=True), strict=True):
            partner[i] = j if eligible[i, j] else NONE
        has_any = eligible.any(axis=1)
        nearest = np.where(has_any, gain.argmax(axis=1), NONE) if gain.shape[1] else partner.copy()
        return Matches(partner, nearest, strength, eligible)


def overlaps(a: Float[np.ndarray, "*_many 4"], b: Float[np.ndarray, "*_many 4"]) -> Float[np.ndarray, "*_many"]:
    """Return intersection over union of boxes x, y, w, h, one by one; 0 where neither has an area."""
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    width, height = (side.clip(min=0) for side in (high[..., 0] - low[..., 0], high[..., 1] - low[..., 1]))
    common = width * height
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - common
    return np.asarray(np.where(union > 0, common / np.where(union > 0, union, 1.0), 0.0))


def halves(images: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every other image, from the first and from the second on: two halves that no seed decides."""
    ordered = np.unique(np.asarray(images, int))
    return ordered[::2], ordered[1::2]


def _in_one_image(a: Parts, b: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of regions of two networks that lie in the same image."""
    order = np.argsort(b.image, kind="stable")
    first = np.searchsorted(b.image[order], a.image, side="left")
    count = np.searchsorted(b.image[order], a.image, side="right") - first
    of_a = np.repeat(np.arange(len(a.image)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return of_a, order[np.repeat(first, count) + within]


def _block_means(a: Parts, b: Parts, values: np.ndarray) -> np.ndarray:
    """Return the mean over the pairs of regions of each two parts that lie in different images; NaN where none does."""
    one_a, one_b = (np.eye(each.n_parts)[:, each.part] for each in (a, b))
    is_other = (a.image[:, None] != b.image[None]).astype(float)
    n = one_a @ is_other @ one_b.T
    return np.where(n > 0, one_a @ (values * is_other) @ one_b.T / np.maximum(n, 1), np.nan)


@functools.lru_cache(maxsize=1024)
def _chance_in_common(n_images: int, n_a: int, n_b: int) -> tuple[float, tuple[float, ...]]:
    """Return the mean intersection over union of random sets, and how often at least 0, 1, … are in both."""
    chance = scipy.stats.hypergeom(n_images, n_a, n_b)
    values = np.arange(min(n_a, n_b) + 1)
    return float((chance.pmf(values) * values / (n_a + n_b - values)).sum()), tuple(chance.sf(values - 1).tolist())


def _above_zero(values: np.ndarray) -> float:
    """Return the one-sided probability of Student's t that the mean is no more than zero; NaN for fewer than three."""
    if len(values) < 3:
        return float("nan")
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    if not spread > 0:
        return 0.0 if mean > 0 else 1.0
    return float(scipy.special.stdtr(len(values) - 1, -mean / (spread / np.sqrt(len(values)))))


def _mean_of_known(values: Sequence[np.ndarray]) -> np.ndarray:
    stacked = np.stack(values)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
