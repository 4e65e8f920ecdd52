"""Tables of a store and of an export as rows that can be compared."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xvcore.export.content import Content
from xvcore.store import SCHEMAS, Store

Rows = dict[tuple[Any, ...], dict[str, Any]]


def of_store(store: Store) -> dict[str, Rows]:
    """Every row of a store by table and by what tells it apart; a cell that is missing is left out."""
    content = Content(store, None, lambda *_: None)
    return {
        schema.name: keyed(schema.name, pa.concat_tables(content.rows(schema)).to_pylist()) for schema in content.tables
    }


def keyed(name: str, rows: list[dict[str, Any]]) -> Rows:
    """Return rows by their grain."""
    found = {tuple(row[key] for key in SCHEMAS[name].grain): present(row) for row in rows}
    assert len(found) == len(rows)
    return found


def present(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def beside(folder: Path) -> dict[str, Rows]:
    """The rows of the tables beside what the format holds."""
    return {
        path.stem: keyed(path.stem, pq.read_table(path).to_pylist()) for path in (folder / "beside").glob("*.parquet")
    }


def joined(one: dict[str, Rows], other: dict[str, Rows]) -> dict[str, Rows]:
    """Put columns of the same row together."""
    return {
        name: {
            key: {**one.get(name, {}).get(key, {}), **other.get(name, {}).get(key, {})}
            for key in {*one.get(name, {}), *other.get(name, {})}
        }
        for name in {*one, *other}
    }
