"""How many summaries, and how many parts these lie on: per class and network, and on average."""

import pandas as pd

from xvcore.query.tables import Names, table
from xvcore.store import Store

METHOD = "visual-summaries"
"""In the column ``method`` of ``runs``."""


def summaries(store: Store, *, run_id: Names = None, model: Names = None, class_id: Names = None) -> pd.DataFrame:
    """Return the number of accepted summaries, a row a class (``class_name``), a column a network.

    A class without summaries counts 0; one that is not complete is missing (NA).

    Parameters
    ----------
    store : the store
    run_id, model, class_id : only of these; where two runs of one network know the same class, the columns are
        named by their run ids
    """
    return _wide(summary_counts(store, run_id=run_id, model=model, class_id=class_id), "n_summaries")


def parts(store: Store, *, run_id: Names = None, model: Names = None, class_id: Names = None) -> pd.DataFrame:
    """Return the number of distinct parts that the summaries lie on, as :func:`summaries` returns theirs.

    Missing (NA) too where the run did not look for parts. How sure the numbers are says the table ``part_counts``.
    """
    return _wide(summary_counts(store, run_id=run_id, model=model, class_id=class_id), "n_parts")


def mean_summaries(store: Store, *, run_id: Names = None, model: Names = None) -> pd.DataFrame:
    """Return mean and standard deviation (n - 1) of the number of summaries a class, and the classes, per network."""
    counts = summary_counts(store, run_id=run_id, model=model).groupby("network")["n_summaries"]
    return pd.DataFrame({"mean": counts.mean(), "std": counts.std(), "n_classes": counts.size()})


def summary_counts(store: Store, *, run_id: Names = None, model: Names = None, class_id: Names = None) -> pd.DataFrame:
    """Return a row a complete class and run: run_id, model, class_id, class_name, network, n_summaries, n_parts.

    Runs of other methods have no summaries to count and do not appear. ``n_parts`` is missing where a run did not tell
    on which part its summaries lie.
    """
    keys = {"run_id": run_id, "model": model, "class_id": class_id}
    columns = ["run_id", "model", "class_id", "class_name"]
    classes = table(store, "class_runs", filters={"status": "complete"}, columns=columns, **keys)
    runs = table(store, "runs", columns=["run_id", "method"])
    of_others = set(runs["run_id"][runs["method"] != METHOD])
    classes = classes[~classes["run_id"].isin(of_others)].reset_index(drop=True)
    classes["class_name"] = classes["class_name"].fillna(classes["class_id"])
    columns = ["run_id", "class_id", "distinct_part"]
    accepted = table(store, "clusters", filters={"accepted": True}, columns=columns, **keys)
    groups = accepted.groupby(["run_id", "class_id"])["distinct_part"]
    numbers = pd.DataFrame({"n_summaries": groups.size(), "n_parts": groups.nunique(), "n_known": groups.count()})
    found = classes.merge(numbers.reset_index(), on=["run_id", "class_id"], how="left")
    found[["n_summaries", "n_parts", "n_known"]] = (
        found[["n_summaries", "n_parts", "n_known"]].fillna(0).astype("int64")
    )
    found["n_parts"] = found["n_parts"].astype("Int64").where(found["n_known"] == found["n_summaries"])
    found = found.drop(columns="n_known")
    twice = set(found["model"][found.duplicated(["model", "class_id"])])
    found["network"] = found["run_id"].where(found["model"].isin(twice), found["model"])
    return found


def _wide(counts: pd.DataFrame, column: str) -> pd.DataFrame:
    index = ["class_id", "class_name"]
    wide = counts.pivot_table(index=index, columns="network", values=column, aggfunc=lambda each: each.sum(min_count=1))
    return wide.astype("Int64").reset_index("class_id", drop=True).rename_axis(columns=None)
