"""Which annotated parts a patch of an image contains, by the tables of a store alone."""

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from xvcore.errors import StoreError
from xvcore.models import Preprocessing
from xvcore.ops.parts import contains
from xvcore.query import table
from xvcore.store import Store

Box = tuple[int, int, int, int]
OVERLAP = 0.5
"""Share of the region's or the part's area that the two have in common, as for the parts of summaries."""


class PartsSeen:
    """Tells the parts that a patch contains.

    Parameters
    ----------
    store : with the annotation (``parts``) and the sizes of the files (``predictions``)
    run : row of ``runs``: the run whose network's input the boxes are in
    """

    def __init__(self, store: Store, run: Mapping[str, Any]) -> None:
        self._store, self._run = store, run
        stated: dict[str, Any] | None = json.loads(run["env"] or "{}").get("preprocessing")
        self._preprocessing: Preprocessing | None = None
        if stated:
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in stated.items()
            }
            self._preprocessing = Preprocessing(**values)

    def __call__(self, class_id: str, image_id: str, box: Box) -> tuple[str, ...]:
        """Return the parts, the one first of which the patch has most; none where nothing is annotated."""
        names, places = self._of_class(class_id).get(image_id, ((), np.zeros((0, 4))))
        if not len(names):
            return ()
        inside = np.flatnonzero(contains(np.array([box], float), places, overlap=OVERLAP)[0])
        low = np.maximum(places[inside, :2], box[:2])
        high = np.minimum(places[inside, :2] + places[inside, 2:], np.add(box[:2], box[2:]))
        middle = np.array(box[:2]) + np.array(box[2:]) / 2
        away = np.linalg.norm(places[inside, :2] + places[inside, 2:] / 2 - middle, axis=1)
        order = np.lexsort((away, -(high - low).clip(min=0).prod(axis=1)))
        return tuple(dict.fromkeys(str(names[inside[each]]) for each in order))

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the annotated parts of the run's classes, sorted."""
        classes = [] if self._run["class_ids"] is None else self._run["class_ids"]
        return tuple(sorted({str(name) for each in classes for name in self._parts(str(each))["part"]}))

    @functools.lru_cache(maxsize=64)  # noqa: B019  as long as the value itself lives
    def _parts(self, class_id: str) -> Any:
        if not self._store.has("parts", str(self._run["dataset"]), class_id):
            wanted = {"dataset": self._run["dataset"], "class_id": class_id}
            return table(self._store, "parts", filters=wanted)
        return self._store.read("parts", str(self._run["dataset"]), class_id)

    @functools.lru_cache(maxsize=64)  # noqa: B019
    def _of_class(self, class_id: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        parts = self._parts(class_id)
        parts = parts[parts["visible"].astype(bool)]
        if not len(parts) or self._preprocessing is None:
            return {}
        try:
            sizes = self._store.read(
                "predictions", str(self._run["run_id"]), class_id, columns=["image_id", "width", "height"]
            ).dropna()
        except StoreError:
            sizes = table(self._store, "predictions", run_id=str(self._run["run_id"]), class_id=class_id).dropna(
                subset=["width", "height"]
            )
        found = {}
        for row in sizes.to_dict("records"):
            of_image = parts[parts["image_id"] == row["image_id"]]
            if len(of_image):
                geometry = self._preprocessing.geometry(int(row["width"]), int(row["height"]))
                boxes = geometry.boxes(of_image[["x", "y", "w", "h"]].to_numpy(np.float64))
                found[str(row["image_id"])] = (of_image["part"].to_numpy(str), boxes)
        return found
