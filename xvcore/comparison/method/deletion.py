"""Deletion across networks: what a network loses when the regions of another network's part are gone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xvcore.errors import XvError
from xvcore.models import Classifier
from xvcore.models.layout import laid_out
from xvcore.ops.feature_layers import tapped
from xvcore.ops.perturb import Baseline, baseline, blend
from xvcore.parameters import check, parameter
from xvcore.types import Images
from xvcore.visual_summaries.method.dense_flow import window

BoxArray = Float[np.ndarray, "_boxes 4"]
TRIES = 50
"""Places that are looked at for a random region that does not meet the part; the last one is taken as it is."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a network says of images, and by which features.

    Parameters
    ----------
    probabilities : of the target, one an image, 0 … 1
    features : the layer that is looked at, averaged over places, a row an image
    """

    probabilities: Float[np.ndarray, " _images"]
    features: Float[np.ndarray, "_images _units"]


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes the regions of a part in an image, and as many random regions of the same sizes.

    Every other random draw has its middles on the pixels that the first network cannot do without, the rest lie
    anywhere: what is lost must be lost by *this* part of the object, and not only by any place of the object. None of
    them meets the part where that is possible.
    """

    baseline: Baseline = parameter("blur_strong", "What replaces the pixels; of a weak blur colours stay")
    n_random: int = parameter(2, "Random draws beside each image", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def random_regions(
        self,
        boxes: BoxArray,
        salient: Bool[np.ndarray, "height width"],
        generator: np.random.Generator,
    ) -> list[BoxArray]:
        """Return random boxes of the same sizes that do not meet the part, a set for each draw.

        Parameters
        ----------
        boxes : x, y, w, h of the part's regions in an image, in pixels
        salient : pixels that draws of odd number have their middles on; where there are none, anywhere
        generator : of the places
        """
        size = np.array(salient.shape[::-1], float)
        middles = np.argwhere(salient)[:, ::-1] + 0.5
        found = []
        for draw in range(self.n_random):
            on_object = draw % 2 == 1 and len(middles) > 0
            found.append(
                np.stack([_elsewhere(box, boxes, size, middles if on_object else None, generator) for box in boxes])
            )
        return found

    def deleted(self, image: Float[Tensor, "3 height width"], regions: Sequence[BoxArray]) -> Images:
        """Return the image once for each set of boxes, with what they cover replaced."""
        masks = torch.ones(len(regions), 1, *image.shape[1:])
        for each, boxes in zip(masks.numpy(), regions, strict=True):
            for box in boxes:
                each[0][window(box)] = 0
        as_often = (len(regions), -1, -1, -1)
        return blend(image.expand(*as_often), baseline(image[None], self.baseline).expand(*as_often), masks)


@torch.no_grad()
def seen(classifier: Classifier, images: Images, target: int, layer: str, *, batch_size: int = 32) -> Seen:
    """Return what a network says of images; it does not depend on ``batch_size``.

    Parameters
    ----------
    classifier : frozen network
    images : RGB in [0, 1] at its input size, on any device
    target : output whose probability is read
    layer : module whose output, averaged over places, is the features
    """
    if not len(images):
        raise XvError("no images to look at: expected at least one")
    probabilities, features = [], []
    for part in images.split(batch_size):
        with tapped(classifier.network, (layer,)) as found:
            said = classifier.probabilities(laid_out(classifier, part))
        probabilities.append(said[:, target].double().cpu())
        features.append(pooled(found[layer]).float().cpu())
    return Seen(torch.cat(probabilities).numpy(), torch.cat(features).numpy())


def pooled(maps: Tensor) -> Float[Tensor, "batch _units"]:
    """Return activations averaged over places: maps over height and width, tokens over their number."""
    if maps.ndim == 4:
        return maps.mean(dim=(2, 3))
    return maps.mean(dim=1) if maps.ndim == 3 else maps.flatten(1)


def _elsewhere(
    box: np.ndarray, part: BoxArray, size: np.ndarray, middles: np.ndarray | None, generator: np.random.Generator
) -> np.ndarray:
    """Return a box of the same size that meets none of the part's, if one is found."""
    room = np.maximum(size - box[2:], 0)
    if middles is None:
        corners = generator.uniform(size=(TRIES, 2)) * room
    else:
        corners = np.clip(middles[generator.integers(0, len(middles), TRIES)] - box[2:] / 2, 0, room)
    low = np.maximum(corners[:, None], part[None, :, :2])
    high = np.minimum(corners[:, None] + box[2:], part[None, :, :2] + part[None, :, 2:])
    common = (high - low).clip(min=0).prod(axis=2).max(axis=1)
    best = int(common.argmin())  # the first one without any, in the order drawn
    return np.concatenate([corners[best], box[2:]])
