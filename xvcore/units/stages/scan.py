"""Stage *scan*: what every unit responds to most; images → unit_sums, and of all classes units, unit_top."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from xvcore.errors import XvError
from xvcore.ops.taps import UnitLayer
from xvcore.runs.images import as_bytes, batches, image_numbers, passed_images, pictures, records
from xvcore.runs.run import Progress, Run
from xvcore.runs.summaries import keep
from xvcore.store.encode import picture
from xvcore.units.method.deconvnet import cut
from xvcore.units.method.top_activations import UnitTops
from xvcore.units.settings import TopUnits
from xvcore.units.stages.rankings import layers_of, ranked

IMAGES_IN_MEMORY = 2048
"""Decoded pictures kept while projections are made."""


def scan(run: Run[TopUnits], class_id: str, progress: Progress | None = None) -> int:
    """Rank the images of a class for every unit, add them to ``unit_sums``; return the images."""
    image_ids = passed_images(run, class_id)
    layers = layers_of(run)
    tops = UnitTops.empty(layers, run.settings.top.kept, run.classifier.device)
    numbers = image_numbers(run, class_id)
    n_done = 0
    for batch in batches(run, class_id, image_ids) if image_ids else ():
        images = batch.images.to(run.classifier.device)
        of_batch = torch.tensor([numbers[each] for each in batch.image_ids])
        tops = run.settings.top.of_batch(run.classifier, images, of_batch, tops)
        n_done += len(images)
        if progress:
            progress(n_done, len(image_ids))
    keep(run, class_id, tops)
    return n_done


def gather_units(run: Run[TopUnits]) -> None:
    """Merge the rankings of the finished classes into ``units`` and ``unit_top``, one part a layer.

    A layer whose ranking has not changed since it was written is left as it is: projections take far longer than the
    scan, and a killed run goes on with the next layer.
    """
    found = ranked(run)
    if found is None:
        return
    tops, images = found
    units = tops.units([class_id for class_id, _ in images], shown=run.settings.top.shown)
    top = tops.top(
        [str(number) for number in range(len(images))],
        first=run.settings.top.shown if run.settings.shown_only else None,
    )
    pixels = _Pixels(run)
    for layer in tops.layers:
        keys = {"run_id": run.run_id, "model": run.classifier.name}
        of_layer = top[top["layer"] == layer.name].reset_index(drop=True)
        seen = [images[int(number)] for number in of_layer["image_id"]]
        of_layer["image_class_id"], of_layer["image_id"] = zip(*seen, strict=True) if seen else ((), ())
        if not _is_written(run, layer, of_layer):
            rows = _with_pictures(run, layer, of_layer, pixels)
            run.store.write("unit_top", run.run_id, layer.name, [{**keys, **row} for row in rows])
        rows = records(units[units["layer"] == layer.name])
        run.store.write("units", run.run_id, layer.name, [{**keys, **row} for row in rows])


def _is_written(run: Run[TopUnits], layer: UnitLayer, ranking: pd.DataFrame) -> bool:
    if not run.store.has("unit_top", run.run_id, layer.name):
        return False
    columns = ["unit", "position", "image_id", "activation", "map_y", "map_x"]
    before = run.store.read("unit_top", run.run_id, layer.name, columns=columns)
    return len(before) == len(ranking) and all(
        np.array_equal(before[name].to_numpy(), ranking[name].to_numpy()) for name in columns
    )


def _with_pictures(
    run: Run[TopUnits], layer: UnitLayer, ranking: pd.DataFrame, pixels: "_Pixels"
) -> list[dict[str, Any]]:
    """Return the rows of a layer with crop and projection of those that are shown; neighbours share their images."""
    rows = records(ranking)
    error = _why_not(run)
    wanted = [
        row
        for row in rows
        if row["position"] <= run.settings.top.shown
        and (run.settings.units_shown is None or row["unit"] < run.settings.units_shown)
    ]
    wanted.sort(key=lambda row: (row["image_class_id"], row["image_id"], row["unit"]))
    size = 4 * run.spec.batch_size
    for start in range(0, len(wanted), size):
        chunk = wanted[start : start + size]
        images = pixels([(row["image_class_id"], row["image_id"]) for row in chunk]).to(run.classifier.device)
        y, x = (np.array([row[name] for row in chunk]) for name in ("map_y", "map_x"))
        boxes = torch.from_numpy(layer.field.views(y, x))
        for row, crop in zip(chunk, as_bytes(cut(images, boxes)), strict=True):
            row["crop"] = picture(crop)
        if error is not None:
            for row in chunk:
                row["error"] = error
            continue
        seeds = torch.tensor([[row["unit"], row["map_y"], row["map_x"]] for row in chunk])
        found = run.settings.deconvnet.project(run.classifier, layer, images, seeds)
        contrast = run.settings.contrast
        scales = found.scales_at(contrast).tolist()
        for row, shown, scale in zip(chunk, as_bytes(found.shown(contrast)), scales, strict=True):
            row["projection"], row["scale"] = picture(shown, "png"), scale
    return rows


def _why_not(run: Run[TopUnits]) -> str | None:
    """Return why the network has no projections, None where it has."""
    try:
        run.settings.deconvnet.check_fits(run.classifier)
    except XvError as error:
        return str(error)
    return None


class _Pixels:
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
            for image_id, image in zip(image_ids, as_bytes(pictures(self._run, class_id, image_ids)), strict=True):
                self._kept[class_id, image_id] = image
        found = np.stack([self._kept[each] for each in wanted])
        while len(self._kept) > IMAGES_IN_MEMORY:
            self._kept.popitem(last=False)
        return torch.from_numpy(found).movedim(-1, 1).float() / 255
