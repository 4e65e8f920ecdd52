"""Stage *scan*: what every unit responds to most; images → unit_sums, and of all classes units, unit_top."""

from functools import partial

import numpy as np
import pandas as pd
import torch

from xvcore.ops.taps import UnitLayer
from xvcore.runs.images import batches, image_numbers, passed_images, records
from xvcore.runs.joining import report
from xvcore.runs.run import Progress, Run
from xvcore.runs.summaries import keep
from xvcore.units.method.top_activations import UnitTops
from xvcore.units.settings import TopUnits
from xvcore.units.stages.project import Pixels, n_shown, with_pictures
from xvcore.units.stages.rankings import layers_of, ranked


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
    pixels = Pixels(run)
    made, total = 0, n_shown(run.settings, top)
    for layer in tops.layers:
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


def _is_written(run: Run[TopUnits], layer: UnitLayer, ranking: pd.DataFrame) -> bool:
    if not run.store.has("unit_top", run.run_id, layer.name):
        return False
    columns = ["unit", "position", "image_id", "activation", "map_y", "map_x"]
    before = run.store.read("unit_top", run.run_id, layer.name, columns=columns)
    return len(before) == len(ranking) and all(
        np.array_equal(before[name].to_numpy(), ranking[name].to_numpy()) for name in columns
    )
