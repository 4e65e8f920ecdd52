"""Hugging Face: a folder that ``datasets.load_dataset`` opens, with pictures, data set card and Croissant metadata."""

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml  # type: ignore[import-untyped]
from PIL import Image

from xvcore.export.beside import write_table
from xvcore.export.content import Content, masks_of
from xvcore.export.croissant import croissant
from xvcore.export.exporting import Exporter, Written, exporters
from xvcore.store import Table
from xvcore.store.encode import is_missing, picture, rle_decode
from xvcore.store.parquet import footer, options
from xvcore.store.schema import CLASS, DATASET, IMAGE, key, listed
from xvcore.store.schema import picture as picture_column

SPLIT = "results"
"""The one split of every configuration: that of the data is a column."""
IMAGES = Table(
    "images",
    "An image as the networks of these runs saw it: cropped and scaled to their input.",
    (
        key("key", "digest of data set, way of seeing, class and image"),
        DATASET,
        key("split", "part of the data set", nullable=True),
        CLASS,
        key("class_name", "the class in words", nullable=True),
        IMAGE,
        key("sha256", "SHA-256 of the image file", nullable=True),
        listed("run_ids", pa.string(), "runs whose networks saw it so"),
        picture_column("image", "the picture; boxes and masks of these runs are in its pixels"),
    ),
    grain=("key",),
    rows_per_group=100,
)
HOW = """\
```python
from datasets import load_dataset
images = load_dataset("path/of/this/folder", split="results")            # pictures as the networks saw them
masks = load_dataset("path/of/this/folder", "masks", split="results")    # a configuration for each table
```

`rle` is a mask in COCO's run lengths (`pycocotools.mask.decode`); `rle_picture` is the same as a picture, white where
it is true. `croissant.json` describes every table for tools that read Croissant."""


def write(content: Content, out: Path) -> Written:
    """Write a Parquet file for each table, the pictures, the card and the Croissant description."""
    data = out / "data"
    data.mkdir()
    lost = _write_images(content, data / "images.parquet")
    tables = [IMAGES]
    for schema in content.tables:
        shown = _with_pictures(schema)
        if shown is schema:
            write_table(content, schema, data / f"{schema.name}.parquet")
        else:
            _write_with_pictures(content, schema, shown, data / f"{schema.name}.parquet")
        tables.append(shown)
    (out / "README.md").write_text(_card(content, tables))
    (out / "croissant.json").write_text(
        json.dumps(croissant(content, tables, out), indent=1, ensure_ascii=False) + "\n"
    )
    return Written(HOW, {}, lost)


def _write_images(content: Content, path: Path) -> list[str]:
    lost: list[str] = []
    arrow = IMAGES.arrow.with_metadata(footer(IMAGES, {}))
    with pq.ParquetWriter(path, arrow, **options(IMAGES)) as writer:
        rows: list[dict[str, Any]] = []
        for each in content.seen:
            pixels = content.pixels(each)
            if pixels is None:
                lost.append(f"{each.class_id}/{each.image_id}")
            row = {name: getattr(each, name) for name in ("key", "dataset", "split", "class_id", "image_id", "sha256")}
            name = content.class_names.get((each.dataset, each.class_id))
            image = None if pixels is None else picture(pixels, "png", path=f"{each.key}.png")
            rows.append({**row, "class_name": name, "run_ids": list(each.run_ids), "image": image})
            if len(rows) == IMAGES.rows_per_group:
                writer.write_table(pa.Table.from_pylist(rows, schema=arrow))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema=arrow))
    return lost


def _with_pictures(schema: Table) -> Table:
    """Return a table with a picture beside each mask, for people; the table itself where it has none."""
    masks = masks_of(schema)
    more = tuple(picture_column(f"{name}_picture", f"{name} as a picture: white where it is true") for name in masks)
    return dataclasses.replace(schema, columns=(*schema.columns, *more)) if masks else schema


def _write_with_pictures(content: Content, schema: Table, shown: Table, path: Path) -> None:
    arrow = shown.arrow.with_metadata(footer(shown, {}))
    with pq.ParquetWriter(path, arrow, **options(shown)) as writer:
        for rows in content.rows(schema):
            for start in range(0, rows.num_rows, IMAGES.rows_per_group):
                part = rows.slice(start, IMAGES.rows_per_group)
                for name in masks_of(schema):
                    cells = pa.array(_mask_pictures(part.column(name)), shown[f"{name}_picture"].type)
                    part = part.append_column(f"{name}_picture", cells)
                writer.write_table(part.cast(shown.arrow))


def _mask_pictures(cells: pa.ChunkedArray) -> Iterator[dict[str, Any] | None]:
    for cell in cells.to_pylist():
        if is_missing(cell):
            yield None
            continue
        buffer = io.BytesIO()
        Image.fromarray(rle_decode(cell).astype(np.uint8) * 255).convert("1").save(buffer, "PNG")
        yield {"bytes": buffer.getvalue(), "path": None}


def _card(content: Content, tables: list[Table]) -> str:
    """Return the card: its head for the loader and the hub, then what the tables are."""
    configurations = [
        {
            "config_name": each.name,
            "data_files": [{"split": SPLIT, "path": f"data/{each.name}.parquet"}],
            **({"default": True} if each is tables[0] else {}),
        }
        for each in tables
    ]
    networks = sorted({str(row["model"]) for row in content.runs.values()})
    head = {
        "pretty_name": f"What {', '.join(networks)} look at",
        "license": "other",
        "license_name": "as-the-data-set",
        "tags": ["explainability", "interpretability", "image-classification", "croissant"],
        "configs": configurations,
    }
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        f"# What {', '.join(networks)} look at",
        "",
        "Results of xv: what image classifiers look at regularly, over whole classes. The pictures are those of the "
        "data sets that were looked at, whose licences hold for them.",
        "",
        "| table | rows are | a row is told by |",
        "|---|---|---|",
        *(f"| `{each.name}` | {each.description} | {', '.join(each.grain)} |" for each in tables),
        "",
    ]
    return "\n".join(lines)


exporters.register("hf")(Exporter("Hugging Face datasets, with pictures, card and Croissant metadata", write))
