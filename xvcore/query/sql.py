"""SQL over a store: a DuckDB connection with one view a table."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xvcore.errors import DamagedError, StoreError, XvError
from xvcore.query.files import File, files
from xvcore.query.filters import parse
from xvcore.query.tables import arrow
from xvcore.store import SCHEMAS, Store, Table
from xvcore.store.read import read_file
from xvcore.store.schema import TIME

if TYPE_CHECKING:
    import duckdb

_SQL_TYPES = {
    pa.string(): "varchar",
    pa.binary(): "blob",
    pa.bool_(): "boolean",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float16(): "float",
    pa.float32(): "float",
    pa.float64(): "double",
    TIME: "timestamptz",
}


def connect(store: Store) -> "duckdb.DuckDBPyConnection":
    """Return a DuckDB connection with a view of each table, e.g. ``connect(store).sql("from clusters").df()``.

    The views name the files that are there now (of each run the published file, else the parts): connect again to see
    what is written later. Views have every column of the schema, also where only older files exist. A table of which a
    file is damaged says so when it is asked for; the others can be asked. A class whose record is damaged is one that
    failed for this reason. DuckDB does not verify checksums of pages: :func:`xvcore.query.table`, publishing and
    running again do.

    Raises
    ------
    XvError
        DuckDB is not installed.
    StoreError
        Nothing was ever written to the store.
    """
    try:
        import duckdb
    except ImportError as error:
        raise XvError('SQL needs DuckDB: pip install "xv[sql]"') from error
    if not store.exists():
        raise StoreError(f"nothing was ever written to {store.url}")
    connection = duckdb.connect()
    if not store.place.is_local:
        connection.register_filesystem(store.place.filesystem)
    for name in SCHEMAS:
        _create_view(connection, store, SCHEMAS[name])
    return connection


def _create_view(connection: Any, store: Store, table: Table) -> None:
    from duckdb import Error

    found = files(store, table)
    try:
        connection.execute(_view(store, table, found))
    except Error:
        damage = _damage(store, table, found)
        if damage is None:
            raise
        if table.name == "class_runs":
            connection.register(table.name, arrow(store, table, parse(table, None, {}), list(table.names)))
        else:
            whole = _view(store, table, [])
            connection.execute(whole.replace(" where false", f" where error({_quoted(damage)}) is null"))


def _damage(store: Store, table: Table, found: list[File]) -> str | None:
    """Return what is wrong with the first file that is damaged; None where all can be read."""
    for file in found:
        try:
            read_file(store.place, table, file.path)
        except DamagedError as error:
            return str(error)
    return None


def _view(store: Store, table: Table, found: list[File]) -> str:
    typed = ", ".join(f'null::{_sql_type(column.type)} as "{column.name}"' for column in table.columns)
    paths = [_quoted(_address(store, file.path)) for file in found]
    rows = (
        f" union all by name from read_parquet([{', '.join(paths)}], union_by_name = true, hive_partitioning = false)"
        if paths
        else ""
    )
    return f'create view "{table.name}" as select {typed} where false{rows}'


def _sql_type(arrow: pa.DataType) -> str:
    if pa.types.is_list(arrow):
        return f"{_sql_type(arrow.value_type)}[]"
    if pa.types.is_struct(arrow):
        return f"struct({', '.join(f'{field.name} {_sql_type(field.type)}' for field in arrow)})"
    return _SQL_TYPES[arrow]


def _address(store: Store, relative: str) -> str:
    path = store.place.path(relative)
    if not store.place.is_local:
        return str(store.place.filesystem.unstrip_protocol(path))
    return path.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")  # a name, not a pattern


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
