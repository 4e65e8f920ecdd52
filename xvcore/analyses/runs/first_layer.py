"""First layers: which filters are dead, duplicates, aliasing or dominating, and what frequencies they see."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses, image_by_image
from xvcore.analyses.questions.figures import Frame, Series, scatter_chart
from xvcore.analyses.questions.first_layer import FirstLayers, filters_of
from xvcore.analyses.questions.picture_grid import Cell, picture_grid
from xvcore.analyses.questions.scores import Sample
from xvcore.report.findings import Finding
from xvcore.runs.run import Run
from xvcore.runs.settings import ImageSettings
from xvcore.store.encode import picture

FILTERS_IN_A_ROW = 16


@dataclass(frozen=True)
class FirstLayersOverClasses(FirstLayers, ImageSettings):
    """Dead, duplicate, aliasing and dominating filters of the first convolutions (Zeiler & Fergus 2014)."""

    method: ClassVar[str] = "first_layer"
    version: ClassVar[int] = 2


def rows(run: Run[FirstLayersOverClasses], sample: Sample, _class_id: str) -> pd.DataFrame:
    """Return the highest activation of each unit in some images, a row per image and layer."""
    found = run.settings.highest(run.classifier, sample.images, batch_size=run.spec.batch_size)
    return pd.DataFrame(
        [
            {"image_id": image_id, "layer": layer, "act_max": values[index]}
            for layer, values in found.items()
            for index, image_id in enumerate(sample.image_ids)
        ]
    )


def join(results: Results) -> Mapping[str, pd.DataFrame]:
    """Return the filters of one network; several take over what was found for each alone."""
    if len(results.runs) > 1:
        return {}
    (run,) = results.runs
    highest: dict[str, np.ndarray] = {}
    for _, table in results.by_class(run, "first_layer_scans", ["layer", "act_max"]):
        for layer, of_layer in table.groupby("layer", sort=False):
            parts = [*of_layer["act_max"], *([highest[str(layer)]] if layer in highest else [])]
            highest[str(layer)] = np.max(np.stack(parts), axis=0)
    found = results.settings.of_highest(run.classifier, highest)
    return {"first_layer": found.assign(model=run.classifier.name)}


def figures(results: Results) -> Iterator[Figure]:
    """Draw norm by frequency, a point for each filter, and the filters of the first layer of each network."""
    yield Figure("frequencies", "Norm and frequency of the first filters", partial(_frequencies, results))
    for run in results.runs:
        title = f"First filters: {run.classifier.name}"
        yield Figure(f"filters {run.classifier.name}", title, partial(_filters, results, run, title))


def findings(results: Results) -> Iterator[Finding]:
    """Count what ails the filters of each network's first convolution; these are all its filters, no sample."""
    table = results.joined("first_layer")
    for (model, layer), rows in table.groupby(["model", "layer"], sort=False):
        ill = {word: int(rows[f"is_{word}"].sum()) for word in ("dead", "duplicate", "aliasing", "dominant")}
        told = ", ".join(f"{number} {word}" for word, number in ill.items() if number) or "none of these"
        sentence = (
            f"Of the {len(rows)} filters of {layer} in {model} are dead, duplicate, aliasing or dominant: {told}."
        )
        n_ill = int(rows[[f"is_{word}" for word in ill]].any(axis=1).sum())
        yield Finding(str(model), sentence, "share of filters with a fault", n_ill / len(rows), n=len(rows))


def _frequencies(results: Results) -> str:
    table = results.joined("first_layer")
    series = []
    for (model, layer), filters in table.groupby(["model", "layer"], sort=False):
        x, y = filters[["frequency", "norm_relative"]].to_numpy(float).T
        labels = [f"{layer} {unit}" for unit in filters["unit"]]
        series.append(Series(f"{model} {layer}", x, y, labels=labels))
    title, x_label = "Norm and frequency of the first filters", "Centre of the spectrum (cycles per pixel)"
    return scatter_chart(series, Frame(title, x_label, "Norm, relative to the layer's usual one", x_range=(0, 0.72)))


def _filters(results: Results, run: Run[FirstLayersOverClasses], title: str) -> str:
    """Draw the filters that look at colours; each in its own contrast, zero is grey."""
    table = results.joined("first_layer")
    layer = str(table.loc[table["model"] == run.classifier.name, "layer"].iloc[0])
    filters = filters_of(run.classifier, [layer])[layer].filters.float().cpu()
    if filters.shape[1] != 3:
        return picture_grid(title, (), ())
    weights = run.classifier.preprocessing.in_order(filters).numpy()
    scale = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    shown = (127.5 + 127.5 * weights / np.where(scale > 0, scale, 1)).round().astype(np.uint8).transpose(0, 2, 3, 1)
    padded = np.pad(shown, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=255)
    n_rows = -(-len(padded) // FILTERS_IN_A_ROW)
    side = padded.shape[1]
    sheet = np.full((n_rows * FILTERS_IN_A_ROW, side, side, 3), 255, np.uint8)
    sheet[: len(padded)] = padded
    sheet = sheet.reshape(n_rows, FILTERS_IN_A_ROW, side, side, 3).transpose(0, 2, 1, 3, 4)
    image = np.ascontiguousarray(sheet.reshape(n_rows * side, FILTERS_IN_A_ROW * side, 3))
    cell = Cell(picture(image, "png")["bytes"], is_map=True)
    return picture_grid(title, (), [[cell]], side=(700, 700 * n_rows // FILTERS_IN_A_ROW))


analyses.register("first_layer")(
    Analysis(
        FirstLayersOverClasses, (image_by_image("first_layer_scans", rows),), figures, join, ("first_layer",), findings
    )
)
