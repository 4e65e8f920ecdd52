"""Rows of a run's tables: the part, which needs no look at other files; else what is published."""

from collections.abc import Sequence

import pandas as pd

from xvcore.query import table
from xvcore.report.chapters import Entry
from xvcore.store import SCHEMAS, Store


def class_rows(store: Store, entry: Entry, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a table's rows of a class and a network.

    Raises
    ------
    StoreError
        A damaged file.
    """
    return shard_rows(store, entry.network.run_id, name, entry.class_id, columns)


def shard_rows(store: Store, run_id: str, name: str, shard: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a table's rows of a run and one of its shards: of a class, or of a layer.

    Raises
    ------
    StoreError
        A damaged file.
    """
    if store.has(name, run_id, shard):
        return store.read(name, run_id, shard, columns)
    return table(store, name, run_id=run_id, filters={str(SCHEMAS[name].shard): shard}, columns=columns)
