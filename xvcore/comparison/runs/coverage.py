"""How much of what is annotated a network's masks cover: the object's box, the visible parts, against random places."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from xvcore.comparison.runs.class_parts import BOX, LEAST_PX, NetworkParts
from xvcore.visual_summaries.method.dense_flow import window

N_PLACES = 10
"""Random places of each mask."""
COVERED = 0.5
"""A part is covered where at least this share of its box is salient; of a point, the pixel."""


def coverage(
    network: NetworkParts,
    sizes: Mapping[str, tuple[int, int]],
    class_id: str,
    annotated: pd.DataFrame,
    *,
    seed: int = 0,
) -> dict[str, float | None]:
    """Return the columns of ``comparison_classes`` on objects and parts; None where nothing is annotated.

    Parameters
    ----------
    network : masks in the eyes of one network
    sizes : width and height of each picture
    class_id : the class
    annotated : its parts in pixels of the network's input (:func:`xvcore.runs.parts.parts_in_input`)
    seed : of the random places: masks are moved around their image, beyond its edges in at the other side
    """
    return {**_of_objects(network, sizes, class_id), **_of_parts(network, annotated, seed)}


def _of_objects(network: NetworkParts, sizes: Mapping[str, tuple[int, int]], class_id: str) -> dict[str, float | None]:
    """Boxes are of datasets that offer ``boxes(class_id)``: CUB-200-2011, Stanford Dogs and Cars."""
    boxes = getattr(network.run.dataset, "boxes", None)
    preprocessing, (height, width) = network.run.classifier.preprocessing, network.run.size
    shares = []
    for box in boxes(class_id) if boxes else ():
        if box.image_id not in network.packed:
            continue
        place = preprocessing.geometry(*sizes[box.image_id]).boxes(np.array([[box.x, box.y, box.w, box.h]], float))[0]
        low = np.clip(place[:2], 0, [width, height])
        high = np.clip(place[:2] + place[2:], 0, [width, height])
        if (high - low < LEAST_PX).any():
            continue  # the crop cut the object off
        inside = np.zeros((height, width), bool)
        inside[window(np.concatenate([low, high - low]))] = True
        mask = network.salient(box.image_id)
        shares.append((mask[inside].mean(), mask[inside].sum() / max(1, mask.sum()), inside.mean()))
    means = np.mean(shares, axis=0).tolist() if shares else [None] * 3
    return dict(zip(("object_coverage", "object_precision", "object_null"), means, strict=True))


def _of_parts(network: NetworkParts, annotated: pd.DataFrame, seed: int) -> dict[str, float | None]:
    visible = annotated[annotated["visible"].astype(bool) & annotated["image_id"].isin(set(network.packed))]
    generator = np.random.default_rng(seed)
    covered: list[list[bool]] = []
    is_decisive: list[bool] = []
    for image_id, rows in visible.groupby("image_id", sort=True):
        mask = network.salient(str(image_id))
        places = [mask, *(_moved(mask, generator) for _ in range(N_PLACES))]
        boxes = rows[BOX].to_numpy(float)
        covered += np.stack([_are_covered(each, boxes) for each in places], axis=1).tolist()
        is_decisive += rows["decisive"].astype(bool).tolist()
    found: dict[str, float | None] = {}
    for name, chosen in (("part_coverage", None), ("decisive_coverage", is_decisive)):
        found |= _shares(name, covered if chosen is None else [c for c, k in zip(covered, chosen, strict=True) if k])
    return found


def _shares(name: str, covered: Sequence[Sequence[bool]]) -> dict[str, float | None]:
    if not covered:
        return {name: None, f"{name}_null": None}
    shares = np.array(covered, float)
    return {name: float(shares[:, 0].mean()), f"{name}_null": float(shares[:, 1:].mean())}


def _moved(mask: np.ndarray, generator: np.random.Generator) -> Any:
    return np.roll(mask, [int(generator.integers(0, side)) for side in mask.shape], axis=(0, 1))


def _are_covered(mask: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    low = np.clip(np.floor(boxes[:, :2]).astype(int), 0, [width - 1, height - 1])
    high = np.clip(np.ceil(boxes[:, :2] + boxes[:, 2:]).astype(int), low + 1, [width, height])
    until = np.zeros((height + 1, width + 1), int)
    until[1:, 1:] = mask.cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
    (left, top), (right, bottom) = low.T, high.T
    inside = until[bottom, right] - until[top, right] - until[bottom, left] + until[top, left]
    return np.asarray(inside / (high - low).prod(axis=1) >= COVERED)
