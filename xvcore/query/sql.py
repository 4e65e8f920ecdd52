"""SQL over a store: a DuckDB connection with one view a table."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xvcore.errors import StoreError, XvError
from xvcore.query.files import files
from xvcore.store import SCHEMAS, Store, Table
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
    what is written later. Views have every column of the schema, also where only older files exist.

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
    typed = ", ".join(f'null::{_sql_type(column.type)} as "{column.name}"' for column in table.columns)
    paths = [_quoted(_address(store, file.path)) for file in files(store, table)]
    rows = (
        f" union all by name from read_parquet([{', '.join(paths)}], union_by_name = true, hive_partitioning = false)"
        if paths
        else ""
    )
    connection.execute(f'create view "{table.name}" as select {typed} where false{rows}')


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
