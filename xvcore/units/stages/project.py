"""Pictures of the strongest activations of a layer: what of the image the unit sees, and its projection."""

import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from xvcore.errors import XvError
from xvcore.ops.taps import UnitLayer
from xvcore.runs.images import as_bytes, batches
from xvcore.runs.run import Run
from xvcore.runs.thumbnails import FINE_PX
from xvcore.store import SCHEMAS
from xvcore.store.encode import Kind, picture
from xvcore.types import Images
from xvcore.units.method.deconvnet import cut
from xvcore.units.settings import TopUnits

PIXEL_BYTES = 2**27
"""Most bytes of decoded pictures kept while projections are made: 891 of 224 x 224 pixels."""
MORE_OF_SMALL = 8
"""Most batches of rows that are made together where units see little of the image; they are of one batch of images."""
MADE = ("crop", "projection", "scale", "error")
"""Columns of ``unit_top`` that are filled in where a row is shown."""
Encoded = dict[str, Any]


def with_pictures(
    run: Run[TopUnits],
    layer: UnitLayer,
    ranking: pa.Table,
    pixels: "Pixels",
    progress: Callable[[int], None] | None = None,
) -> pa.Table:
    """Return the rows of a layer with crop and projection of those that are shown.

    Rows of one image come one after the other: they share its pixels and its forward pass, and those of one place its
    crop. Pictures are encoded in threads while the next are made.

    Parameters
    ----------
    run : whose settings say which are shown, and how large
    layer : of the ranking
    ranking : rows of ``unit_top``
    pixels : gives the images
    progress : called with the number of rows whose pictures are made
    """
    shown = np.flatnonzero(_are_shown(run.settings, ranking))
    wanted: list[dict[str, Any]] = ranking.take(pa.array(shown)).to_pylist() if len(shown) else []
    made = dict(zip(shown.tolist(), wanted, strict=True))
    wanted.sort(key=lambda row: (row["image_class_id"], row["image_id"], row["unit"]))
    if wanted:
        _make(run, layer, wanted, pixels, progress)
    for column in map(SCHEMAS["unit_top"].__getitem__, MADE):
        cells = pa.nulls(len(ranking), column.type)
        if made:
            values = [made[number].pop(column.name, None) if number in made else None for number in range(len(ranking))]
            cells = pa.array(values, column.type)
        ranking = ranking.append_column(column.name, cells)
    return ranking


def _make(
    run: Run[TopUnits],
    layer: UnitLayer,
    wanted: Sequence[dict[str, Any]],
    pixels: "Pixels",
    progress: Callable[[int], None] | None,
) -> None:
    """Make the pictures of rows, and note them there."""
    error = _why_not(run)
    most_px = run.settings.picture_px
    crops: dict[tuple[str, str, int, int], Future[Encoded]] = {}
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="encode") as pool:
        encoding: list[tuple[dict[str, Any], str, Future[Encoded]]] = []
        n_made = 0
        batch = run.spec.batch_size
        most = batch * max(min(math.prod(run.size) // math.prod(layer.field.size), MORE_OF_SMALL), 1)
        for chunk in _chunks(wanted, most, batch):
            keys = [(row["image_class_id"], row["image_id"], row["map_y"], row["map_x"]) for row in chunk]
            fresh = {key: number for number, key in enumerate(keys) if key not in crops}
            images, image_of = _images_of(run, chunk, pixels)
            cuts = _crops(layer, [chunk[number] for number in fresh.values()], images[image_of[[*fresh.values()]]])
            projections = _projections(run, layer, chunk, images, image_of) if error is None else ()
            _take(encoding)
            for key, cut_out in zip(fresh, cuts, strict=True):
                crops[key] = pool.submit(_encoded, cut_out, most_px, "jpeg")
            encoding = [(row, "crop", crops[key]) for row, key in zip(chunk, keys, strict=True)]
            for row, array in zip(chunk, projections, strict=False):  # which there may be none of
                encoding.append((row, "projection", pool.submit(_encoded, array, most_px, "png")))
            if error is not None:
                for row in chunk:
                    row["error"] = error
            n_made += len(chunk)
            if progress:
                progress(n_made)
        _take(encoding)


def _chunks(rows: Sequence[dict[str, Any]], most: int, most_images: int) -> Iterator[Sequence[dict[str, Any]]]:
    """Yield the rows that are made together, in their order: so many, of so many images."""
    start, images = 0, set[tuple[str, str]]()
    for end, row in enumerate(rows):
        image = row["image_class_id"], row["image_id"]
        if end - start == most or (len(images) == most_images and image not in images):
            yield rows[start:end]
            start, images = end, set()
        images.add(image)
    if rows:
        yield rows[start:]


def n_shown(settings: TopUnits, ranking: pa.Table) -> int:
    """Return how many rows of a ranking have pictures."""
    return int(_are_shown(settings, ranking).sum())


def _are_shown(settings: TopUnits, ranking: pa.Table) -> np.ndarray:
    found: np.ndarray = ranking["position"].to_numpy() <= settings.top.shown
    if settings.units_shown is not None:
        found &= ranking["unit"].to_numpy() < settings.units_shown
    return found


def _images_of(
    run: Run[TopUnits], chunk: Sequence[dict[str, Any]], pixels: "Pixels"
) -> tuple[Images, Int[Tensor, " rows"]]:
    """Return the images of some rows, and which of them is each row's."""
    keys = [(row["image_class_id"], row["image_id"]) for row in chunk]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    device = run.classifier.device
    return pixels(list(numbers)).to(device), torch.tensor([numbers[key] for key in keys], device=device)


def _crops(layer: UnitLayer, rows: Sequence[dict[str, Any]], images: Images) -> Sequence[np.ndarray]:
    """Return what the units of rows see of an image each, as bytes."""
    if not rows:
        return ()
    y, x = (np.array([row[name] for row in rows]) for name in ("map_y", "map_x"))
    return list(as_bytes(cut(images, torch.from_numpy(layer.field.views(y, x)))))


def _projections(
    run: Run[TopUnits],
    layer: UnitLayer,
    chunk: Sequence[dict[str, Any]],
    images: Images,
    image_of: Int[Tensor, " rows"],
) -> Sequence[np.ndarray]:
    """Return the projections of rows as bytes, and note the scale of each there."""
    seeds = torch.tensor([[row["unit"], row["map_y"], row["map_x"]] for row in chunk])
    found = run.settings.deconvnet.project(run.classifier, layer, images, seeds, image_of)
    contrast = run.settings.contrast
    scales = found.scales_at(contrast)
    for row, scale in zip(chunk, scales.tolist(), strict=True):
        row["scale"] = scale
    return list(as_bytes(found.shown(contrast, scales)))


def _take(encoding: Sequence[tuple[dict[str, Any], str, "Future[Encoded]"]]) -> None:
    for row, name, future in encoding:
        row[name] = future.result()


def _encoded(array: np.ndarray, most_px: int | None, kind: Kind) -> Encoded:
    """Return a picture as it is stored: exactly where pixels can be told apart, or where no size is asked for."""
    found = reduced(array, most_px)
    return picture(found, kind if most_px is None or max(found.shape[:2]) <= FINE_PX else "webp")


def reduced(array: np.ndarray, most_px: int | None) -> np.ndarray:
    """Return a picture (h, w, 3), 0 … 255, at most so many pixels a side, each the mean of those that it covers."""
    height, width = array.shape[:2]
    if most_px is None or max(height, width) <= most_px:
        return array
    scale = most_px / max(height, width)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BOX))


def _why_not(run: Run[TopUnits]) -> str | None:
    """Return why the network has no projections, None where it has."""
    try:
        run.settings.deconvnet.check_fits(run.classifier)
    except XvError as error:
        return str(error)
    return None


class Pixels:
    """Decoded pictures of a run by class and image id; those used last stay in memory."""

    def __init__(self, run: Run[TopUnits]) -> None:
        self._run = run
        self._kept: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()

    def __call__(self, wanted: Sequence[tuple[str, str]]) -> Tensor:
        """Return pictures (images, 3, height, width) in [0, 1]; one that is wanted twice is read once."""
        missing: dict[str, list[str]] = {}
        for class_id, image_id in dict.fromkeys(wanted):
            if (class_id, image_id) in self._kept:
                self._kept.move_to_end((class_id, image_id))
            else:
                missing.setdefault(class_id, []).append(image_id)
        for class_id, image_ids in missing.items():
            for batch in batches(self._run, class_id, image_ids):
                for image_id, image in zip(batch.image_ids, as_bytes(batch.images), strict=True):
                    self._kept[class_id, image_id] = image
        found = np.stack([self._kept[each] for each in wanted])
        while len(self._kept) > PIXEL_BYTES // found[0].nbytes:
            self._kept.popitem(last=False)
        return torch.from_numpy(found).movedim(-1, 1).float().div_(255)
