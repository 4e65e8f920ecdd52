"""Stage *scan*: what every unit responds to most; images → unit_scans, and of all classes units, unit_top."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np
import pandas as pd
import torch

from xvcore.ops.taps import UnitLayer
from xvcore.runs.images import batches, image_numbers, passed_images, records
from xvcore.runs.joining import report
from xvcore.runs.run import Progress, Run
from xvcore.units.method.top_activations import NOBODY, UnitTops
from xvcore.units.settings import TopUnits
from xvcore.units.stages.project import Pixels, n_shown, with_pictures


def scan(run: Run[TopUnits], class_id: str, progress: Progress | None = None) -> int:
    """Rank the images of a class for every unit, write one row of ``unit_scans`` per layer; return the images."""
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
    rows = [{**run.keys(class_id), **row} for row in _scan_rows(tops)]
    run.store.write("unit_scans", run.run_id, class_id, rows)
    return n_done


def gather_units(run: Run[TopUnits]) -> None:
    """Merge the rankings of the finished classes into ``units`` and ``unit_top``, one part a layer.

    A layer whose ranking has not changed since it was written is left as it is: projections take far longer than the
    scan, and a killed run goes on with the next layer.
    """
    done = run.store.classes_of("unit_scans", run.run_id)
    layers = layers_of(run)
    if not done:
        return
    tops, images = _merged(run, done, layers)
    units = tops.units([class_id for class_id, _ in images], shown=run.settings.top.shown)
    top = tops.top(
        [str(number) for number in range(len(images))],
        first=run.settings.top.shown if run.settings.shown_only else None,
    )
    pixels = Pixels(run)
    made, total = 0, n_shown(run.settings, top)
    for layer in layers:
        keys = {"run_id": run.run_id, "model": run.classifier.name}
        of_layer = top[top["layer"] == layer.name].reset_index(drop=True)
        seen = [images[int(number)] for number in of_layer["image_id"]]
        of_layer["image_class_id"], of_layer["image_id"] = zip(*seen, strict=True) if seen else ((), ())
        before, made = made, made + n_shown(run.settings, of_layer)
        if not _is_written(run, layer, of_layer):
            rows = with_pictures(run, layer, of_layer, pixels, partial(_tell, before, total))
            run.store.write("unit_top", run.run_id, layer.name, [{**keys, **row} for row in rows])
        elif made > before:
            report(made, total)
        rows = records(units[units["layer"] == layer.name])
        run.store.write("units", run.run_id, layer.name, [{**keys, **row} for row in rows])


def _tell(before: int, total: int, n: int) -> None:
    report(before + n, total)


def layers_of(run: Run[TopUnits]) -> tuple[UnitLayer, ...]:
    """Return the layers that the settings name, all non-linearities where they name none."""
    return run.settings.top.layers(run.classifier, run.settings.layers or None)


def _scan_rows(tops: UnitTops) -> Iterator[dict[str, Any]]:
    arrays, start = tops.arrays(), 0
    for layer in tops.layers:
        rows = slice(start, start + layer.n_units)
        yield {
            "layer": layer.name,
            "n_units": layer.n_units,
            "n_images": int(arrays["n_images"]),
            "last_image": int(arrays["last_image"]),
            "activations": arrays["values"][rows].ravel(),
            **{name: arrays[name][rows].ravel() for name in ("images", "places", "sums", "n_invalid")},
        }
        start += layer.n_units


def _scanned(run: Run[TopUnits], class_id: str, layers: Sequence[UnitLayer]) -> UnitTops:
    rows = {row["layer"]: row for row in records(run.store.read("unit_scans", run.run_id, class_id))}
    ordered = [rows[layer.name] for layer in layers]

    def joined(name: str, dtype: type, *, is_ranking: bool) -> np.ndarray:
        values = np.concatenate([np.asarray(row[name], dtype=dtype) for row in ordered])
        return values.reshape(-1, run.settings.top.kept) if is_ranking else values

    return UnitTops.of_arrays(
        layers,
        {
            "values": joined("activations", np.float32, is_ranking=True),
            "images": joined("images", np.int64, is_ranking=True),
            "places": joined("places", np.int32, is_ranking=True),
            "sums": joined("sums", np.float64, is_ranking=False),
            "n_invalid": joined("n_invalid", np.int64, is_ranking=False),
            "n_images": ordered[0]["n_images"],
            "last_image": ordered[0]["last_image"],
        },
    )


def _merged(
    run: Run[TopUnits], class_ids: Sequence[str], layers: Sequence[UnitLayer]
) -> tuple[UnitTops, list[tuple[str, str]]]:
    """Return the ranking over all classes with images numbered from 0, and class and id of each image."""
    tops = reduce(UnitTops.merged, (_scanned(run, each, layers) for each in class_ids))
    numbered = sorted(
        (number, class_id, image_id)
        for class_id in class_ids
        for image_id, number in image_numbers(run, class_id).items()
    )
    known = torch.tensor([number for number, _, _ in numbered])
    dense = torch.searchsorted(known, tops.images.clamp_min(0)).where(tops.images != NOBODY, NOBODY)
    return replace(tops, images=dense), [(class_id, image_id) for _, class_id, image_id in numbered]


def _is_written(run: Run[TopUnits], layer: UnitLayer, ranking: pd.DataFrame) -> bool:
    if not run.store.has("unit_top", run.run_id, layer.name):
        return False
    columns = ["unit", "position", "image_id", "activation", "map_y", "map_x"]
    before = run.store.read("unit_top", run.run_id, layer.name, columns=columns)
    return len(before) == len(ranking) and all(
        np.array_equal(before[name].to_numpy(), ranking[name].to_numpy()) for name in columns
    )
