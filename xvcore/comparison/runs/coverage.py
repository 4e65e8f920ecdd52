"""How much of what is annotated a network's masks cover: the object's box, the visible parts, against random places.

A part is *covered* where most of it is salient. Its *share* that is salient is told beside it: where it takes away a
part's evidence to remove a piece of it, masks are such pieces, and no part is covered.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from xvcore.comparison.method.resampling import mean_of
from xvcore.comparison.runs.class_parts import LEAST_PX, NetworkParts
from xvcore.runs.parts import BOX
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
    """Return how much of each visible part is salient: image_id, part, decisive, covered, share, …_by_chance (0 … 1).

    Parameters
    ----------
    network : masks in the eyes of one network
    annotated : parts in pixels of the network's input (:func:`xvcore.runs.parts.parts_in_input`)
    seed : of the random places: masks are moved around their image, beyond its edges in at the other side
    """
    visible = annotated[annotated["visible"].astype(bool) & annotated["image_id"].isin(set(network.packed))]
    generator = np.random.default_rng(seed)
    visible = visible.sort_values("image_id", kind="stable", ignore_index=True)
    boxes = visible[BOX].to_numpy(float)
    shares = np.zeros((1 + N_PLACES, len(visible)))
    for image_id, rows in sorted(visible.groupby("image_id").indices.items()):
        mask = network.salient(str(image_id))
        places = [mask, *(_moved(mask, generator) for _ in range(N_PLACES))]
        shares[:, rows] = [_salient_shares(each, boxes[rows]) for each in places]
    covered = shares >= COVERED
    return visible[["image_id", "part", "decisive"]].assign(
        covered=covered[0].astype(float),
        covered_by_chance=covered[1:].mean(axis=0),
        share=shares[0],
        share_by_chance=shares[1:].mean(axis=0),
    )


def by_part(covered: pd.DataFrame, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the row of ``part_coverage`` of each annotated part, by its name.

    Parameters
    ----------
    covered : what the masks of a network cover (:func:`covered_parts`)
    seed : of interval and test
    """
    names = ["covered", "covered_by_chance", "share", "share_by_chance"]
    of_images = covered.groupby(["part", "image_id"], sort=True)
    means, decisive = of_images[names].mean(), of_images["decisive"].any()
    for part in means.index.unique("part"):
        of_image = means.loc[part]
        whole, by_chance, share, share_by_chance = of_image[names].to_numpy(float).T
        beyond, beyond_share = (mean_of(each, seed=seed) for each in (whole - by_chance, share - share_by_chance))
        yield {
            "part": str(part),
            "n_images": len(of_image),
            "n_decisive": int(decisive.loc[part].to_numpy(bool).sum()),
            "covered": float(whole.mean()),
            "by_chance": float(by_chance.mean()),
            "difference": beyond.value,
            "low": beyond.low,
            "high": beyond.high,
            "p_value": beyond.p_value,
            "share": float(share.mean()),
            "share_by_chance": float(share_by_chance.mean()),
            "share_low": beyond_share.low,
            "share_high": beyond_share.high,
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
    means = [float(covered[each].mean()) if len(covered) else None for each in ("covered", "covered_by_chance")]
    return dict(zip((name, f"{name}_null"), means, strict=True))


def _moved(mask: np.ndarray, generator: np.random.Generator) -> Any:
    return np.roll(mask, [int(generator.integers(0, side)) for side in mask.shape], axis=(0, 1))


def _salient_shares(mask: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return how much of each box is salient, 0 … 1; of a point, the pixel."""
    height, width = mask.shape
    low = np.clip(np.floor(boxes[:, :2]).astype(int), 0, [width - 1, height - 1])
    high = np.clip(np.ceil(boxes[:, :2] + boxes[:, 2:]).astype(int), low + 1, [width, height])
    until = np.zeros((height + 1, width + 1), int)
    until[1:, 1:] = mask.cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
    (left, top), (right, bottom) = low.T, high.T
    inside = until[bottom, right] - until[top, right] - until[bottom, left] + until[top, left]
    return np.asarray(inside / (high - low).prod(axis=1))
