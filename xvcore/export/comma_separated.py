"""CSV: a file a table, pictures as files beside, with a Frictionless data package that says every type and unit."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from xvcore.export.content import Content
from xvcore.export.exporting import Exporter, Written, exporters
from xvcore.store import Column, Table
from xvcore.store.encode import encoded
from xvcore.store.schema import RLE, TIME

HOW = """\
A file a table, UTF-8; `datapackage.json` (Frictionless) has type, unit and meaning of every column.

* Missing is nothing at all between the commas; an empty text is `""`. Readers that do not tell the two apart take both
  for missing.
* Lists and maps are JSON. A mask is JSON as pycocotools takes it: `{"size": [height, width], "counts": "…"}`.
* A picture is a path to a file in `pictures/`, other bytes are base64. Times are ISO 8601, UTC.

```python
import pandas as pd
pd.read_csv("clusters.csv")
```"""


def write(content: Content, out: Path) -> Written:
    """Write a file for each table, its pictures, and the description of all columns."""
    for schema in content.tables:
        text = _schema(schema)
        with pacsv.CSVWriter(out / f"{schema.name}.csv", text) as writer:
            count = 0
            for rows in content.rows(schema):
                columns = [
                    _cells(column, rows.column(column.name), _namer(out, schema, column, count))
                    for column in schema.columns
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=text))
                count += rows.num_rows
    package = {
        "name": "xv-results",
        "profile": "tabular-data-package",
        "resources": [_resource(schema) for schema in content.tables],
    }
    (out / "datapackage.json").write_text(json.dumps(package, indent=1, ensure_ascii=False) + "\n")
    return Written(HOW, {})


def _schema(schema: Table) -> pa.Schema:
    return pa.schema(
        [pa.field(each.name, each.type if _is_plain(each.type) else pa.string()) for each in schema.columns]
    )


def _is_plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_timestamp(kind))


def _cells(column: Column, values: pa.ChunkedArray, name: Callable[[int, bytes], str]) -> pa.ChunkedArray:
    """Return cells as CSV has them; those that it does not know as text."""
    if _is_plain(column.type):
        return values
    if column.type == TIME:
        texts: Any = (each and each.isoformat() for each in values.to_pylist())
    elif column.kind == "picture":
        data = map(encoded, values.to_pylist())
        texts = (None if each is None else name(place, each) for place, each in enumerate(data))
    else:
        texts = map(_text, values.to_pylist()) if not pa.types.is_list(column.type) else _lists(values)
    return pa.chunked_array([pa.array(list(texts), pa.string())])


def _lists(values: pa.ChunkedArray) -> Iterator[str | None]:
    """Yield lists as JSON, with the digits that tell 16- and 32-bit numbers apart."""
    for each in values:
        inside = each.values
        if inside is None:
            yield None
        elif pa.types.is_floating(inside.type):
            texts = (
                inside.cast(pa.string()) if inside.type != pa.float16() else inside.cast(pa.float32()).cast(pa.string())
            )
            yield f"[{', '.join('null' if text in (None, 'nan') else text for text in texts.to_pylist())}]"
        else:
            yield json.dumps(inside.to_pylist(), ensure_ascii=False)


def _text(cell: Any) -> str | None:
    if cell is None:
        return None
    if isinstance(cell, bytes):
        return base64.b64encode(cell).decode("ascii")
    if isinstance(cell, dict) and set(cell) == {field.name for field in RLE}:
        return json.dumps({"size": cell["size"], "counts": cell["counts"].decode("ascii")})
    return json.dumps(cell, ensure_ascii=False)


def _namer(out: Path, schema: Table, column: Column, first: int) -> Callable[[int, bytes], str]:
    """Return what writes a picture of a column and gives its path."""

    def name(place: int, data: bytes) -> str:
        kind = "png" if data.startswith(b"\x89PNG") else "jpg"
        path = f"pictures/{schema.name}/{column.name}-{first + place:06d}.{kind}"
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(data)
        return path

    return name


def _resource(schema: Table) -> dict[str, Any]:
    fields = [
        {
            "name": each.name,
            "type": _type(each),
            "description": each.description,
            **({"unit": each.unit} if each.unit else {}),
            "constraints": {
                "required": not each.nullable,
                **({"enum": list(each.choices)} if each.choices else {}),
            },
        }
        for each in schema.columns
    ]
    return {
        "name": schema.name,
        "path": f"{schema.name}.csv",
        "profile": "tabular-data-resource",
        "description": schema.description,
        "encoding": "utf-8",
        "schema": {"fields": fields, "primaryKey": list(schema.grain), "missingValues": [""]},
    }


def _type(column: Column) -> str:
    kind = column.type
    if column.kind == "picture" or pa.types.is_binary(kind):
        return "string"
    if column.kind == "json" or kind == RLE:
        return "object"
    tests: list[tuple[Callable[[pa.DataType], bool], str]] = [
        (pa.types.is_list, "array"),
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "number"),
        (pa.types.is_timestamp, "datetime"),
    ]
    return next((name for test, name in tests if test(kind)), "string")


exporters.register("csv")(Exporter("comma-separated values, a file a table, with a data package", write))
