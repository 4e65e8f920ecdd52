"""Correspondence: how alike a network's features change when the same part is hidden in several images.

Does it know that the eye of one bird is the eye of another? With ε the change of a layer's features, original minus
occluded, the paper measures how much the *signs* of the change disagree between the images [1]_::

    Δ = Σ_{i ≠ j} H( sign(ε_i), sign(ε_j) )         H: Hamming distance

Less is more consistent. The control hides random regions. The paper's numbers (0.067 … 0.107) are no such sum; its text
gives no normalisation, and does not say what a disagreement is where one sign is 0. So all readings are computed:

- ``mismatch_mean`` (shown first): the signs −1, 0, 1 differ; share of the dimensions, mean over the pairs;
- ``flip_mean``: both signs are not 0 and opposite; share of the dimensions, mean over the pairs;
- ``flip_share``: both signs are not 0 and opposite; share of the dimensions in which both are not 0, mean over the
  pairs. Ours: the other means are lower the fewer features a region moves, this one is not;
- ``mismatch_sum``, ``flip_sum``: the formula to the letter, the number of such dimensions, summed over all ordered
  pairs.

The version of 2014 prints a minus between the two signs instead of the comma; the number of dimensions in which the
difference is not 0 is the mismatch again.

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from xvcore.errors import ParameterError, XvError
from xvcore.models.classifier import Classifier
from xvcore.ops.feature_layers import feature_layers, tapped
from xvcore.ops.fill import GREY, Fill, fill_colours
from xvcore.ops.parts import random_boxes
from xvcore.parameters import check, parameter
from xvcore.types import Images

RANDOM = "random"
"""The control among the parts."""
COLUMNS = [
    "part",
    "layer",
    "reading",
    "delta",
    "std",
    "p_value",
    "changed_share",
    "n_images",
    "n_pairs",
    "n_dimensions",
]
READINGS = ("mismatch_mean", "flip_mean", "flip_share", "mismatch_sum", "flip_sum")
"""In the order in which they are shown."""
BLOCK = 1 << 20
"""Dimensions that are compared at a time."""
BoxArray = Num[np.ndarray, "boxes 4"]
PairTable = Float[np.ndarray, "vectors vectors"]


@dataclass(frozen=True, slots=True)
class Correspondence:
    """Hides the same part in several images and measures how alike the features change.

    The paper draws five images of dogs by hand; the size of its squares, the number of its random regions and whether
    features were rectified or pooled are not in its text.
    """

    parts: tuple[str, ...] = parameter(
        (), "Parts to hide, NAME or NAME=PART|PART (whichever is visible, the first of them); empty: all annotated"
    )
    n_images: int | None = parameter(
        5, "Images, drawn from those in which all the parts are visible; none: all of them", ge=2
    )
    window: int = parameter(
        32, "Side in pixels of the square that hides a part annotated as a point (not in the paper)", ge=1
    )
    n_random: int = parameter(10, "Random regions in each image (not in the paper)", ge=1)
    region: Literal["object", "image"] = parameter(
        "object", "Where random regions lie: in the box around all visible parts, or anywhere"
    )
    fill: Fill = parameter("training", "Colour of what is hidden (the paper: grey)")
    grey: float = parameter(GREY, "Grey value under fill=value, in [0, 1]", ge=0, le=1)
    is_pooled: bool = parameter(False, "Take the mean of each map instead of all its places (not in the paper)")  # noqa: FBT003
    zero_below: float = parameter(
        1e-5,
        "Changes up to this share of the image's largest activation count as 0, so that rounding has no sign",
        ge=0,
    )
    n_permutations: int = parameter(999, "Draws of the permutation test (not in the paper)", ge=1)
    layers: tuple[str, ...] = parameter(
        (), "Layers, modules' dotted names; empty: the last two before the logits (the paper: 5 and 7)"
    )
    seed: int = parameter(0, "Seed of images, random regions and permutations", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def __call__(
        self,
        classifier: Classifier,
        images: Images,
        image_ids: Sequence[str],
        parts: pd.DataFrame,
        *,
        batch_size: int = 32,
    ) -> pd.DataFrame:
        """Return one row per part, layer and reading of the formula; the control is the part ``random``.

        Parameters
        ----------
        classifier : the network
        images : RGB in [0, 1] at the network's input size, of one class
        image_ids : name of each image
        parts : ``image_id``, ``part``, ``x``, ``y``, ``w``, ``h`` (pixels of the network's input; points have no
            size), ``visible``
        batch_size : images in one forward pass; does not decide the numbers

        Returns
        -------
        DataFrame
            ``part``, ``layer``, ``reading``; ``delta``; ``std`` over the pairs (the paper's ±, presumably);
            ``p_value``: how often Δ is as low when, image by image, what was hidden is drawn from the part and the
            random regions, since the pairs are not independent (NaN for the control); ``changed_share``: mean share of
            the dimensions that the region moves at all; ``n_images``, ``n_pairs`` (unordered), ``n_dimensions`` of the
            features.

        Raises
        ------
        XvError
            Fewer than two images show all the parts.
        UnknownNameError, ParameterError
            A layer that the network does not have or does not run.
        """
        boxes = self._boxes(parts, image_ids)
        names = list(dict.fromkeys(boxes["part"]))
        chosen = self._chosen(boxes, names)
        layers = self.layers or _last_two(classifier, images)
        signs: dict[str, list[Tensor]] = {layer: [] for layer in layers}
        for number, image_id in enumerate(chosen):
            image = images[list(image_ids).index(image_id)]
            of_image = boxes[boxes["image_id"] == image_id].set_index("part").loc[names]
            exact = of_image[["x", "y", "w", "h"]].to_numpy(float)
            hull = self._hull(parts[parts["image_id"] == image_id], image.shape[1:])
            hidden = np.vstack([exact, self._random(exact, hull, image.shape[1:], number)])
            for layer, sign in self._signs(classifier, layers, image, hidden, batch_size).items():
                signs[layer].append(sign)
        frames = [self._rows(layer, names, torch.cat(signs[layer]), len(chosen)) for layer in layers]
        frame = pd.concat(frames, ignore_index=True)
        return frame.sort_values(
            "reading", key=lambda each: each.map(READINGS.index), kind="stable", ignore_index=True
        )[COLUMNS]

    def _boxes(self, parts: pd.DataFrame, image_ids: Sequence[str]) -> pd.DataFrame:
        """Return the visible box of each wanted part in each image, a square where it is a point."""
        seen = parts[parts["visible"].astype(bool) & parts["image_id"].isin(set(image_ids))]
        wanted = self.parts or tuple(dict.fromkeys(parts["part"]))
        found = []
        for entry in wanted:
            name, _, alternatives = entry.partition("=")
            ranks = {part: rank for rank, part in enumerate((alternatives or name).split("|"))}
            rows = seen[seen["part"].isin(ranks)]
            rows = rows.assign(order=rows["part"].map(ranks), part=name).sort_values(
                ["image_id", "order"], kind="stable"
            )
            found.append(rows.drop_duplicates("image_id"))
        if not found:
            raise XvError("no annotated parts to hide")
        boxes = pd.concat(found)[["image_id", "part", "x", "y", "w", "h"]]
        is_point = (boxes[["w", "h"]] == 0).all(axis=1).to_numpy()
        for corner, side in (("x", "w"), ("y", "h")):
            boxes[corner] = np.where(is_point, np.round(boxes[corner] - self.window / 2), boxes[corner])
            boxes[side] = np.where(is_point, self.window, boxes[side])
        return boxes

    def _chosen(self, boxes: pd.DataFrame, names: list[str]) -> list[str]:
        counts = boxes.groupby("image_id")["part"].nunique()
        complete = sorted(counts.index[counts == len(names)].astype(str))
        if len(complete) < 2:
            shown = ", ".join(f"{name} {number}" for name, number in boxes["part"].value_counts().items())
            raise XvError(
                f"{len(complete)} images show all parts, expected at least 2 (images by part: {shown}); "
                "name fewer of them by `parts`, such as parts=beak,eye=left eye|right eye"
            )
        if self.n_images is None or len(complete) <= self.n_images:
            return complete
        generator = np.random.default_rng([self.seed, 0])
        return sorted(generator.choice(complete, self.n_images, replace=False).tolist())

    def _hull(self, parts: pd.DataFrame, size: Sequence[int]) -> Float[np.ndarray, "4"]:
        """Return the box that random regions lie in: left, top, right, bottom."""
        height, width = size
        whole = np.array([0.0, 0.0, width, height])
        if self.region == "image":
            return whole
        boxes = parts.loc[parts["visible"].astype(bool), ["x", "y", "w", "h"]].to_numpy(float)
        margin = np.where((boxes[:, 2:] == 0).all(axis=1), self.window / 2, 0.0)[:, None]
        low, high = (boxes[:, :2] - margin).min(axis=0), (boxes[:, :2] + boxes[:, 2:] + margin).max(axis=0)
        return np.concatenate([low, high]).clip([0, 0, 0, 0], np.tile(whole[2:], 2))

    def _random(
        self, boxes: BoxArray, hull: Float[np.ndarray, "4"], size: Sequence[int], number: int
    ) -> Num[np.ndarray, "random 4"]:
        """Return random regions of the sizes of the parts of the image, in turn."""
        generator = np.random.default_rng([self.seed, 1, number])
        room = (float(hull[3] - hull[1]), float(hull[2] - hull[0]))
        drawn = []
        for draw in range(self.n_random):
            box = random_boxes(boxes[draw % len(boxes), 2:], (round(room[0]), round(room[1])), 1, generator)[0]
            corner = np.round(box[:2] + hull[:2]).clip(0, np.maximum(np.array(size[::-1]) - box[2:], 0))
            drawn.append(np.concatenate([corner, box[2:]]))
        return np.array(drawn)

    def _signs(
        self,
        classifier: Classifier,
        layers: Sequence[str],
        image: Float[Tensor, "3 height width"],
        boxes: BoxArray,
        batch_size: int,
    ) -> dict[str, Int[Tensor, "boxes _dimensions"]]:
        """Return the signs of original minus occluded features, one row per box."""
        colour = fill_colours(image[None], self.fill, training_mean=classifier.preprocessing.mean, value=self.grey)
        copies = torch.cat([image[None], torch.where(hidden_pixels(boxes, image), colour, image)])
        found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
        for chunk in copies.split(batch_size):
            with torch.no_grad(), tapped(classifier.network, layers) as outputs:
                classifier.logits(chunk)
            for layer in layers:
                if layer not in outputs:
                    raise ParameterError(f"layer {layer} does not run in a forward pass of {classifier.name}")
                found[layer].append(self._vectors(outputs[layer]))
        signs = {}
        for layer in layers:
            features = torch.cat(found[layer])
            change = features[:1] - features[1:]
            is_change = change.abs() > self.zero_below * features[0].abs().max()
            signs[layer] = torch.where(is_change, change.sign(), 0).to(torch.int8)
        return signs

    def _vectors(self, features: Tensor) -> Float[Tensor, "batch _dimensions"]:
        if self.is_pooled and features.ndim == 4:
            return features.mean(dim=(2, 3))
        return features.flatten(1)

    def _rows(
        self, layer: str, names: list[str], signs: Int[Tensor, "vectors dimensions"], n_images: int
    ) -> pd.DataFrame:
        """Return the rows of a layer; signs are by image and, within it, by part and then random region."""
        n_hidden, n_dimensions = len(names) + self.n_random, signs.shape[1]
        counts = disagreements(signs)
        changed = np.diag(counts.both_changed).reshape(n_images, n_hidden) / n_dimensions
        values = {
            "mismatch_mean": counts.mismatch / n_dimensions,
            "flip_mean": counts.flip / n_dimensions,
            "flip_share": counts.flip / np.where(counts.both_changed > 0, counts.both_changed, np.nan),
            "mismatch_sum": counts.mismatch,
            "flip_sum": counts.flip,
        }
        first, second = np.array(list(combinations(range(n_images), 2))).T
        rows = []
        for reading, table in values.items():
            cube = table.reshape(n_images, n_hidden, n_images, n_hidden)
            for name in (*names, RANDOM):
                columns = [names.index(name)] if name != RANDOM else list(range(len(names), n_hidden))
                pairs = np.stack([cube[first, column, second, column] for column in columns])
                is_known = np.isfinite(pairs)
                mean = pairs[is_known].mean() if is_known.any() else np.nan
                rows.append({
                    "part": name,
                    "layer": layer,
                    "reading": reading,
                    "delta": 2 * len(first) * mean if reading.endswith("_sum") else mean,
                    "std": pairs[is_known].std(ddof=1) if is_known.sum() > 1 else np.nan,
                    "p_value": np.nan if name == RANDOM else self._p_value(cube, columns[0], len(names)),
                    "changed_share": changed[:, columns].mean(),
                    "n_images": n_images,
                    "n_pairs": len(first),
                    "n_dimensions": n_dimensions,
                })  # fmt: skip
        return pd.DataFrame(rows)

    def _p_value(self, cube: Num[np.ndarray, "images hidden images hidden"], part: int, first_random: int) -> float:
        generator = np.random.default_rng([self.seed, 2])
        n_images, n_hidden = cube.shape[:2]
        pool = np.array([part, *range(first_random, n_hidden)])
        first, second = np.array(list(combinations(range(n_images), 2))).T
        drawn = pool[generator.integers(len(pool), size=(self.n_permutations, n_images))]
        means = _known_mean(cube[first, drawn[:, first], second, drawn[:, second]])
        seen = _known_mean(cube[first, part, second, part][None])
        is_low = means <= seen + 1e-12 * np.abs(seen)  # NaN is never low
        return float((1 + is_low.sum()) / (1 + self.n_permutations)) if np.isfinite(seen[0]) else float("nan")


@dataclass(frozen=True, slots=True)
class Disagreements:
    """How many dimensions of each pair of vectors of signs are not alike.

    Parameters
    ----------
    mismatch : dimensions in which the signs differ
    flip : dimensions in which they are opposite
    both_changed : dimensions in which neither is 0
    """

    mismatch: PairTable
    flip: PairTable
    both_changed: PairTable


def disagreements(signs: Int[Tensor, "vectors dimensions"]) -> Disagreements:
    """Return how many dimensions of each pair of vectors are not alike.

    Parameters
    ----------
    signs : −1, 0 or 1
    """
    n_vectors, n_dimensions = signs.shape
    same = torch.zeros(n_vectors, n_vectors, dtype=torch.float64, device=signs.device)
    flip, both_changed = same.clone(), same.clone()
    for block in signs.split(BLOCK, dim=1):
        negative, positive = (block < 0).float(), (block > 0).float()
        crossed = negative @ positive.T
        alike = negative @ negative.T + positive @ positive.T
        zero = 1 - negative - positive
        same += alike + zero @ zero.T
        flip += crossed + crossed.T
        both_changed += alike + crossed + crossed.T
    return Disagreements(*(each.cpu().numpy() for each in (n_dimensions - same, flip, both_changed)))


def _known_mean(pairs: Num[np.ndarray, "draws pairs"]) -> Float[np.ndarray, " draws"]:
    """Return the mean of each row over the pairs that have a value; NaN where none has."""
    is_known = np.isfinite(pairs)
    total = np.where(is_known, pairs, 0).sum(axis=1, dtype=float)
    return np.asarray(total / np.where(is_known.any(axis=1), is_known.sum(axis=1), np.nan))


def hidden_pixels(boxes: BoxArray, image: Float[Tensor, "3 height width"]) -> Bool[Tensor, "boxes 1 height width"]:
    """Return the pixels that each box touches; what lies outside the image is left away."""
    low, high = np.floor(boxes[:, :2]), np.ceil(boxes[:, :2] + boxes[:, 2:])
    height, width = image.shape[1:]
    columns, rows = (
        (np.arange(side) >= low[:, axis, None]) & (np.arange(side) < high[:, axis, None])
        for axis, side in enumerate((width, height))
    )
    return torch.from_numpy(rows[:, None, :, None] & columns[:, None, None, :]).to(image.device)


def _last_two(classifier: Classifier, images: Images) -> tuple[str, ...]:
    return feature_layers(classifier.network, classifier.preprocessing.normalise(images[:1]))[-2:]
