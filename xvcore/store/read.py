"""Files of a table, read whole: one that is damaged, or is not what belongs where it lies, is named."""

import json
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xvcore.errors import DamagedError, StoreError, in_one_line
from xvcore.keys import file_name
from xvcore.store.parquet import conform, is_as_sealed
from xvcore.store.place import Place
from xvcore.store.schema import Table
from xvcore.version import VERSION

THREADED_BYTES = 2**20
"""Size of a file from which its columns are decoded in threads; below, waking them takes longer."""
KNOWN_BYTES = 2**19
"""Most bytes of rows that are kept in memory, so that the same file need not be read again."""
_SUFFIX = ".parquet"


def read_file(place: Place, table: Table, relative: str, columns: Sequence[str] | None = None) -> pa.Table | None:
    """Return the rows of one file with the columns of today's schema; ``None`` where there is no such file.

    The file is opened once, so that one which is replaced meanwhile is read as it was or as it is, never half of each.
    Checksums are verified, of the pages and of the file; what was written before there were any is read without. A
    small file that has not changed since it was last read here is not read again.

    Raises
    ------
    DamagedError
        It is broken, or holds another table, other keys or fewer columns than belong where it lies.
    StoreError
        It cannot be read, or a newer version wrote it.
    """
    names = None if columns is None else [column.name for column in table.select(columns)]
    data, stamp = place.read_unless(relative, place.known.stamp(relative))
    known = place.known.of(relative, stamp)
    if data is None and stamp is not None:
        rows = known.get(names and tuple(names))
        if rows is None and None in known:
            rows = known[None].select(names)
        if rows is not None:
            return rows
        data, stamp = place.read_unless(relative, None)
        known = place.known.of(relative, stamp)
    if data is None:
        return None
    rows = _read(place, table, relative, names, data)
    if rows.nbytes <= KNOWN_BYTES:
        known[names and tuple(names)] = rows
    return rows


def _read(place: Place, table: Table, relative: str, names: Sequence[str] | None, data: bytes) -> pa.Table:
    where = f"{place.url}/{relative}"
    keys = _keys(table, relative)
    if not is_as_sealed(data):
        raise DamagedError(f"damaged: {where}: its bytes are not those that were written; {advice(relative)}")
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        check_schema(table, file.schema_arrow, where, relative)
        wanted = None if names is None else [*dict.fromkeys([*names, *keys])]
        present = None if wanted is None else [name for name in wanted if name in file.schema_arrow.names]
        rows = conform(table, file.read(present, use_threads=len(data) > THREADED_BYTES), wanted)
    except pa.ArrowMemoryError as error:
        raise StoreError(f"cannot read {where}: the memory does not suffice: {in_one_line(error)}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedError(f"damaged: {where}: {in_one_line(error)}; {advice(relative)}") from error
    for name, stem in keys.items():
        others = [
            value for value in pc.unique(rows.column(name)).to_pylist() if value is None or file_name(value) != stem
        ]
        if others:
            raise _wrong(where, relative, f"{name} {others[0]!r}", f"{name} {unquote(stem)!r}")
    if set(table.grain) <= set(keys) and rows.num_rows != 1:
        raise _wrong(where, relative, f"{rows.num_rows} rows", "one")
    check_values(table, rows, where, relative)
    return rows if names is None else rows.select(names)


def check_schema(table: Table, schema: pa.Schema, where: str, relative: str) -> None:
    """Refuse a file whose metadata or columns say that it is not the one that belongs where it lies.

    Parameters
    ----------
    table : what is expected
    schema : of the file
    where, relative : the file: for the message, and relative to the store

    Raises
    ------
    DamagedError
        It holds another table, is of another owner, or lacks a column that every version has.
    StoreError
        A newer version wrote it.
    """
    says = _facts(schema)
    if says.get("table", table.name) != table.name:
        raise _wrong(where, relative, f"the table {says['table']!r}", f"the table {table.name!r}")
    version = says.get("schema_version", table.version)
    if not isinstance(version, int) or version > table.version:
        reads = f"xvcore {VERSION} reads versions up to {table.version}"
        raise StoreError(f"{where} is of version {version!r} of the table {table.name}; {reads}: update xvcore")
    owner, stem = says.get(table.owner), _keys(table, relative).get(table.owner)
    if owner is not None and stem is not None and file_name(str(owner)) != stem:
        raise _wrong(where, relative, f"{table.owner} {owner!r}", f"{table.owner} {unquote(stem)!r}")
    missing = [column.name for column in table.columns if not column.nullable and column.name not in schema.names]
    if missing:
        raise _wrong(where, relative, f"no {', '.join(missing)}", f"the columns of the table {table.name}")


def check_values(table: Table, rows: pa.Table, where: str, relative: str) -> None:
    """Refuse what the writer would never have written, by the first column and value that is none of its.

    Parameters
    ----------
    table : what is expected
    rows : some columns of a file
    where, relative : the file: for the message, and relative to the store

    Raises
    ------
    DamagedError
        A value is missing where one is needed, is not among the choices, or is no JSON.
    """
    for name in rows.column_names:
        column, values = table[name], rows.column(name)
        if values.null_count and not column.nullable:
            row = pc.index(pc.is_null(values), True).as_py()
            raise _wrong(where, relative, f"no {name} in row {row}", f"one ({column.description})")
        if not (column.choices or column.kind == "json"):
            continue
        for value in pc.unique(values.drop_null()).to_pylist():
            if column.choices and value not in column.choices:
                raise _wrong(where, relative, f"{name} {value!r}", f"one of {', '.join(column.choices)}")
            if column.kind == "json" and not is_json(value):
                raise _wrong(where, relative, f"{name} {value[:80]!r}", "JSON")


def is_json(text: str) -> bool:
    """Return whether a text can be read as JSON."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _facts(schema: pa.Schema) -> Mapping[str, object]:
    """Return what a file says of itself; empty for one that another program wrote."""
    facts = json.loads((schema.metadata or {}).get(b"xvcore", b"{}"))
    if not isinstance(facts, dict):
        raise ValueError(f"metadata xvcore: expected a mapping, not {facts!r}")  # noqa: TRY004  as of broken JSON
    return facts


def _keys(table: Table, relative: str) -> dict[str, str]:
    """Return the columns that are one value throughout a file, with the file name of that value.

    A part lies under owner and shard, a published file and the row of a run under the owner.
    """
    _, _, *stems = relative.removesuffix(_SUFFIX).split("/")
    names = [table.owner, *([table.shard] if table.shard else [])]
    return dict(zip(names, stems, strict=False))


def _wrong(where: str, relative: str, seen: str, expected: str) -> DamagedError:
    return DamagedError(f"damaged: {where} holds {seen}, expected {expected}; {advice(relative)}")


def advice(relative: str) -> str:
    """Return what to do about a damaged file."""
    where, table, *_ = relative.split("/")
    if where == "tables":
        return "publish the run again"
    return f"run {'the same' if table == 'runs' else 'the class'} again: it is made anew"
