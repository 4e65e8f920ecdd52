"""The parts of a class in the eyes of each network, in the pixels of one of them; regions, clusters, masks → parts."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xvcore.comparison.method.matching import Parts
from xvcore.comparison.runs.networks import opened_summaries
from xvcore.comparison.settings import Comparison
from xvcore.keys import canonical
from xvcore.runs.images import pictures, records
from xvcore.runs.parts import BOX
from xvcore.runs.run import Run, RunSpec
from xvcore.store import SCHEMAS
from xvcore.store.encode import rle_decode
from xvcore.visual_summaries.settings import VisualSummaries

CLUSTER_COLUMNS = ("cluster_id", "accepted", "distinct_part")
"""The last is of stores whose visual summaries tell distinct parts."""
REGION_COLUMNS = ("region_id", "image_id", "cluster_id", "kept", "sim_exemplar", *BOX)
HELD_BYTES = 2**28
"""Pictures of a class that are kept for all networks and stages, at most."""
LEAST_PX = 2.0
"""Sides of a box that was moved into another network's input; what is cut off at its edges leaves at least this."""


@dataclass(frozen=True)
class NetworkParts:
    """The parts of a class in the eyes of one network.

    Parameters
    ----------
    run : its visual summaries
    part_ids : what each part is called in tables
    clusters : summaries of each part
    is_distinct : whether they are distinct parts, or each a summary
    parts : regions, with boxes in the pixels of the first network
    own_boxes : the same boxes in the pixels of this network
    likeness : similarity of each region to its summary's exemplar
    masks : one row an image: image_id, rle, area_frac, prob_drop
    """

    run: Run[VisualSummaries]
    part_ids: tuple[int, ...]
    clusters: tuple[tuple[int, ...], ...]
    is_distinct: bool
    parts: Parts
    own_boxes: np.ndarray
    likeness: np.ndarray
    masks: pd.DataFrame

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.run.classifier.name

    @functools.cached_property
    def frame(self) -> str:
        """What decides the pixels that the network sees; networks of one frame see the same ones."""
        return canonical(self.run.classifier.preprocessing.key())

    @functools.cached_property
    def packed(self) -> Mapping[str, np.ndarray]:
        """The mask of each image, eight pixels a byte."""
        return {row["image_id"]: np.packbits(rle_decode(row["rle"])) for row in records(self.masks)}

    def salient(self, image_id: str) -> np.ndarray:
        """Return the pixels of an image that the network cannot do without."""
        height, width = self.run.size
        return np.unpackbits(self.packed[image_id], count=height * width).reshape(height, width).view(bool)


@dataclass(frozen=True)
class ClassParts:
    """The parts of a class in the eyes of all networks of a comparison.

    Parameters
    ----------
    class_id : the class
    image_ids : of all images that any network was looked at in, sorted; regions know them by number
    sizes : width and height of each picture
    networks : the run's own first
    """

    class_id: str
    image_ids: tuple[str, ...]
    sizes: Mapping[str, tuple[int, int]]
    networks: tuple[NetworkParts, ...]
    _held: dict[str, dict[str, Tensor]] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def looked(self, network: NetworkParts) -> np.ndarray:
        """Return the numbers of the images that a network was looked at in, ascending."""
        known = set(network.masks["image_id"])
        return np.array([number for number, image_id in enumerate(self.image_ids) if image_id in known], int)

    def pictures(self, network: NetworkParts, image_ids: Sequence[str]) -> Tensor:
        """Return pictures as a network sees them, see :func:`xvcore.runs.images.pictures`.

        They are prepared once for all networks of one frame and all stages, up to :data:`HELD_BYTES`.
        """
        held = self._held.setdefault(network.frame, {})
        missing = [image_id for image_id in image_ids if image_id not in held]
        new = dict(zip(missing, pictures(network.run, self.class_id, missing), strict=True))
        every = held | new
        if sum(each.nbytes for of_frame in (*self._held.values(), new) for each in of_frame.values()) <= HELD_BYTES:
            held |= new
        return torch.stack([every[each] for each in image_ids]) if image_ids else pictures(network.run, "", ())

    def moved(self, boxes: np.ndarray, image: Sequence[int], source: Run[Any], goal: Run[Any]) -> np.ndarray:
        """Return boxes in pixels of one network's input in those of another's, cut at its edges."""
        ids = [self.image_ids[number] for number in image]
        return moved(boxes, [self.sizes[image_id] for image_id in ids], source, goal)


def class_parts(run: Run[Comparison], class_id: str) -> ClassParts:
    """Return the parts of a class in the eyes of all networks; of the last class they are kept, see :func:`forget`."""
    return _loaded(run.spec, class_id)


def forget() -> None:
    """Read the parts anew the next time: visual summaries may have been made again since."""
    _loaded.cache_clear()


@functools.lru_cache(maxsize=1)
def _loaded(spec: RunSpec[Comparison], class_id: str) -> ClassParts:
    runs = opened_summaries(spec)
    masks = [_masks(each, class_id) for each in runs]
    image_ids = tuple(sorted({image_id for frame in masks for image_id in frame["image_id"]}))
    sizes: dict[str, tuple[int, int]] = {}
    for each in runs:
        frame = each.store.read("predictions", each.run_id, class_id, columns=["image_id", "width", "height"]).dropna()
        sizes |= {row["image_id"]: (int(row["width"]), int(row["height"])) for row in records(frame)}
    number = {image_id: index for index, image_id in enumerate(image_ids)}
    networks = [
        _network_parts(each, class_id, frame, number, sizes, runs[0]) for each, frame in zip(runs, masks, strict=True)
    ]
    return ClassParts(class_id, image_ids, sizes, tuple(networks))


def moved(boxes: np.ndarray, sizes: Sequence[tuple[int, int]], source: Run[Any], goal: Run[Any]) -> np.ndarray:
    """Return boxes in pixels of one network's input in those of another's, cut at its edges, of at least two pixels.

    Parameters
    ----------
    boxes : x, y, w, h in pixels of the source
    sizes : width and height of the picture of each
    source, goal : runs of the networks
    """
    found = np.array(boxes, np.float64).reshape(-1, 4)
    first, second = source.classifier.preprocessing, goal.classifier.preprocessing
    if first.key() != second.key():
        for row, size in enumerate(sizes):
            come, go = first.geometry(*size), second.geometry(*size)
            original = (found[row, :2] - [come.offset_x, come.offset_y]) / [come.scale_x, come.scale_y]
            sides = found[row, 2:] / [come.scale_x, come.scale_y]
            found[row] = go.boxes(np.concatenate([original, sides])[None])[0]
    height, width = goal.size
    low = np.clip(found[:, :2], 0, [width - LEAST_PX, height - LEAST_PX])
    high = np.clip(found[:, :2] + found[:, 2:], low + LEAST_PX, [width, height])
    return np.hstack([low, high - low])


def _masks(run: Run[VisualSummaries], class_id: str) -> pd.DataFrame:
    columns = ["image_id", "kind", "rle", "area_frac", "prob_drop"]
    masks = run.store.read("masks", run.run_id, class_id, columns=columns)
    crisp = masks[(masks["kind"] == "sharp") & masks["rle"].notna()]
    return crisp.sort_values("image_id", ignore_index=True)


def _network_parts(  # noqa: PLR0913, PLR0917  a class, its masks, its pictures, and whose pixels are shared
    run: Run[VisualSummaries],
    class_id: str,
    masks: pd.DataFrame,
    number: Mapping[str, int],
    sizes: Mapping[str, tuple[int, int]],
    frame_of: Run[VisualSummaries],
) -> NetworkParts:
    wanted = [name for name in CLUSTER_COLUMNS if name in SCHEMAS["clusters"]]
    clusters = run.store.read("clusters", run.run_id, class_id, columns=wanted)
    accepted = clusters[clusters["accepted"].astype(bool)]
    known = accepted["distinct_part"] if "distinct_part" in accepted else pd.Series(dtype="Int64")
    is_distinct = bool(len(known)) and bool(known.notna().all())
    ids = (known if is_distinct else accepted["cluster_id"]).astype(int)
    part_of = dict(zip(accepted["cluster_id"].astype(int), ids, strict=True))
    part_ids = sorted(set(part_of.values()))
    regions = run.store.read("regions", run.run_id, class_id, columns=REGION_COLUMNS)
    shown = regions[regions["cluster_id"].isin(part_of) & regions["kept"].fillna(value=False).astype(bool)]
    shown = shown[shown["image_id"].isin(number)].sort_values("region_id", ignore_index=True)
    place = {part: index for index, part in enumerate(part_ids)}
    own = shown[BOX].to_numpy(np.float64)
    parts = Parts(
        part=np.array([place[part_of[int(cluster)]] for cluster in shown["cluster_id"]], int),
        image=np.array([number[image_id] for image_id in shown["image_id"]], int),
        boxes=moved(own, [sizes[image_id] for image_id in shown["image_id"]], run, frame_of),
        n_parts=len(part_ids),
    )
    return NetworkParts(
        run=run,
        part_ids=tuple(part_ids),
        clusters=tuple(tuple(sorted(c for c, part in part_of.items() if part == each)) for each in part_ids),
        is_distinct=is_distinct,
        parts=parts,
        own_boxes=own,
        likeness=shown["sim_exemplar"].fillna(0.0).to_numpy(np.float64),
        masks=masks,
    )
