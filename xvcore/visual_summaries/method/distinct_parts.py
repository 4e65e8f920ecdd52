"""Distinct parts: summaries of a class that lie on the same part are one part."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy
from jaxtyping import Bool, Float, Int

from xvcore.parameters import check, parameter

BoxArray = Float[np.ndarray, "boxes 4"]
Occurrences = Int[np.ndarray, "summaries images"]
"""Index of the region that each summary has in each image; -1 where it has none."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the regions of a class lie to each other.

    Parameters
    ----------
    image : number of each region's image
    together : whether two regions of one image lie together; false for regions of different images
    chance : how often a region of the size of one would lie together with the other if it were anywhere in the image
    similarity : how well two regions match by proposal flow
    similarity_of_any : mean of that over all pairs of regions of different images
    """

    image: Int[np.ndarray, " regions"]
    together: Bool[np.ndarray, "regions regions"]
    chance: Float[np.ndarray, "regions regions"]
    similarity: Float[np.ndarray, "regions regions"]
    similarity_of_any: float


@dataclass(frozen=True, slots=True)
class DistinctParts:
    """Tells which summaries of a class lie on the same part (ours: *chance-corrected meeting*).

    Two regions of an image lie *together* when they overlap, or when the same connected piece of the crisp mask fills
    most of what is salient in either. How often that happens by chance is told by regions of equal size at random
    places in the image; where it would be more often than ``most_chance``, since the piece is large, the piece says
    nothing, and only an overlap counts. With t_i = 1 where the regions of two summaries lie together in image i, and
    c_i the chance of it, over the images that both have:

        agreement = sum(t_i - c_i) / sum(1 - c_i)

    which is 1 where they always meet and 0 where they meet as often as random regions do. Two summaries with fewer than
    ``min_images`` images in common are compared by proposal flow instead: with s the mean similarity of their regions,
    pairs of one image left out, s_own the smaller of the same mean within either, and s_all the mean over all regions
    of the class,

        agreement = (s - s_all) / (s_own - s_all)

    so 1 where they match each other as well as their own, 0 where they match like any two regions. Summaries that
    agree by at least ``agreement`` lie on one part, and so do all that are connected by such pairs (single linkage: of
    most pairs little is known, and a chain over a summary with many images is what makes up for that).
    """

    overlap: float = parameter(
        0.5, "Regions overlap when they have this share of the smaller one in common", ge=1e-6, le=1
    )
    most_chance: float = parameter(
        0.25, "Share of random regions that may lie on a piece of the mask for it to stand for one part", ge=0, le=1
    )
    agreement: float = parameter(
        0.5, "Least agreement of two summaries of one part; 0 is chance, 1 is always", ge=0, le=1
    )
    min_images: int = parameter(2, "Images in common from which on these tell, and not the similarity", ge=1)
    n_random: int = parameter(50, "Random regions for each region", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def places(
        self,
        salient: Bool[np.ndarray, "images height width"],
        image: Int[np.ndarray, " regions"],
        boxes: BoxArray,
        similarity: Float[np.ndarray, "regions regions"],
        *,
        seed: int = 0,
    ) -> Places:
        """Return where the regions of a class lie to each other.

        Parameters
        ----------
        salient : true where the crisp mask removes the pixel
        image : number of each region's image
        boxes : of the regions, in pixels
        similarity : of each pair
        seed : of the random regions
        """
        n_regions = len(image)
        together = np.zeros((n_regions, n_regions), dtype=bool)
        chance = np.zeros((n_regions, n_regions), dtype=np.float32)
        # A generator an image: what is found in one does not depend on which others there are.
        for number in np.unique(image):
            here = np.flatnonzero(image == number)
            block = np.ix_(here, here)
            generator = np.random.default_rng([seed, int(number)])
            together[block], chance[block] = self._in_image(salient[number], boxes[here], generator)
        apart = image[:, None] != image[None]
        return Places(image, together, chance, similarity, float(similarity[apart].mean()) if apart.any() else 0.0)

    def __call__(self, places: Places, occurrences: Occurrences) -> Int[np.ndarray, " summaries"]:
        """Return the number of each summary's part, from 0, in the order in which the parts first appear.

        Parameters
        ----------
        places : of the regions
        occurrences : of the summaries
        """
        if not len(occurrences):
            return np.zeros(0, dtype=np.int64)
        _, label = scipy.sparse.csgraph.connected_components(
            self.agreements(places, occurrences) >= self.agreement, directed=False
        )
        _, first, number = np.unique(label, return_index=True, return_inverse=True)
        return np.asarray(np.argsort(np.argsort(first))[number], dtype=np.int64)

    def agreements(self, places: Places, occurrences: Occurrences) -> Float[np.ndarray, "summaries summaries"]:
        """Return how far each two summaries agree: 0 as by chance, 1 always; diagonal 1."""
        there = occurrences >= 0
        shared = (there[:, None] & there[None]).astype(np.float64)
        a, b = np.broadcast_arrays(occurrences[:, None], occurrences[None])
        met = ((places.together[a, b] - places.chance[a, b].astype(np.float64)) * shared).sum(axis=2)
        most = ((1 - places.chance[a, b].astype(np.float64)) * shared).sum(axis=2)
        by_place = np.divide(met, most, out=np.zeros_like(met), where=most > 0)
        is_told = shared.sum(axis=2) >= self.min_images
        found = by_place if is_told.all() else np.where(is_told, by_place, _by_similarity(places, occurrences))
        np.fill_diagonal(found, 1.0)
        return found

    def _in_image(
        self, salient: Bool[np.ndarray, "height width"], boxes: BoxArray, generator: np.random.Generator
    ) -> tuple[Bool[np.ndarray, "boxes boxes"], Float[np.ndarray, "boxes boxes"]]:
        height, width = salient.shape
        sizes = np.repeat(boxes[:, 2:], self.n_random, axis=0)
        room = np.array([width, height]) - sizes
        corners = np.floor(generator.random(sizes.shape) * (room.clip(min=0) + 1))
        random = np.hstack([corners, sizes])
        piece = main_pieces(salient, np.vstack([boxes, random]))
        own, other = piece[: len(boxes), None], piece[None, len(boxes) :]
        is_over = shared_area(boxes, random) >= self.overlap
        over = self._share_of_draws(is_over)
        either = self._share_of_draws(is_over | ((own == other) & (own >= 0)))
        is_telling = either <= self.most_chance
        on_one_piece = is_telling & (own == own.T) & (own >= 0)
        return (shared_area(boxes, boxes) >= self.overlap) | on_one_piece, np.where(is_telling, either, over)

    def _share_of_draws(self, hits: Bool[np.ndarray, "boxes random"]) -> Float[np.ndarray, "boxes boxes"]:
        share = hits.reshape(len(hits), -1, self.n_random).mean(axis=2)
        return np.asarray((share + share.T) / 2)


def _by_similarity(places: Places, occurrences: Occurrences) -> Float[np.ndarray, "summaries summaries"]:
    members = [row[row >= 0] for row in occurrences]
    used = np.concatenate(members)
    belongs = np.zeros((len(members), len(used)))
    belongs[np.repeat(np.arange(len(members)), [len(each) for each in members]), np.arange(len(used))] = 1
    is_other = (places.image[used][:, None] != places.image[used][None]).astype(np.float64)
    total = belongs @ (places.similarity[np.ix_(used, used)] * is_other) @ belongs.T
    number = belongs @ is_other @ belongs.T
    mean = np.divide(total, number, out=np.zeros_like(total), where=number > 0)
    own = np.minimum(np.diag(mean)[:, None], np.diag(mean)[None])
    above = own - places.similarity_of_any
    return np.asarray(np.divide(mean - places.similarity_of_any, above, out=np.zeros_like(mean), where=above > 0))


def main_pieces(salient: Bool[np.ndarray, "height width"], boxes: BoxArray) -> Int[np.ndarray, " boxes"]:
    """Return the number of the connected piece that each box holds most pixels of; -1 where it holds none.

    Pixels that touch at a corner belong together. Ties go to the piece that begins further up.

    Parameters
    ----------
    salient : the pixels
    boxes : in pixels of the picture; what lies outside of it does not count
    """
    _, label = cv2.connectedComponents(salient.astype(np.uint8), connectivity=8)
    height, width = salient.shape
    most = np.zeros(len(boxes), dtype=np.int64)
    found = np.full(len(boxes), -1, dtype=np.int64)
    edges = np.rint(np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])).astype(np.int64)
    left, top, right, bottom = edges.clip(min=0, max=[width, height, width, height]).T
    integral = np.zeros((height + 1, width + 1), dtype=np.int64)
    for piece in range(1, int(label.max()) + 1):
        integral[1:, 1:] = (label == piece).cumsum(axis=0).cumsum(axis=1)
        inside = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
        found[inside > most] = piece - 1
        most = np.maximum(most, inside)
    return found


def shared_area(first: BoxArray, second: Float[np.ndarray, "others 4"]) -> Float[np.ndarray, "boxes others"]:
    """Return the area that each two boxes have in common, as a share of the smaller one; 0 where that has none."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    smaller = np.minimum(first[:, None, 2:].prod(axis=-1), second[None, :, 2:].prod(axis=-1))
    common = (high - low).clip(min=0).prod(axis=-1)
    return np.asarray(np.divide(common, smaller, out=np.zeros_like(common), where=smaller > 0))


def occurrences(regions_of: Sequence[Sequence[int]], image: Int[np.ndarray, " regions"]) -> Occurrences:
    """Return which region each summary has in each image; where it has several, the one that is named first."""
    found = np.full((len(regions_of), int(image.max(initial=-1)) + 1), -1, dtype=np.int64)
    for row, regions in zip(found, regions_of, strict=True):
        for region in reversed(regions):
            row[image[region]] = region
    return found
