"""Spatial sensitivity: where networks depend on the images, and whether they depend on the same places."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pandas as pd

from xvcore.analyses.analysis import Analysis, Figure, MapOver, Results, analyses, image_by_image
from xvcore.analyses.questions.figures import Frame, Series, line_chart
from xvcore.analyses.questions.picture_grid import Cell, coloured, picture_grid
from xvcore.analyses.questions.scores import Sample
from xvcore.analyses.questions.spatial_sensitivity import SpatialSensitivity, agreement, mean_sensitivity
from xvcore.report.findings import Finding, mean
from xvcore.report.wording import decimal, plural
from xvcore.runs.run import Run
from xvcore.runs.settings import ClassSettings
from xvcore.store.encode import picture

COLUMNS = ["model", "image_id", "y", "x", "logit_drop", "prob_drop"]
JOINED = ["model_a", "model_b", "class_id", "image_id", "n_places", "correlation"]


@dataclass(frozen=True)
class SensitivityOfClasses(SpatialSensitivity, ClassSettings):
    """What the score loses when a square is removed, place by place, and whether networks agree on the places."""

    method: ClassVar[str] = "spatial_sensitivity"
    version: ClassVar[int] = 1


def rows(run: Run[SensitivityOfClasses], sample: Sample, _class_id: str) -> pd.DataFrame:
    """Return the losses of some images at every place."""
    return run.settings([run.classifier], sample, batch_size=run.spec.batch_size)


def maps(rows: pd.DataFrame) -> Iterator[MapOver]:
    """Return what removing a square at each place takes from the logit."""
    for image_id, of_image in rows.groupby("image_id", sort=False):
        grid = of_image.pivot(index="y", columns="x", values="logit_drop")
        values, size = grid.to_numpy(float), float(of_image["size_px"].iloc[0])
        (x, step_x), (y, step_y) = (_first(edges.to_numpy(float), size) for edges in (grid.columns, grid.index))
        box = (x, y, step_x * values.shape[1], step_y * values.shape[0])
        title, words = "Logit lost by removing a square around the place", f"{decimal(float(values.max()))} at most"
        yield MapOver(str(image_id), title, values, box, words)


def _first(edges: np.ndarray, size: float) -> tuple[float, float]:
    """Return where the first cell begins whose middle is that of a square, and the side of the cells, px."""
    step = float(edges[1] - edges[0]) if len(edges) > 1 else size
    return float(edges[0]) + (size - step) / 2, step


def join(results: Results) -> Mapping[str, pd.DataFrame]:
    """Return how alike each pair of networks ranks the places of each image."""
    found = [pd.DataFrame(columns=JOINED)]
    for class_id in results.class_ids if len(results.runs) > 1 else ():
        read = [run.store.read("spatial_sensitivity", run.run_id, class_id, columns=COLUMNS) for run in results.runs]
        found.append(agreement(pd.concat(read)).assign(class_id=class_id))
    return {"spatial_agreement": pd.concat(found[1:] or found, ignore_index=True)}


def figures(results: Results) -> Iterator[Figure]:
    """Draw the mean loss by place, a map for each network, and how far networks agree, a curve for each pair."""
    title = "Mean loss of the score by place of the removed square"
    yield Figure("places", title, partial(_maps, results, title))
    if len(results.runs) > 1:
        yield Figure("agreement", "Agreement of networks on the places", partial(_agreement, results))


def findings(results: Results) -> Iterator[Finding]:
    """Say of each network whether the middle counts for more than the border, and of each two whether they agree."""
    for run in results.runs:
        model, differences = run.classifier.name, []
        for _, rows in results.by_class(run, "spatial_sensitivity", COLUMNS):
            for _, image in rows.groupby("image_id"):
                grid = image.pivot(index="y", columns="x", values="logit_drop").to_numpy(float)
                border = np.ones(grid.shape, bool)
                border[1:-1, 1:-1] = False
                if not border.all():
                    differences.append(grid[~border].mean() - grid[border].mean())
        if not differences:
            continue
        found = mean(differences)
        told = Finding.of(model, "loss inside minus loss at the border, logits", found, 0.0)
        side = "inside the image than at its border" if found.value > 0 else "at the border of the image than inside"
        how = f"A removed square costs {model} more {side}"
        how = how if told.holds else f"{model} is not seen to depend more on the middle of the image or on its border"
        yield told.saying(f"{how}: a difference of {found.words} logits ({plural(found.n, 'image')}).")
    pairs = results.made["spatial_agreement"]
    for (a, b), rows in pairs.groupby(["model_a", "model_b"], sort=False):
        found = mean(rows["correlation"].to_numpy(float))
        told = Finding.of(f"{a} + {b}", "rank correlation of the losses by place", found, 0.0)
        is_alike = told.holds and found.value > 0
        how = "agree on the places that count" if is_alike else "are not seen to agree on the places that count"
        said = f"{a} and {b} {how}: mean rank correlation {found.words} ({plural(found.n, 'image')})."
        yield told.saying(said)


def _maps(results: Results, title: str) -> str:
    means = mean_sensitivity(results.read("spatial_sensitivity", COLUMNS))
    cells = []
    for model in results.models:
        grid = means[means["model"] == model].pivot(index="y", columns="x", values="logit_drop").to_numpy(float)
        caption = f"loss {grid.min():.2f} … {grid.max():.2f} logits"
        cells.append(Cell(picture(coloured(grid), "png")["bytes"], (model, caption), is_map=True))
    return picture_grid(title, (), [cells[start : start + 4] for start in range(0, len(cells), 4)])


def _agreement(results: Results) -> str:
    table = results.made["spatial_agreement"]
    series = []
    for (a, b), pairs in table.groupby(["model_a", "model_b"]):
        values = np.sort(pairs["correlation"].dropna().to_numpy(float))[::-1]
        share = 100 * (np.arange(len(values)) + 0.5) / max(len(values), 1)
        series.append(Series(f"{a}, {b}", share, values))
    frame = Frame(
        "Agreement of networks on the places", "Images, most alike first (%)", "Rank correlation of the losses"
    )
    return line_chart(series, frame)


analyses.register("spatial_sensitivity")(
    Analysis(
        SensitivityOfClasses,
        (image_by_image("spatial_sensitivity", rows),),
        figures,
        join,
        ("spatial_agreement",),
        findings,
        maps,
    )
)
