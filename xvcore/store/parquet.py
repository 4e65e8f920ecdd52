"""Arrow tables to Parquet bytes and back, with the encodings that were measured to be small and fast."""

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xvcore.keys import canonical
from xvcore.store.schema import Column, Table

SEAL = b"xv-crc32"
"""Stands before the CRC-32 of a part."""
_ENCODINGS = {"split": "BYTE_STREAM_SPLIT", "delta": "DELTA_BINARY_PACKED"}


def options(table: Table) -> dict[str, Any]:
    """Return the writer's options for a table.

    Keys are dictionary-encoded in the file but plain strings in the Arrow schema (row groups are not skipped on Arrow
    dictionaries); the page index is written, and of each page its checksum; Zstandard throughout.
    """
    encodings = {leaf(column): _ENCODINGS[column.encoding] for column in table.columns if column.encoding in _ENCODINGS}
    return {
        "compression": "zstd",
        "use_dictionary": [column.name for column in table.columns if column.encoding == "dictionary"],
        "column_encoding": encodings,
        "write_page_index": True,
        "write_page_checksum": True,
    }


def leaf(column: Column) -> str:
    """Return the path of the column's values in the file."""
    return f"{column.name}.list.element" if pa.types.is_list(column.type) else column.name


def footer(table: Table, facts: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Return the file's metadata: ours under ``xvcore``, and the picture columns under ``huggingface``."""
    own = {"table": table.name, "schema_version": table.version, **facts}
    metadata = {b"xvcore": canonical(own).encode()}
    pictures = {column.name: {"_type": "Image"} for column in table.columns if column.kind == "picture"}
    if pictures:
        metadata[b"huggingface"] = json.dumps({"info": {"features": pictures}}).encode()
    return metadata


def serialise(table: Table, rows: pa.Table, facts: Mapping[str, Any]) -> bytes:
    """Return the bytes of a Parquet file; equal rows give equal bytes."""
    buffer = io.BytesIO()
    rows = rows.replace_schema_metadata(footer(table, facts))
    pq.write_table(rows, buffer, row_group_size=table.rows_per_group, **options(table))
    return sealed(buffer.getvalue())


def sealed(data: bytes) -> bytes:
    """Return a Parquet file with its own CRC-32 before the footer, where readers do not look.

    Checksums of pages do not cover the footer, in which a bit may turn the name or the type of a column. A file that
    another program writes anew has no seal any more.
    """
    start = _footer(data)
    return data[:start] + SEAL + zlib.crc32(data).to_bytes(4, "little") + data[start:]


def is_as_sealed(data: bytes) -> bool:
    """Say whether a file's bytes are those that were sealed; True for one without a seal."""
    start = _footer(data)
    end = start - 4
    if data[end - len(SEAL) : end] != SEAL:
        return True
    view = memoryview(data)
    crc = zlib.crc32(view[start:], zlib.crc32(view[: end - len(SEAL)]))
    return crc == int.from_bytes(data[end:start], "little")


def _footer(data: bytes) -> int:
    """Return where the footer begins: its length stands before the last four bytes."""
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def conform(table: Table, rows: pa.Table, names: Sequence[str] | None = None) -> pa.Table:
    """Return rows of an older or newer file with the columns of today's schema; what it lacks is null."""
    columns = table.select(names)
    present = set(rows.column_names)
    arrays = [
        pc.cast(rows.column(column.name), column.type)
        if column.name in present
        else pa.nulls(rows.num_rows, column.type)
        for column in columns
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema([column.field for column in columns]))
