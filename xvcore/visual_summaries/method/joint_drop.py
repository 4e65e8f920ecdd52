"""Joint drop: what the decision loses without several summaries at once, against random regions of equal size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.errors import XvError
from xvcore.models import Classifier
from xvcore.parameters import check, parameter
from xvcore.types import Images, Targets
from xvcore.visual_summaries.method.dense_flow import window
from xvcore.visual_summaries.method.drop import CausalDrop, probabilities, relative_drop

SummaryBoxes = Float[Tensor, "summaries images 4"]
"""Box of each summary in each image: x, y, w, h in pixels; without width or height where it has none."""


@dataclass(frozen=True, slots=True)
class ImageDrop:
    """What the decision loses in one image without its regions.

    Parameters
    ----------
    image : place of the image among those given
    drop : relative drop of the probability
    random : median of the same for regions of the same sizes at random places in the image
    """

    image: int
    drop: float
    random: float


@dataclass(frozen=True, slots=True)
class SetDrop:
    """What the decision loses without the regions of one or several summaries.

    Parameters
    ----------
    drop : median relative drop over the images that have such a region; 0 where none has
    random : median of the same for regions of the same sizes at random places in the same images
    p_value : how likely random regions would be to lose as much (:func:`rank_test`)
    n_images : images that have such a region
    area : median share of these images that the regions cover, 0 … 1
    of_images : of each of these images
    """

    drop: float
    random: float
    p_value: float
    n_images: int
    area: float
    of_images: tuple[ImageDrop, ...] = ()


@dataclass(frozen=True, slots=True)
class JointDrops:
    """What the decision loses without the summaries of a class: each alone, one after the other, and all.

    Parameters
    ----------
    alone : each summary by itself, in the order given
    joint : all of them together
    order : the summaries in greedy order
    gains : of each step in that order, the median of what the summary adds in the images that have it
    so_far : median drop after each step over all images that have any of the summaries
    """

    alone: tuple[SetDrop, ...]
    joint: SetDrop
    order: tuple[int, ...]
    gains: tuple[float, ...]
    so_far: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class JointDrop:
    """Deletes the regions of several summaries together in each image, in the way of :class:`CausalDrop`.

    A region alone may cost nothing though the whole mask takes the class away: the pixels of a mask are needed
    together, and what is left of them may do. So, ours:

    * *joint*: the regions of all summaries are deleted at once, median over the images that have any;
    * *greedy*: from nothing, always the summary that adds most, by the median of
      drop(deleted so far and it) - drop(deleted so far) over the images that have it; ties go to the first;
    * *random*: the null. The same boxes, each moved to a place inside its image that is drawn evenly, independently of
      the others, several times. Own and random drops are compared image by image, by their ranks.

    Every set of regions of an image is looked at once, whatever the number of steps that ask for it.
    """

    n_random: int = parameter(5, "Random places of the regions, for each image", ge=1)
    significance: float = parameter(
        0.05, "A drop is above random regions when these would lose as much with at most this probability", ge=0, le=1
    )

    def __post_init__(self) -> None:
        check(self)

    def __call__(  # noqa: PLR0913 -- what is explained, and how it is deleted
        self,
        drop: CausalDrop,
        classifier: Classifier,
        images: Images,
        targets: Targets,
        boxes: SummaryBoxes,
        *,
        seed: int = 0,
        batch_size: int = 32,
    ) -> JointDrops:
        """Return the drops; they do not depend on ``batch_size``.

        Parameters
        ----------
        drop : how a region is deleted
        classifier : frozen network
        images : RGB in [0, 1], on any device
        targets : output to be explained, one per image
        boxes : of each summary in each image
        seed : of the random places

        Raises
        ------
        XvError
            Not as many targets, or boxes of a summary, as images.
        """
        if not len(images) == len(targets) == boxes.shape[1]:
            raise XvError(
                f"{len(images)} images, {len(targets)} targets, boxes of {boxes.shape[1]}: must be equally many"
            )
        deletion = _Deletion(drop, classifier, images, targets, boxes.cpu(), batch_size)
        places = moved(boxes.cpu(), images.shape[2:], self.n_random, seed)
        n_summaries = len(boxes)
        alone = tuple(self._of_set(deletion, places, 1 << k) for k in range(n_summaries))
        order, gains, so_far = _greedy(deletion)
        joint = self._of_set(deletion, places, (1 << n_summaries) - 1)
        return JointDrops(alone, joint, order, gains, so_far)

    def is_above_random(self, found: SetDrop) -> bool:
        """Say whether more is lost than without random regions of equal size."""
        return found.p_value <= self.significance

    def _of_set(self, deletion: "_Deletion", places: Float[Tensor, "draws summaries images 4"], chosen: int) -> SetDrop:
        images = deletion.images_with(chosen)
        if not len(images):
            return SetDrop(drop=0.0, random=0.0, p_value=1.0, n_images=0, area=0.0)
        summaries = [k for k in range(len(deletion.boxes)) if chosen >> k & 1]
        own = deletion.of_sets(images, chosen)
        boxes = places[:, summaries][:, :, images].movedim(1, 2).flatten(0, 1)
        random = deletion.of_boxes(np.tile(images, self.n_random), boxes).reshape(self.n_random, len(images))
        return SetDrop(
            drop=_median(own),
            random=_median(random.ravel()),
            p_value=rank_test(own, random),
            n_images=len(images),
            area=_median(np.array([deletion.area(image, summaries) for image in images.tolist()])),
            of_images=tuple(map(ImageDrop, images.tolist(), own.tolist(), np.median(random, axis=0).tolist())),
        )


def rank_test(own: Float[np.ndarray, " images"], random: Float[np.ndarray, "draws images"]) -> float:
    """Return how likely ranks as high as those of ``own`` among random values of the same image are by chance.

    If a value is as good as its random ones, its rank is any of 0 … draws alike, whatever the image. The sum of the
    ranks over the images is compared with that; equal values count half, which is on the safe side.
    """
    n_draws, n_images = random.shape
    ranks = 2 * (random < own).sum(axis=0) + (random == own).sum(axis=0)
    of_image = np.zeros(2 * n_draws + 1)
    of_image[::2] = 1 / (n_draws + 1)
    of_sum = np.ones(1)
    for _ in range(n_images):
        of_sum = np.convolve(of_sum, of_image)
    return float(min(of_sum[int(ranks.sum()) :].sum(), 1.0))


def moved(
    boxes: SummaryBoxes, size: tuple[int, int] | torch.Size, n_draws: int, seed: int
) -> Float[Tensor, "draws summaries images 4"]:
    """Return each box at random places inside a picture of a size (height, width), in whole pixels.

    Each place is as likely as every other; the draws of one box do not depend on the others' boxes.
    """
    room = (torch.tensor([size[1], size[0]]) - boxes[..., 2:]).clamp(min=0)
    uniform = torch.from_numpy(np.random.default_rng(seed).random((n_draws, *boxes.shape[:2], 2)))
    corners = (uniform * (room + 1)).floor().to(boxes.dtype)
    return torch.cat([corners, boxes[..., 2:].expand(n_draws, -1, -1, -1)], dim=-1)


@dataclass
class _Deletion:
    """Deletes sets of regions from images; a set is a number whose bit k says whether summary k is deleted."""

    drop: CausalDrop
    classifier: Classifier
    images: Images
    targets: Targets
    boxes: SummaryBoxes
    batch_size: int

    def __post_init__(self) -> None:
        is_there = (self.boxes[..., 2:].prod(dim=-1) > 0).numpy()
        self._has = [sum(1 << k for k in np.flatnonzero(column).tolist()) for column in is_there.T]
        parts = zip(self.images.split(self.batch_size), self.targets.split(self.batch_size), strict=True)
        self._full = torch.cat([torch.zeros(0), *(probabilities(self.classifier, *part).cpu() for part in parts)])
        self._known: list[dict[int, float]] = [{0: 0.0} for _ in self._has]

    def images_with(self, chosen: int) -> Int[np.ndarray, " images"]:
        """Return the images that have a region of any of the summaries."""
        return np.array([image for image, has in enumerate(self._has) if has & chosen], dtype=np.int64)

    def of_sets(self, images: Int[np.ndarray, " images"], chosen: int) -> Float[np.ndarray, " images"]:
        """Return the relative drop of images without the regions of a set of summaries."""
        self.look_at([(images, chosen)])
        return np.array([self._known[image][self._has[image] & chosen] for image in images.tolist()])

    def look_at(self, wanted: Sequence[tuple[Int[np.ndarray, " _"], int]]) -> None:
        """Find what is not known yet of sets of summaries in images, all in full batches."""
        sets = ((image, self._has[image] & chosen) for images, chosen in wanted for image in images.tolist())
        new = [(image, own) for image, own in dict.fromkeys(sets) if own not in self._known[image]]
        if not new:
            return
        images = np.array([image for image, _ in new])
        deleted = torch.tensor([[own >> k & 1 for k in range(len(self.boxes))] for _, own in new])
        boxes = self.boxes[:, images].movedim(0, 1) * deleted[..., None]
        for (image, own), value in zip(new, self.of_boxes(images, boxes).tolist(), strict=True):
            self._known[image][own] = value

    def of_boxes(self, images: Int[np.ndarray, " n"], boxes: Float[Tensor, "n regions 4"]) -> Float[np.ndarray, " n"]:
        """Return the relative drop of images, which may repeat, without some boxes."""
        drops = []
        for start in range(0, len(images), self.batch_size):
            chosen = torch.from_numpy(images[start : start + self.batch_size])
            of_batch = boxes[start : start + self.batch_size]
            left = self.drop.left(self.classifier, self.images[chosen], self.targets[chosen], of_batch)
            drops.append(relative_drop(self._full[chosen], left.cpu()).double().numpy())
        return np.concatenate([np.zeros(0), *drops])

    def area(self, image: int, summaries: list[int]) -> float:
        """Return the share of an image that regions of summaries cover, 0 … 1."""
        covered = np.zeros(self.images.shape[2:], dtype=bool)
        for box in self.boxes[summaries, image].double().numpy():
            if box[2:].prod() > 0:
                covered[window(box)] = True
        return float(covered.mean())


def _greedy(deletion: _Deletion) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    left = list(range(len(deletion.boxes)))
    of_summary = [deletion.images_with(1 << k) for k in left]
    everywhere = deletion.images_with((1 << len(left)) - 1)
    order: list[int] = []
    gains: list[float] = []
    so_far: list[float] = []
    deleted = 0
    while left:
        deletion.look_at([(of_summary[k], deleted | 1 << k) for k in left])
        found = [_gain(deletion, of_summary[k], deleted, 1 << k) for k in left]
        gains.append(max(found))
        order.append(left.pop(int(np.argmax(found))))
        deleted |= 1 << order[-1]
        so_far.append(_median(deletion.of_sets(everywhere, deleted)))
    return tuple(order), tuple(gains), tuple(so_far)


def _gain(deletion: _Deletion, images: Int[np.ndarray, " images"], deleted: int, summary: int) -> float:
    return _median(deletion.of_sets(images, deleted | summary) - deletion.of_sets(images, deleted))


def _median(values: Float[np.ndarray, " _"]) -> float:
    return float(np.median(values)) if len(values) else 0.0
