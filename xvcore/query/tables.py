"""A table of a store as a DataFrame; only the files, row groups and columns that are needed are read."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from xvcore.errors import DamagedError, StoreError, foreign_errors, in_one_line
from xvcore.query.files import File, files
from xvcore.query.filters import Filter, Filters, parse
from xvcore.store import SCHEMAS, Store, Table
from xvcore.store.frame import data_frame
from xvcore.store.parquet import conform, is_as_sealed, read_tail
from xvcore.store.read import advice, check_schema, check_values, read_file

Names = str | Sequence[str] | None
RECORDS = ("runs", "class_runs")
"""Tables whose rows say themselves that their file is damaged: what is read beside them does not wait for it."""
_AT_ONCE = 8
_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def table(  # noqa: PLR0913  the three keys spare everyone a mapping
    store: Store,
    name: str,
    *,
    filters: Filters | None = None,
    columns: Sequence[str] | None = None,
    run_id: Names = None,
    model: Names = None,
    class_id: Names = None,
) -> pd.DataFrame:
    """Return a table, sorted by run and class; of a run that is published its published file, else its parts.

    Parts of a class that is still at work are there too: ``class_runs`` says which classes have ended. There, a class
    whose record is damaged is one that failed for this reason; so is, in ``runs``, a run whose row is.

    Parameters
    ----------
    store : the store
    name : of the table
    filters : a mapping from column to the value or the list of values wanted (``None``: missing), or what pandas
        and pyarrow take: ``[("score", ">", 0.5), ("accepted", "==", True)]``, a list of such lists for "or"
    columns : only these, in this order
    run_id, model, class_id : a value or several; the same as in ``filters``

    Returns
    -------
    DataFrame whose types follow from the schema, also where no row is found; see
    :func:`xvcore.store.frame.data_frame`

    Raises
    ------
    UnknownNameError
        An unknown table or column.
    ParameterError
        A filter whose value does not fit its column.
    StoreError
        Nothing was ever written to the store, it cannot be reached, or a file is damaged (the message names it).

    Examples
    --------
    >>> from xvcore.query import table
    >>> from xvcore.store import Store
    >>> table(Store("store"), "patches", class_id="robin", filters={"origin": "class"})["evidence"].max()
    np.float32(39.0)
    """
    schema = SCHEMAS[name]
    keys = {"run_id": run_id, "model": model, "class_id": class_id}
    wanted = parse(schema, filters, {key: value for key, value in keys.items() if value is not None})
    return data_frame(schema, arrow(store, schema, wanted, [column.name for column in schema.select(columns)]))


def arrow(store: Store, schema: Table, wanted: Filter, names: list[str]) -> pa.Table:
    """Return some columns of the wanted rows as an Arrow table; see :func:`table`."""
    if not store.exists():
        raise StoreError(f"nothing was ever written to {store.url}")
    others = _runs_of_other_models(store, schema, wanted)
    chosen = files(
        store,
        schema,
        lambda owner: owner not in others and wanted.allows(schema.owner, owner),
        lambda class_id: wanted.allows(schema.shard, class_id),
    )
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda file: _rows(store, schema, file, names, wanted), chosen))
    none = conform(schema, schema.arrow.empty_table(), names)
    return pa.concat_tables([none, *(rows for rows in found if rows is not None)])


def misplaced(store: Store, schema: Table, found: Sequence[File]) -> str | None:
    """Return what is wrong with the first file whose footer says that it is not what belongs where it lies; else None.

    A footer that cannot be read, or is not the one that was written, is wrong too.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return next(filter(None, pool.map(lambda file: _misplaced(store, schema, file), found)), None)


def _misplaced(store: Store, schema: Table, file: File) -> str | None:
    where = f"{store.url}/{file.path}"
    try:
        with _opened(store, file.path) as opened:
            _check_footer(schema, file, where, opened)
    except FileNotFoundError:  # removed since it was listed
        return None
    except StoreError as error:
        return str(error)
    except (pa.ArrowException, ValueError, OSError, *foreign_errors()) as error:
        return f"damaged: {where}: {in_one_line(error)}; {advice(file.path)}"
    return None


def _system(store: Store) -> pafs.FileSystem:
    return (
        pafs.LocalFileSystem()
        if store.place.is_local
        else pafs.PyFileSystem(pafs.FSSpecHandler(store.place.filesystem))
    )


def _opened(store: Store, relative: str) -> pa.NativeFile:
    return _system(store).open_input_file(store.place.path(relative))


def _check_footer(schema: Table, file: File, where: str, opened: pa.NativeFile) -> None:
    if file.is_published and not is_as_sealed(read_tail(opened)):
        raise DamagedError(f"damaged: {where}: its footer is not the one that was written; {advice(file.path)}")
    check_schema(schema, pq.read_schema(opened), where, file.path)


def _rows(store: Store, schema: Table, file: File, names: list[str], wanted: Filter) -> pa.Table | None:
    """Return the wanted rows of a file; ``None`` where it was removed since it was listed."""
    try:
        if file.is_published:
            return _scanned(store, schema, file, names, wanted)
        rows = read_file(store.place, schema, file.path, [*names, *sorted(wanted.columns - set(names))])
    except DamagedError:
        if schema.name not in RECORDS:
            raise
        rows = _records(store, schema, file)
    if rows is not None and wanted.condition is not None:
        rows = rows.filter(wanted.condition)
    return None if rows is None else rows.select(names)


def _records(store: Store, schema: Table, file: File) -> pa.Table | None:
    """Return the rows of runs, or the records of classes, in a damaged file: they say that it is."""
    owner, *shard = file.path.removesuffix(".parquet").split("/")[2:]
    if schema.name == "runs":
        return store.run(unquote(owner))
    return store.record(unquote(owner), unquote(shard[0])) if shard else store.published_records(unquote(owner))


def _scanned(store: Store, schema: Table, file: File, names: list[str], wanted: Filter) -> pa.Table:
    """Return the wanted rows of a published file; row groups without any are not read."""
    where = f"{store.url}/{file.path}"
    try:
        with _opened(store, file.path) as opened:
            _check_footer(schema, file, where, opened)
        source = ds.dataset(
            [store.place.path(file.path)], schema=schema.arrow, format=_FORMAT, filesystem=_system(store)
        )
        rows = conform(schema, source.to_table(columns=names, filter=wanted.condition), names)
        check_values(schema, rows, where, file.path)
    except pa.ArrowMemoryError as error:
        raise StoreError(f"cannot read {where}: the memory does not suffice: {in_one_line(error)}") from error
    except (pa.ArrowException, ValueError, OSError, *foreign_errors()) as error:
        raise DamagedError(f"damaged: {where}: {in_one_line(error)}; publish the run again") from error
    return rows


def _runs_of_other_models(store: Store, schema: Table, wanted: Filter) -> set[str]:
    if "model" not in wanted.values or schema.owner != "run_id" or schema.name == "runs":
        return set()
    runs = store.runs()
    return {
        run_id for run_id, model in zip(runs["run_id"], runs["model"], strict=True) if not wanted.allows("model", model)
    }
