"""Stage *locate_parts*: which annotated part each summary covers; regions, clusters, annotations → summary_parts."""

from typing import Any

import numpy as np
import pandas as pd

from xvcore.analyses.parts import PartShares
from xvcore.stages.images import records
from xvcore.stages.run import Progress, Run
from xvcore.stages.settings import Settings


def locate_parts(run: Run[Settings], class_id: str, _progress: Progress | None = None) -> int:
    """Write one row of ``summary_parts`` per accepted summary and return their number; none without annotations."""
    annotated = parts_in_input(run, class_id)
    clusters = run.store.read("clusters", run.run_id, class_id)
    regions = run.store.read("regions", run.run_id, class_id)
    rows: list[dict[str, Any]] = []
    if len(annotated) and len(clusters) and clusters["accepted"].any():
        accepted = set(clusters.loc[clusters["accepted"].astype(bool), "cluster_id"])
        shown = regions[regions["cluster_id"].isin(accepted) & regions["kept"].astype(bool)]
        found = PartShares(seed=run.settings.seed)(shown, annotated, run.size)
        rows = [{**run.keys(class_id), **_plain(row)} for row in found.to_dict("records")]
    run.store.write("summary_parts", run.run_id, class_id, rows)
    return len(rows)


def parts_in_input(run: Run[Settings], class_id: str) -> pd.DataFrame:
    """Return the annotated parts of a class in pixels of the network's input: image_id, part, x, y, w, h, visible.

    A part whose middle the crop cut off is not visible.
    """
    parts = pd.DataFrame(
        [
            (part.image_id, part.part, part.x, part.y, part.w, part.h, part.visible, part.decisive)
            for part in run.dataset.parts(class_id)
        ],
        columns=["image_id", "part", "x", "y", "w", "h", "visible", "decisive"],
    )
    sizes = run.store.read("predictions", run.run_id, class_id, columns=["image_id", "width", "height"]).dropna()
    parts = parts[parts["image_id"].isin(set(sizes["image_id"]))].reset_index(drop=True)
    height, width = run.size
    size_of = {row["image_id"]: (int(row["width"]), int(row["height"])) for row in records(sizes)}
    for image_id, rows in parts.groupby("image_id").groups.items():
        geometry = run.classifier.preprocessing.geometry(*size_of[str(image_id)])
        boxes = geometry.boxes(parts.loc[rows, ["x", "y", "w", "h"]].to_numpy(np.float64))
        middle = boxes[:, :2] + boxes[:, 2:] / 2
        is_inside = (middle >= 0).all(axis=1) & (middle < [width, height]).all(axis=1)
        parts.loc[rows, ["x", "y", "w", "h"]] = boxes
        parts.loc[rows, "visible"] = parts.loc[rows, "visible"].to_numpy(bool) & is_inside
    return parts


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): None if pd.isna(value) else value for name, value in row.items()}
