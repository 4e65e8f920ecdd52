"""Rows to an Arrow table of the declared schema: whatever does not fit is refused, by column and value."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xvcore.errors import StoreError, XvError
from xvcore.keys import canonical
from xvcore.store.read import is_json
from xvcore.store.schema import Column, Table


def arrow_table(table: Table, rows: Sequence[Mapping[str, Any]] | pa.Table, keys: Mapping[str, Any]) -> pa.Table:
    """Return the rows as an Arrow table with all columns of the schema, in its order.

    Parameters
    ----------
    table : the schema
    rows : mappings, or an Arrow table with some of the schema's columns; missing nullable columns are filled with nulls
    keys : values of the file's own keys, filled in where the rows lack them and compared where they do not

    Raises
    ------
    StoreError
        An unknown column, a missing or null value where one is needed, a value of the wrong type, too large or not
        among the choices, a key that contradicts the file's, or two rows that should be one.
    """
    given = _columns_given(table, rows)
    n_rows = rows.num_rows if isinstance(rows, pa.Table) else len(rows)
    arrays = []
    for column in table.columns:
        if column.name not in given:
            array = _converted(table, column, [keys.get(column.name)])
            array = array.take(pa.array(np.zeros(n_rows, dtype=np.int64)))
        elif isinstance(rows, pa.Table):
            array = _cast(table, column, rows.column(column.name).combine_chunks())
        else:
            array = _converted(table, column, [row.get(column.name) for row in rows])
        if column.name in given and column.name in keys:
            array = pc.fill_null(array, keys[column.name])
        arrays.append(_checked(table, column, array, keys.get(column.name)))
    result = pa.Table.from_arrays(arrays, schema=table.arrow)
    check_unique(table, result, of_file=keys)
    return result


def check_unique(table: Table, rows: pa.Table, *, of_file: Collection[str] = (), where: str = "") -> None:
    """Refuse two rows with the same grain; the message names the first such grain.

    Parameters
    ----------
    table, rows : the rows
    of_file : columns that are equal in all rows and need not be looked at
    where : for the message
    """
    grain = [name for name in table.grain if name not in of_file] or [table.grain[-1]]
    groups = rows.select(grain).group_by(grain, use_threads=False).aggregate([([], "count_all")])
    if groups.num_rows == rows.num_rows:
        return
    twice = groups.filter(pc.field("count_all") > 1).slice(0, 1).to_pylist()[0]
    n_times = twice.pop("count_all")
    raise StoreError(f"table {table.name}{where}: {n_times} rows for {twice}; one is allowed")


def _columns_given(table: Table, rows: Sequence[Mapping[str, Any]] | pa.Table) -> set[str]:
    given = set(rows.column_names) if isinstance(rows, pa.Table) else {name for row in rows for name in row}
    for name in sorted(given):
        try:
            table[name]
        except XvError as error:
            raise StoreError(str(error)) from None
    return given


def _cast(table: Table, column: Column, array: pa.Array) -> pa.Array:
    try:
        return array.cast(column.type)
    except pa.ArrowException as error:
        raise StoreError(f"{table.name}.{column.name}: {error}") from error


def _converted(table: Table, column: Column, values: list[Any]) -> pa.Array:
    try:
        if column.kind == "json":
            values = [canonical(value) if isinstance(value, Mapping) else _json(value) for value in values]
        if pa.types.is_integer(column.type):
            values = [_whole(value) for value in values]
        if pa.types.is_list(column.type) and pa.types.is_float16(column.type.value_type):
            values = [None if value is None else half(value) for value in values]
        return pa.array(values, column.type, from_pandas=not pa.types.is_nested(column.type))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"{table.name}.{column.name} (type {column.type}): {error}") from error


def _json(value: Any) -> Any:
    """Return a text that is JSON, or nothing; readers take any other for damage."""
    if isinstance(value, str) and not is_json(value):
        raise ValueError(f"{value[:80]!r} is no JSON")
    return value


def _whole(value: Any) -> Any:
    """Return the value if it is no fraction: Arrow would cut 1.5 down to 1 in silence."""
    if isinstance(value, (float, np.floating)) and np.isfinite(value) and value != int(value):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def half(values: Any) -> np.ndarray:
    """Return the values, flattened, as 16-bit floats.

    Raises
    ------
    ValueError
        A finite value beyond ±65504 would become infinite.
    """
    exact = np.asarray(values).reshape(-1)
    with np.errstate(over="ignore"):
        result = exact.astype(np.float16)
    if np.any(np.isinf(result) & np.isfinite(exact)):
        raise ValueError(f"a map with values up to {np.abs(exact).max():g} does not fit 16-bit floats (65504)")
    return result


def _checked(table: Table, column: Column, array: pa.Array, expected: Any) -> pa.Array:
    if pa.types.is_floating(column.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, column.type), array)
    if array.null_count and not column.nullable:
        row = pc.index(pc.is_null(array), True).as_py()
        raise StoreError(f"{table.name}.{column.name}: row {row} has no value, and needs one ({column.description})")
    if column.choices:
        _refuse_others(table, column, array, column.choices)
    if expected is not None:
        _refuse_others(table, column, array, (expected,))
    return array


def _refuse_others(table: Table, column: Column, array: pa.Array, allowed: tuple[Any, ...]) -> None:
    present = pc.unique(array).to_pylist()
    others = [value for value in present if value is not None and value not in allowed]
    if others:
        raise StoreError(f"{table.name}.{column.name}: {others[0]!r} is not among {', '.join(map(repr, allowed))}")
