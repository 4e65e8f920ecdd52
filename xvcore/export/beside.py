"""What an export's own format cannot hold: tables as Parquet, and files that tables name."""

import dataclasses
from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from xvcore.errors import ExportError
from xvcore.export.content import Content
from xvcore.store import Table
from xvcore.store.parquet import footer, options

FOLDER = "beside"
"""Of the tables that hold what the format does not."""


def write_rest(content: Content, out: Path, held: Mapping[str, Set[str]]) -> dict[str, list[str]]:
    """Write what a format does not hold and return which columns these are, by table.

    Parameters
    ----------
    content : of the export
    out : folder of the export
    held : columns that the format holds, by table; the columns that identify a row are among them. Of a table without
        an entry all is written.
    """
    left: dict[str, list[str]] = {}
    for schema in content.tables:
        rest = [name for name in schema.names if name not in held.get(schema.name, frozenset())]
        if rest:
            names = rest if schema.name not in held else [*schema.grain, *rest]
            write_table(content, part_of(schema, names), out / FOLDER / f"{schema.name}.parquet")
            left[schema.name] = rest
    return left


def copy_files(content: Content, out: Path) -> tuple[list[str], list[str]]:
    """Copy the files of the store that its tables name, and return these and those that are not there any more.

    Raises
    ------
    ExportError
        A table names a file outside its store.
    """
    copied: list[str] = []
    lost: list[str] = []
    for schema in content.tables:
        names = [column.name for column in schema.columns if column.kind == "file"]
        for rows in content.rows(schema, names) if names else ():
            for relative in sorted({row[name] for row in rows.to_pylist() for name in names} - {None}):
                place = PurePosixPath(relative)
                if place.is_absolute() or ".." in place.parts:
                    raise ExportError(f"{schema.name} names {relative!r}: expected a file within the store")
                data = content.store.place.read(relative)
                (lost if data is None else copied).append(relative)
                if data is not None:
                    path = out / FOLDER / place
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
    return copied, lost


def part_of(schema: Table, names: list[str]) -> Table:
    """Return a table of some columns."""
    return dataclasses.replace(schema, columns=schema.select(names))


def write_table(content: Content, schema: Table, path: Path) -> None:
    """Write the rows of all runs as one file; those of one run are in memory at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrow: pa.Schema = schema.arrow.with_metadata(footer(schema, {}))
    with pq.ParquetWriter(path, arrow, **options(schema)) as writer:
        for rows in content.rows(schema):
            writer.write_table(rows.cast(schema.arrow), row_group_size=schema.rows_per_group)
