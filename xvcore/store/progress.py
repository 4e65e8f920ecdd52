"""How far a run came, from its row and the records of its classes."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from xvcore.store.schema import SCHEMAS

_ENDS = SCHEMAS["class_runs"]["status"].choices
_OF_RUN = ("run_id", "model", "dataset", "split", "method", "status", "published")
COLUMNS = [*_OF_RUN, *(f"n_{end}" for end in _ENDS), "n_pending", "n_summaries", "seconds"]
"""Of a row of ``Store.status``."""


def progress(run: Mapping[Hashable, Any], classes: pd.DataFrame) -> dict[str, Any]:
    """Return how many classes of a run are in which state; pending are those asked for that have not begun.

    Parameters
    ----------
    run : its row of ``runs``
    classes : its rows of ``class_runs``
    """
    asked = [] if run["class_ids"] is None else list(run["class_ids"])
    return {
        **{name: run[name] for name in _OF_RUN},
        **{f"n_{end}": int((classes["status"] == end).sum()) for end in _ENDS},
        "n_pending": len(set(asked) - set(classes["class_id"])),
        "n_summaries": int(classes["n_summaries"].fillna(0).sum()),
        "seconds": round(float(classes["seconds"].sum()), 1),
    }
