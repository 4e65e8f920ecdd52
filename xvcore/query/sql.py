"""SQL over a store: a DuckDB connection with one view a table, and answers that touch nothing else."""

import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xvcore.errors import QueryError, StoreError, XvError, in_one_line, unknown_name
from xvcore.query.files import File, files, published_runs
from xvcore.query.filters import parse
from xvcore.query.tables import RECORDS, arrow, misplaced
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


_ANSWERS = re.compile(
    r"\s*(explain\s+)?(select|from|with|values|table|describe|show|summarize|pivot|unpivot)\b", re.IGNORECASE
)
"""How a statement begins whose type alone does not tell that it only reads: PIVOT, EXPLAIN (not EXPLAIN ANALYZE)."""
_STATEMENTS = {"desc", "describe", "from", "pivot", "select", "show", "summarize", "table", "unpivot", "values", "with"}
_WINDOWS = {"groups", "order", "partition", "range", "rows"}
_READING = _STATEMENTS | _WINDOWS
"""Keywords that may follow ``AS (``."""
_WORD = re.compile(rb"\w+")
_MOST_LETTERS = 600
"""Of what DuckDB says: it repeats words of any length."""


def answer(store: Store, sql: str) -> pa.Table:
    """Return what one query gives; it reads nothing but the store, and writes nothing.

    Parameters
    ----------
    store : the store, whose tables are views
    sql : one query

    Raises
    ------
    QueryError
        No query, several, one that DuckDB cannot answer, or one that reads or writes elsewhere.
    XvError
        DuckDB is not installed.
    StoreError
        Nothing was ever written to the store.

    Examples
    --------
    >>> from xvcore.query import answer
    >>> from xvcore.store import Store
    >>> answer(Store("store"), "select count(*) as n from runs").to_pylist()
    [{'n': 1}]
    """
    connection = connect(store)
    import duckdb

    try:
        _seal(connection, store)
        _refuse_others(connection, sql)
        return connection.sql(sql).to_arrow_table()
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
        raise QueryError(_reason(store, error)) from error
    except duckdb.Error as error:
        raise QueryError(_damage_asked_for(store, sql) or _reason(store, error)) from error


def connect(store: Store) -> "duckdb.DuckDBPyConnection":
    """Return a DuckDB connection with a view of each table, e.g. ``connect(store).sql("from clusters").df()``.

    The views name the files that are there now (of each run the published file, else the parts): connect again to see
    what is written later. Views have every column of the schema, also where only older files exist. A table of which a
    file is damaged, or is not what belongs where it lies, says so when it is asked for; the others can be asked. A
    class whose record is damaged, or a run whose row is, is one that failed for this reason. Of files the footers are
    looked at; DuckDB does not verify checksums of pages: :func:`xvcore.query.table`, publishing and running again do.

    Parameters
    ----------
    store : the store

    Raises
    ------
    XvError
        DuckDB is not installed.
    StoreError
        Nothing was ever written to the store, or a file is damaged.

    Examples
    --------
    >>> from xvcore.query import connect
    >>> from xvcore.store import Store
    >>> connect(Store("store")).sql("select model from runs").fetchall()
    [('bagnet_drawn',)]
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
    published = published_runs(store)
    for name in SCHEMAS:
        try:
            _create_view(connection, store, SCHEMAS[name], published)
        except duckdb.Error as error:
            raise StoreError(f"cannot read the table {name} of {store.url}: {_in_words(error)}") from error
    return connection


def _seal(connection: "duckdb.DuckDBPyConnection", store: Store) -> None:
    """Let a connection open files of the store alone, for good."""
    root = _address(store, "")
    folders = {root, store.place.path("")} if store.place.is_local else {root}  # as pattern, and as it is
    connection.execute(f"set allowed_directories = [{', '.join(map(_quoted, sorted(folders)))}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set python_enable_replacements = false")  # Python's variables are no tables
    connection.execute("set lock_configuration = true")


def _refuse_others(connection: "duckdb.DuckDBPyConnection", sql: str) -> None:
    """Refuse all that is not one statement which reads: files of the store could be written over."""
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise QueryError(f"no text: {error.object[error.start]!a} at letter {error.start + 1}") from error
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise QueryError(f"expected one SQL query, not {len(statements) or 'an empty text'}")
    (statement,) = statements
    try:
        kind = str(statement.type).rpartition(".")[2]
    except ValueError:  # of a kind that DuckDB's Python does not know: UPDATE EXTENSIONS
        kind = "unknown"
    if kind != "SELECT" and (kind == "unknown" or not _ANSWERS.match(sql)):
        raise QueryError(f"this statement ({kind}) is no query: expected SELECT, FROM, WITH, DESCRIBE, PIVOT …")
    if named := _written_within(sql):
        raise QueryError(f"WITH … AS ({named} …) is no query: expected SELECT, FROM, VALUES, DESCRIBE, PIVOT … there")


def _written_within(sql: str) -> str | None:
    """Return the keyword of a statement that WITH names and that does not read; None where all do.

    Since 2.0 DuckDB takes COPY, INSERT, UPDATE and DELETE there, and calls the whole a SELECT.
    """
    import duckdb

    kinds, text = duckdb.token_type, sql.encode()
    found = [each for each in duckdb.tokenize(sql) if each[1] != kinds.comment]
    is_named = is_open = False  # after AS [MATERIALIZED], and after the bracket that follows
    for start, kind in found:
        if kind == kinds.operator and text[start:].startswith(b"("):
            is_open = is_named
            continue
        word = _WORD.match(text, start)
        name = word.group().decode().lower() if word and kind == kinds.keyword else ""
        if is_open and name and name not in _READING:
            return name.upper()
        is_named, is_open = name in ("as", "materialized"), False
    return None


def _reason(store: Store, error: Exception) -> str:
    text = _in_words(error)
    if missing := re.search(r"Table with name (\S+) does not exist", text):
        return str(unknown_name("table", missing.group(1), SCHEMAS))
    if "disabled by configuration" in text or "disabled through configuration" in text:
        return f"a query reads the tables of {store.url} and nothing else: {text}"
    return text


def _in_words(error: Exception) -> str:
    """Return what DuckDB says, with its hint, without the line of SQL and the arrow below it."""
    text = in_one_line(str(error).partition("\n\nLINE ")[0])
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} …"


def _create_view(connection: Any, store: Store, table: Table, published: set[str]) -> None:
    from duckdb import Error

    found = files(store, table, published=published)
    damage = _damage(store, table, found) if table.name == "runs" else misplaced(store, table, found)
    if damage is None:
        try:
            connection.execute(_view(store, table, found))
        except Error:
            damage = _damage(store, table, found)
            if damage is None:
                raise
    if damage is not None and table.name in RECORDS:
        damage = _register(connection, store, table)
    if damage is not None:
        whole = _view(store, table, [])
        connection.execute(whole.replace(" where false", f" where error({_quoted(damage)}) is null"))


def _register(connection: Any, store: Store, table: Table) -> str | None:
    """Make rows that say themselves which files are damaged known as a table; return what is wrong beyond that."""
    try:
        rows = arrow(store, table, parse(table, None, {}), list(table.names))
    except StoreError as error:
        return str(error)
    connection.register(table.name, rows)
    return None


def _damage_asked_for(store: Store, sql: str) -> str | None:
    """Return what is wrong with a file of a table that a query names; DuckDB does not say which file it read."""
    named = [SCHEMAS[name] for name in SCHEMAS if re.search(rf"\b{name}\b", sql)]
    return next(filter(None, (_damage(store, table, files(store, table)) for table in named)), None)


def _damage(store: Store, table: Table, found: list[File]) -> str | None:
    """Return what is wrong with the first file that is damaged; None where all can be read."""
    for file in found:
        try:
            read_file(store.place, table, file.path)
        except StoreError as error:
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
