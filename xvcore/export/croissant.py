"""Croissant 1.0: what the tables of an export are, in JSON-LD for machines."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from xvcore.export.content import Content
from xvcore.store import Column, Table
from xvcore.store.schema import RLE

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(content: Content, tables: Sequence[Table], folder: Path) -> dict[str, Any]:
    """Return the description of ``data/<table>.parquet`` in a folder: files with digests, a record set a table."""
    dates = [row["created_at"] for row in content.runs.values() if row["created_at"] == row["created_at"]]
    versions = sorted({str(row["version"]) for row in content.runs.values() if row["version"]})
    networks = ", ".join(sorted({str(row["model"]) for row in content.runs.values()}))
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "xv-results",
        "description": f"What {networks} look at regularly, over whole classes of images; results of xv.",
        "license": "https://choosealicense.com/no-permission/",
        "url": "https://example.org/xv-results",
        "version": "1.0.0",
        "keywords": ["explainability", "image classification", *(f"xv {each}" for each in versions)],
        "creator": {"@type": "Organization", "name": "xv"},
        "datePublished": str(max(dates).date()) if dates else "1970-01-01",
        "citeAs": f"Results of xv for {networks}.",
        "distribution": [_file(each, folder) for each in tables],
        "recordSet": [_records(each) for each in tables],
    }


def _file(table: Table, folder: Path) -> dict[str, Any]:
    path = folder / "data" / f"{table.name}.parquet"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": _file_id(table),
        "name": path.name,
        "contentUrl": f"data/{path.name}",
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": digest,
    }


def _file_id(table: Table) -> str:
    return f"{table.name}.parquet"


def _records(table: Table) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": table.description,
        "key": [{"@id": f"{table.name}/{name}"} for name in table.grain],
        "field": [field for column in table.columns for field in _fields(table, column)],
    }


def _fields(table: Table, column: Column) -> list[dict[str, Any]]:
    """Return the field of a column; of run lengths one for their size and one for their counts."""
    if column.type == RLE:
        size, counts = RLE.field("size").type, RLE.field("counts").type
        return [_field(table, column, size, "size"), _field(table, column, counts, "counts")]
    return [_field(table, column, column.type, "bytes" if column.kind == "picture" else "")]


def _field(table: Table, column: Column, kind: pa.DataType, inside: str) -> dict[str, Any]:
    is_picture = column.kind == "picture"
    name = column.name if is_picture or not inside else f"{column.name}_{inside}"
    source: dict[str, Any] = {"fileObject": {"@id": _file_id(table)}, "extract": {"column": column.name}}
    return {
        "@type": "cr:Field",
        "@id": f"{table.name}/{name}",
        "name": name,
        "description": f"{column.description}{f' ({column.unit})' if column.unit else ''}",
        "dataType": "sc:ImageObject" if is_picture else _type(kind),
        "source": {**source, "transform": {"jsonPath": inside}} if inside else source,
        **({"repeated": True} if pa.types.is_list(kind) else {}),
    }


def _type(kind: pa.DataType) -> str:
    kind = kind.value_type if pa.types.is_list(kind) else kind
    tests = [
        (pa.types.is_boolean, "sc:Boolean"),
        (pa.types.is_integer, "sc:Integer"),
        (pa.types.is_floating, "sc:Float"),
        (pa.types.is_timestamp, "sc:Date"),
    ]
    return next((name for test, name in tests if test(kind)), "sc:Text")
