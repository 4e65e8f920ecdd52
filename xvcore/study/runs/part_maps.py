"""Which part of an image a patch shows, by maps of the parts, pixel by pixel: for datasets that have such maps."""

import functools
import json
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from xvcore.data import Dataset, ImageRecord, open_dataset
from xvcore.errors import ParameterError
from xvcore.models import Preprocessing
from xvcore.study.runs.parts_seen import OVERLAP, Box


@runtime_checkable
class HasPartMasks(Protocol):
    """A dataset that knows where each part is seen."""

    def part_masks(self, record: ImageRecord) -> Mapping[str, np.ndarray]:
        """Return a mask of each part of an image."""


class PartMaps:
    """Tells the parts that a patch shows: half of their visible pixels, or half of the patch.

    Parameters
    ----------
    run : row of ``runs``: the run whose network's input the boxes are in
    names : parts that count; a map may have more, as the body behind all parts

    Raises
    ------
    ParameterError
        The dataset has no maps of parts.
    XvError
        It cannot be opened any more.
    """

    def __init__(self, run: Mapping[str, Any], names: tuple[str, ...]) -> None:
        env = json.loads(run["env"])
        dataset: Dataset = open_dataset(env["dataset_spec"])
        if not isinstance(dataset, HasPartMasks):
            raise ParameterError(f"{env['dataset_spec']}: no maps of parts (FunnyBirds and PartBirds have them)")
        self._dataset, self._masks, self._names = dataset, dataset, names
        stated: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in env["preprocessing"].items()
        }
        self._preprocessing = Preprocessing(**stated)

    def __call__(self, class_id: str, image_id: str, box: Box) -> tuple[str, ...]:
        """Return the parts, the one first of which the patch shows most pixels."""
        x, y, w, h = box
        inside = {}
        for name, mask in self._of_image(class_id, image_id).items():
            shown = int(mask[max(0, y) : y + h, max(0, x) : x + w].sum())
            if shown and shown >= OVERLAP * min(int(mask.sum()), w * h):
                inside[name] = shown
        return tuple(sorted(inside, key=lambda name: (-inside[name], name)))

    @functools.lru_cache(maxsize=256)  # noqa: B019  as long as the value itself lives
    def _of_image(self, class_id: str, image_id: str) -> dict[str, np.ndarray]:
        record = self._records(class_id)[image_id]
        found = {}
        for name, mask in self._masks.part_masks(record).items():
            if name in self._names:
                drawn = Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB")
                found[name] = self._preprocessing.pixels(drawn)[0].numpy() > 0.5
        return found

    @functools.lru_cache(maxsize=64)  # noqa: B019
    def _records(self, class_id: str) -> dict[str, ImageRecord]:
        return {each.image_id: each for each in self._dataset.images(class_id)}
