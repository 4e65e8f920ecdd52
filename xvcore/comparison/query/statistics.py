"""What other families of the store say of the compared networks: evidence of patches, units of a class; or nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from xvcore.evidence.settings import PatchEvidence
from xvcore.query import table
from xvcore.store import Store
from xvcore.store.encode import map_array
from xvcore.units.settings import TopUnits

COLUMNS: Final = (
    "model", "class_id", "of_evidence", "n_evidence_images", "mean_logit", "positive_frac", "strongest_share",
    "strongest_chance", "of_units", "n_units", "n_class_units", "n_class_units_chance", "class_unit_share",
)  # fmt: skip
"""Of images: ``strongest_share`` is the share that the strongest tenth of an image's patches has of its evidence for
the class, mean, and ``strongest_chance`` that of patches which all say the same. Of units: ``n_units`` are the living
ones of all layers, ``n_class_units`` those of whose strongest images the class has most, ``n_class_units_chance`` as
many as each class had of equal shares, ``class_unit_share`` the share of the class among their strongest images, mean.
"""
STRONGEST: Final = 0.1


def other_runs(store: Store, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return for each of these runs the latest complete runs of evidence and of units on the same network and data.

    Parameters
    ----------
    store : the store
    run_ids : runs, of visual summaries say

    Returns
    -------
    run id by method, by run id; a method of which there is none is left out
    """
    rows = store.runs()
    rows = rows[rows["status"] == "complete"].sort_values(["created_at", "run_id"])
    known = {str(row["run_id"]): row for row in store.runs().to_dict("records")}
    found: dict[str, dict[str, str]] = {}
    for run_id in run_ids:
        found[run_id] = {}
        for method in (PatchEvidence.method, TopUnits.method):
            same = rows[rows["method"] == method]
            for name in ("model", "dataset", "split", "weights_sha256"):
                value = known[run_id][name]
                same = same[same[name].isna() if value is None else same[name] == value]
            if len(same):
                found[run_id][method] = str(same["run_id"].iloc[-1])
    return found


def class_statistics(store: Store, run_ids: Sequence[str], class_id: str) -> pd.DataFrame:
    """Return a row for each network with what evidence and units say of a class, see :data:`COLUMNS`.

    Parameters
    ----------
    store : the store
    run_ids : runs of the networks, of visual summaries say
    class_id : the class

    Raises
    ------
    StoreError
        A damaged file.
    """
    known, others = store.runs().set_index("run_id"), other_runs(store, run_ids)
    rows = [
        {
            "model": known.loc[run_id, "model"],
            "class_id": class_id,
            **_of_evidence(store, others[run_id].get(PatchEvidence.method), class_id),
            **_of_units(store, others[run_id].get(TopUnits.method), class_id),
        }
        for run_id in run_ids
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _of_evidence(store: Store, run_id: str | None, class_id: str) -> Mapping[str, Any]:
    if run_id is None:
        return {}
    columns = ["target_kind", "resolution", "evidence_map", "map_h", "map_w", "logit", "positive_frac"]
    rows = table(store, "evidence", run_id=run_id, class_id=class_id, columns=columns)
    rows = rows[(rows["target_kind"] == "label") & rows["evidence_map"].notna()]
    rows = rows[rows["resolution"] == ("decision" if (rows["resolution"] == "decision").any() else "full")]
    if not len(rows):
        return {}
    shares = [
        _strongest(map_array(cell, int(height), int(width)))
        for cell, height, width in zip(rows["evidence_map"], rows["map_h"], rows["map_w"], strict=True)
    ]
    known = [share for share, _ in shares if share is not None]
    return {
        "of_evidence": run_id,
        "n_evidence_images": len(rows),
        "mean_logit": float(rows["logit"].mean()),
        "positive_frac": float(rows["positive_frac"].mean()),
        "strongest_share": float(np.mean(known)) if known else None,
        "strongest_chance": float(np.mean([chance for _, chance in shares])),
    }


def _strongest(values: np.ndarray) -> tuple[float | None, float]:
    """Return the share that the strongest tenth of the patches has of the evidence for the class, and which tenth."""
    positive = np.sort(np.clip(values.ravel().astype(np.float64), 0, None))[::-1]
    n = math.ceil(STRONGEST * len(positive))
    total = positive.sum()
    return (float(positive[:n].sum() / total) if total > 0 else None), n / len(positive)


def _of_units(store: Store, run_id: str | None, class_id: str) -> Mapping[str, Any]:
    if run_id is None:
        return {}
    units = table(store, "units", run_id=run_id, columns=["dead", "top_class_id", "top_class_share"])
    records = table(store, "class_runs", run_id=run_id, columns=["class_id", "status"])
    looked = records.loc[records["status"] == "complete", "class_id"]
    living = units[~units["dead"].astype(bool)]
    of_class = living[living["top_class_id"] == class_id]
    told = int(living["top_class_id"].notna().sum())
    if not told or class_id not in set(looked):
        return {}
    return {
        "of_units": run_id,
        "n_units": len(living),
        "n_class_units": len(of_class),
        "n_class_units_chance": told / len(looked),
        "class_unit_share": float(of_class["top_class_share"].mean()) if len(of_class) else None,
    }
