"""How far a run came, from its row and the records of its classes."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from xvcore.store.schema import SCHEMAS

_OF_RUN = ("run_id", "model", "dataset", "split", "method", "status", "published")


def columns() -> list[str]:
    """Return the columns of ``Store.status``."""
    ends, found = _of_classes()
    return [*_OF_RUN, *(f"n_{end}" for end in ends), "n_pending", *found, "seconds", "error"]


def progress(run: Mapping[Hashable, Any], classes: pd.DataFrame) -> dict[str, Any]:
    """Return how many classes of a run are in which state; pending are those asked for that have not begun.

    Parameters
    ----------
    run : its row of ``runs``
    classes : its rows of ``class_runs``
    """
    asked = [] if run["class_ids"] is None else list(run["class_ids"])
    ends, found = _of_classes()
    return {
        **{name: run[name] for name in _OF_RUN},
        **{f"n_{end}": int((classes["status"] == end).sum()) for end in ends},
        "n_pending": len(set(asked) - set(classes["class_id"])),
        **{name: int(classes[name].fillna(0).sum()) for name in found},
        "seconds": round(float(classes["seconds"].sum()), 1),
        "error": run["error"],
    }


def _of_classes() -> tuple[tuple[str, ...], list[str]]:
    """Return how classes end, and the counts of what families look for."""
    record = SCHEMAS["class_runs"]
    return record["status"].choices, [column.name for column in record.columns if column.role == "found"]
