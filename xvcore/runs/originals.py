"""What the tables do not hold: pictures, decoded again as the network saw them, and the names of its outputs."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from xvcore.data import Dataset, ImageRecord, decode, open_dataset
from xvcore.errors import LabelError, XvError
from xvcore.keys import typed_path
from xvcore.models import Preprocessing
from xvcore.models.labels import read_labels
from xvcore.models.load import Address
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


class OutputNames:
    """Gives the name of an output by the labels file that its run was asked with, or None where there is none (now)."""

    def __call__(self, run: Mapping[str, Any], index: int) -> str | None:
        """Return the name, as the file spells it.

        Parameters
        ----------
        run : a row of the table ``runs``
        index : of the output
        """
        names = _names(json.loads(run["env"] or "{}").get("model_spec") or "")
        return names[index] if 0 <= index < len(names) else None


@functools.lru_cache(maxsize=64)
def _names(model_spec: str) -> tuple[str, ...]:
    try:
        labels = Address.parse(model_spec).options.get("labels")
        found = () if labels in (None, "none", "imagenet") else read_labels(typed_path(labels, "labels", LabelError))
    except (XvError, OSError):
        return ()
    return tuple(each.name for each in found)


@functools.lru_cache(maxsize=8)
def _dataset(spec: str) -> Dataset:
    return open_dataset(spec)


@functools.lru_cache(maxsize=64)
def _records(spec: str, class_id: str) -> dict[str, ImageRecord]:
    return {record.image_id: record for record in _dataset(spec).images(class_id)}


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
