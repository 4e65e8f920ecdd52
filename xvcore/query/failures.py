"""What failed or is missing."""

import pandas as pd

from xvcore.query.tables import table
from xvcore.store import Store

COLUMNS = ["run_id", "model", "dataset", "class_id", "class_name", "status", "error"]


def failures(store: Store, *, run_id: str | None = None) -> pd.DataFrame:
    """Return a row for each class asked for that is not complete: failed, skipped, running, or ``missing``.

    Parameters
    ----------
    store : the store
    run_id : only of this run

    Returns
    -------
    DataFrame with the columns run_id, model, dataset, class_id, class_name, status, error

    Examples
    --------
    >>> from xvcore.query import failures
    >>> from xvcore.store import Store
    >>> failures(Store("store"))[["class_id", "status"]].values.tolist()
    [['broken', 'failed'], ['waiting', 'missing']]
    """
    runs = table(store, "runs", run_id=run_id, columns=["run_id", "model", "dataset", "class_ids"])
    asked = runs.explode("class_ids").rename(columns={"class_ids": "class_id"}).dropna(subset="class_id")
    records = table(store, "class_runs", run_id=run_id, columns=["run_id", "class_id", "class_name", "status", "error"])
    dataset = runs[["run_id", "model", "dataset"]]
    known = table(store, "classes", columns=["dataset", "class_id", "class_name"])
    recorded = records.merge(dataset, on="run_id")
    missing = asked.merge(records[["run_id", "class_id"]], on=["run_id", "class_id"], how="left", indicator=True)
    missing = missing[missing["_merge"] == "left_only"].merge(known, on=["dataset", "class_id"], how="left")
    missing = missing.assign(status="missing", error=None)
    both = pd.concat([recorded[recorded["status"] != "complete"][COLUMNS], missing[COLUMNS]]).astype(object)
    return both.where(both.notna(), None).sort_values(["run_id", "class_id"], ignore_index=True)
