"""Which parts do visual summaries cover? Purity and recall against annotated parts, and against random regions.

Parts are boxes (x, y, w, h in pixels of the network's input) or points (w = h = 0, as in CUB-200-2011). A region
*contains* a part when

- the part is a point that lies in the region;
- the part is a box, and the intersection is at least half of the region's or of the part's area: the region lies
  mostly within the part, or holds most of it.

A region can contain several parts. The *majority part* of a summary is the one that most of its regions contain, its
*purity* the share of them that do; the honest comparison is the same for random regions of equal size in the same
images.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Num

from xvcore.parameters import check, parameter

LEAST_SHARE = 0.5
"""A summary of lower purity has found no part."""

BoxArray = Num[np.ndarray, "boxes 4"]


@dataclass(frozen=True, slots=True)
class PartShares:
    """Tells which part the regions of each summary have in common, and how often random regions have it."""

    overlap: float = parameter(
        0.5, "Least share of the region's or of the part's area that the two have in common", ge=1e-6, le=1
    )
    n_draws: int = parameter(100, "Random regions for each region", ge=1)
    seed: int = parameter(0, "Seed of the random regions", ge=0)

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, regions: pd.DataFrame, parts: pd.DataFrame, size: tuple[int, int]) -> pd.DataFrame:
        """Return the majority part of each summary and how pure it is.

        Parameters
        ----------
        regions : ``cluster_id``, ``image_id``, ``x``, ``y``, ``w``, ``h`` (pixels of the network's input); the regions
            of the summaries to be judged, one row each
        parts : ``image_id``, ``part``, ``x``, ``y``, ``w``, ``h`` (the same pixels), ``visible``; an image may have
            several rows of one part
        size : height and width of the network's input

        Returns
        -------
        DataFrame
            One row per summary, sorted by ``cluster_id``. ``part``: the majority part, the first by name among equals,
            None where no region contains any. ``share`` of its regions that contain it (purity). ``random_share``:
            expected share of random regions that contain **that** part. ``random_purity``: expected purity of as many
            random regions, the higher bar, since a few regions agree on something by accident. ``n_regions`` in
            images with a visible part; the shares are NaN where it is 0. Random regions have the sizes of the
            summary's regions, lie in the same images, and anywhere inside them.
        """
        visible = parts[parts["visible"].astype(bool)]
        annotations = {
            str(image_id): (rows["part"].to_numpy(str), rows[["x", "y", "w", "h"]].to_numpy(float))
            for image_id, rows in visible.groupby("image_id")
        }
        names = np.unique(visible["part"].to_numpy(str))
        rows = []
        for cluster_id, members in regions.groupby("cluster_id", sort=True):
            usable = members[members["image_id"].isin(annotations)].sort_values(["image_id", "x", "y", "w", "h"])
            row = self._row(usable, annotations, names, size) if len(usable) else {"part": None}
            rows.append({"cluster_id": cluster_id, "n_regions": len(usable), **row})
        columns = ["cluster_id", "part", "share", "random_share", "random_purity", "n_regions"]
        return pd.DataFrame(rows).reindex(columns=columns)

    def _row(
        self,
        regions: pd.DataFrame,
        annotations: dict[str, tuple[np.ndarray, np.ndarray]],
        names: np.ndarray,
        size: tuple[int, int],
    ) -> dict[str, str | float | None]:
        generator = np.random.default_rng(self.seed)
        boxes = regions[["x", "y", "w", "h"]].to_numpy(float)
        seen = np.zeros((len(boxes), 1 + self.n_draws, len(names)), bool)
        for index, image_id in enumerate(regions["image_id"]):
            labels, places = annotations[str(image_id)]
            tried = np.vstack([boxes[index], random_boxes(boxes[index, 2:], size, self.n_draws, generator)])
            contained = contains(tried, places, overlap=self.overlap)
            seen[index] = (contained[:, :, None] & (labels[:, None] == names)).any(axis=1)
        shares = seen.mean(axis=0)
        best = int(shares[0].argmax())
        return {
            "part": str(names[best]) if shares[0, best] > 0 else None,
            "share": float(shares[0, best]),
            "random_share": float(shares[1:, best].mean()),
            "random_purity": float(shares[1:].max(axis=1).mean()),
        }


def share_on_parts(  # noqa: PLR0913 -- a protocol with its constants
    boxes: pd.DataFrame,
    parts: pd.DataFrame,
    size: tuple[int, int],
    *,
    overlap: float = 0.5,
    n_draws: int = 20,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the share of boxes that contain a part of their image, and that of random boxes of the same sizes there.

    NaN where no box lies in an image with a part.

    Parameters
    ----------
    boxes : image_id, x, y, w, h
    parts : the same columns, in the same pixels
    size : height and width of the pictures
    overlap : see :func:`contains`
    n_draws : random boxes for each box
    seed : of their places
    """
    generator = np.random.default_rng(seed)
    places = {str(image_id): rows[["x", "y", "w", "h"]].to_numpy(float) for image_id, rows in parts.groupby("image_id")}
    hits = []
    for image_id, box in zip(boxes["image_id"], boxes[["x", "y", "w", "h"]].to_numpy(float), strict=True):
        if image_id in places:
            tried = np.vstack([box, random_boxes(box[2:], size, n_draws, generator)])
            hits.append(contains(tried, places[image_id], overlap=overlap).any(axis=1))
    if not hits:
        return float("nan"), float("nan")
    found = np.stack(hits)
    return float(found[:, 0].mean()), float(found[:, 1:].mean())


def contains(
    regions: BoxArray, parts: Num[np.ndarray, "parts 4"], *, overlap: float
) -> Bool[np.ndarray, "boxes parts"]:
    """Return which of the regions contain which of the parts of the same image.

    Parameters
    ----------
    regions, parts : x, y, w, h in the same pixels; parts may be points (w = h = 0), of which the region's edges count
        as inside
    overlap : share of the region's or of the part's area that the two must have in common, in (0, 1]
    """
    low = np.maximum(regions[:, None, :2], parts[None, :, :2])
    high = np.minimum(regions[:, None, :2] + regions[:, None, 2:], parts[None, :, :2] + parts[None, :, 2:])
    common = (high - low).clip(min=0).prod(axis=-1)
    smaller = np.minimum(regions[:, None, 2:].prod(axis=-1), parts[None, :, 2:].prod(axis=-1))
    is_point = parts[:, 2:].prod(axis=1) == 0
    return np.asarray(np.where(is_point, (high >= low).all(axis=-1), (common > 0) & (common >= overlap * smaller)))


def random_boxes(
    box_size: Num[np.ndarray, "2"], size: tuple[int, int], n_boxes: int, generator: np.random.Generator
) -> BoxArray:
    """Return boxes of one size (w, h) anywhere inside a picture of a size (height, width)."""
    room = np.maximum(np.array(size[::-1], float) - box_size, 0)
    corners = generator.uniform(size=(n_boxes, 2)) * room
    return np.hstack([corners, np.broadcast_to(box_size, (n_boxes, 2))])


def part_recall(shares: pd.DataFrame, decisive: Collection[str], *, least_share: float = LEAST_SHARE) -> float:
    """Return the share of the decisive parts of a class that are the majority part of a summary; NaN where it has none.

    Parameters
    ----------
    shares : of one class, as :class:`PartShares` returns them
    decisive : the parts that tell the class
    least_share : a summary of lower purity has found no part
    """
    found = set(shares.loc[shares["share"] >= least_share, "part"].dropna())
    return len(found & set(decisive)) / len(set(decisive)) if decisive else float("nan")
