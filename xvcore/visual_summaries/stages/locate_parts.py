"""Stage *locate_parts*: which annotated part each summary covers; regions, clusters, annotations → summary_parts."""

from typing import Any

import pandas as pd

from xvcore.ops.parts import PartShares
from xvcore.runs.parts import parts_in_input
from xvcore.runs.run import Progress, Run
from xvcore.runs.settings import Settings


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


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): None if pd.isna(value) else value for name, value in row.items()}
