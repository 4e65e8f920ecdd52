"""How much of what is annotated a network's masks cover: the object's box, the visible parts, against random places."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from xvcore.comparison.method.resampling import mean_of
from xvcore.comparison.runs.class_parts import BOX, LEAST_PX, NetworkParts
from xvcore.visual_summaries.method.dense_flow import window

N_PLACES = 10
"""Random places of each mask."""
COVERED = 0.5
"""A part is covered where at least this share of its box is salient; of a point, the pixel."""


def coverage(
    network: NetworkParts, sizes: Mapping[str, tuple[int, int]], class_id: str, covered: pd.DataFrame
) -> dict[str, float | None]:
    """Return the columns of ``comparison_classes`` on objects and parts; None where nothing is annotated.

    Parameters
    ----------
    network : masks in the eyes of one network
    sizes : width and height of each picture
    class_id : the class
    covered : what its masks cover (:func:`covered_parts`)
    """
    decisive = covered[covered["decisive"].astype(bool)]
    return {
        **_of_objects(network, sizes, class_id),
        **_shares("part_coverage", covered),
        **_shares("decisive_coverage", decisive),
    }


def covered_parts(network: NetworkParts, annotated: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Return whether the masks cover each visible part: image_id, part, decisive, covered, by_chance (0 … 1).

    Parameters
    ----------
    network : masks in the eyes of one network
    annotated : parts in pixels of the network's input (:func:`xvcore.runs.parts.parts_in_input`)
    seed : of the random places: masks are moved around their image, beyond its edges in at the other side
    """
    visible = annotated[annotated["visible"].astype(bool) & annotated["image_id"].isin(set(network.packed))]
    generator = np.random.default_rng(seed)
    found = []
    for image_id, rows in visible.groupby("image_id", sort=True):
        mask = network.salient(str(image_id))
        places = [mask, *(_moved(mask, generator) for _ in range(N_PLACES))]
        own, *random = (_are_covered(each, rows[BOX].to_numpy(float)) for each in places)
        told = rows[["image_id", "part", "decisive"]]
        found.append(told.assign(covered=own.astype(float), by_chance=np.mean(random, axis=0)))
    columns = ["image_id", "part", "decisive", "covered", "by_chance"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def by_part(covered: pd.DataFrame, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the row of ``part_coverage`` of each annotated part, by its name.

    Parameters
    ----------
    covered : what the masks of a network cover (:func:`covered_parts`)
    seed : of interval and test
    """
    for part, rows in covered.groupby("part", sort=True):
        of_image = rows.groupby("image_id", sort=True)[["covered", "by_chance"]].mean()
        shares = of_image["covered"].to_numpy(float), of_image["by_chance"].to_numpy(float)
        beyond = mean_of(shares[0] - shares[1], seed=seed)
        yield {
            "part": str(part),
            "n_images": len(of_image),
            "n_decisive": int(rows.groupby("image_id")["decisive"].any().sum()),
            "covered": float(shares[0].mean()),
            "by_chance": float(shares[1].mean()),
            "difference": beyond.value,
            "low": beyond.low,
            "high": beyond.high,
            "p_value": beyond.p_value,
        }


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


def _shares(name: str, covered: pd.DataFrame) -> dict[str, float | None]:
    means = [float(covered[each].mean()) if len(covered) else None for each in ("covered", "by_chance")]
    return dict(zip((name, f"{name}_null"), means, strict=True))


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
