"""The pictures behind the tables: decoded again from the dataset as the network saw them."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from xvcore.data import Dataset, ImageRecord, decode, open_dataset
from xvcore.errors import XvError
from xvcore.models import Preprocessing
from xvcore.runs.images import as_bytes


class Originals:
    """Gives the picture of an image id at the input size of a run's network, or None where it cannot be had any more.

    The dataset may have moved since the run; whoever shows results then does without the picture.
    """

    def __call__(self, run: Mapping[str, Any], image_id: str, class_id: str) -> np.ndarray | None:
        """Return uint8 (height, width, 3), or None.

        Parameters
        ----------
        run : a row of the table ``runs``
        image_id, class_id : which image
        """
        env = json.loads(run["env"])
        preprocessing = Preprocessing(**{key: _tuple(value) for key, value in env["preprocessing"].items()})
        try:
            records = _records(env["dataset_spec"], class_id)
            if image_id not in records:
                return None
            image = decode(_dataset(env["dataset_spec"]).read(records[image_id]))
        except (XvError, OSError):
            return None
        return as_bytes(preprocessing.pixels(image))


@functools.lru_cache(maxsize=8)
def _dataset(spec: str) -> Dataset:
    return open_dataset(spec)


@functools.lru_cache(maxsize=64)
def _records(spec: str, class_id: str) -> dict[str, ImageRecord]:
    return {record.image_id: record for record in _dataset(spec).images(class_id)}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
