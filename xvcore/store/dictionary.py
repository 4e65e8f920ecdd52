"""The data dictionary: every table and column in words, generated from the schemas."""

import pyarrow as pa

from xvcore.store.schema import MAP, SCHEMAS, Column, Table

_CAST = (
    "Maps ({names}) are 16-bit floats, and some programs add them in 16 bits, to some per cent beside the sum: cast "
    "first, `np.asarray(cell, np.float32).sum()` in pandas, "
    '`pl.col("{name}").cast(pl.List(pl.Float32)).list.sum()` in polars; DuckDB reads them as 32-bit floats. '
    "A missing map is null, not an empty one."
)


def data_dictionary() -> str:
    """Return Markdown: a section a table, a row a column, with type, unit and description."""
    return "\n\n".join(_section(SCHEMAS[name]) for name in SCHEMAS) + "\n"


def _section(table: Table) -> str:
    head = f"## {table.name}\n\n{table.description} One row per {', '.join(table.grain)}."
    note = "" if table.is_published else " Not published."
    rows = "\n".join(
        f"| {column.name} | {_type(column)} | {column.unit} | {_words(column)} |" for column in table.columns
    )
    maps = [column.name for column in table.columns if column.type == MAP]
    if maps:
        note += "\n\n" + _CAST.format(names=", ".join(f"`{name}`" for name in maps), name=maps[0])
    return f"{head}{note}\n\n| column | type | unit | what it is |\n|---|---|---|---|\n{rows}"


def _type(column: Column) -> str:
    if column.kind == "json":
        return "JSON"
    if column.kind == "picture":
        return "picture"
    return "RLE" if pa.types.is_struct(column.type) else str(column.type).replace("element: ", "").replace("item: ", "")


def _words(column: Column) -> str:
    choices = f": {', '.join(column.choices)}" if column.choices else ""
    return f"{column.description}{choices}{' (may be missing)' if column.nullable else ''}"
