"""Arrow tables to Parquet bytes and back, with the encodings that were measured to be small and fast."""

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xvcore.keys import canonical
from xvcore.store.schema import Column, Table

SEAL = b"xv-crc32"
"""Stands before the CRC-32 of a part."""
FOOTER_SEAL = b"xv-crcft"
"""Stands before the CRC-32 of the footer of a published file, which is too large to be read for a few rows."""
PICTURES_BYTES = 64 << 20
"""Most bytes of different pictures in a row group of which each is stored once, where rows share pictures."""
SEAL_BYTES = len(SEAL) + 4
_ENCODINGS = {"split": "BYTE_STREAM_SPLIT", "delta": "DELTA_BINARY_PACKED"}


def options(table: Table) -> dict[str, Any]:
    """Return the writer's options for a table.

    Keys are dictionary-encoded in the file but plain strings in the Arrow schema (row groups are not skipped on Arrow
    dictionaries), and so are pictures that come in many rows; the page index is written, and of each page its
    checksum; Zstandard throughout.
    """
    encodings = {leaf(column): _ENCODINGS[column.encoding] for column in table.columns if column.encoding in _ENCODINGS}
    repeated = [column for column in table.columns if column.encoding == "dictionary"]
    large = {"dictionary_pagesize_limit": PICTURES_BYTES} if any(each.kind == "picture" for each in repeated) else {}
    return {
        "compression": "zstd",
        "use_dictionary": [leaf(column) for column in repeated],
        "column_encoding": encodings,
        "write_page_index": True,
        "write_page_checksum": True,
        **large,
    }


def leaf(column: Column) -> str:
    """Return the path of the column's values in the file."""
    if column.kind == "picture":
        return f"{column.name}.bytes"
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
    start = len(data) - _footer_bytes(data[-_END:])
    return data[:start] + SEAL + zlib.crc32(data).to_bytes(4, "little") + data[start:]


def seal_footer(path: Path) -> None:
    """Put the CRC-32 of a file's footer before it; checksums of pages cover the rest that is read."""
    with path.open("r+b") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(size - _END)
        start = size - _footer_bytes(file.read())
        file.seek(start)
        footer = file.read()
        file.seek(start)
        file.write(FOOTER_SEAL + zlib.crc32(footer).to_bytes(4, "little") + footer)


def read_tail(file: pa.NativeFile) -> bytes:
    """Return the end of a file with the seal of its footer, for :func:`is_as_sealed`."""
    size = file.size()
    wanted = _footer_bytes(file.read_at(_END, max(size - _END, 0))) + SEAL_BYTES
    tail: bytes = file.read_at(min(wanted, size), max(size - wanted, 0))
    return tail


def is_as_sealed(data: bytes) -> bool:
    """Say whether a file, or its footer alone, is as it was sealed; True for one without a seal.

    Parameters
    ----------
    data : the file; of one whose footer alone is sealed, the end will do
    """
    start = len(data) - _footer_bytes(data[-_END:])
    end = start - 4
    seal = data[end - len(SEAL) : end] if end >= len(SEAL) else b""
    if seal not in (SEAL, FOOTER_SEAL):
        return True
    view = memoryview(data)
    before = zlib.crc32(view[: end - len(SEAL)]) if seal == SEAL else 0
    return zlib.crc32(view[start:], before) == int.from_bytes(data[end:start], "little")


_END = 8
"""Bytes after the footer: its length, and the sign of the format."""


def _footer_bytes(end: bytes) -> int:
    """Return the bytes from the footer on, given the last eight."""
    return _END + int.from_bytes(end[-_END:-4], "little")


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
