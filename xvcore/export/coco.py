"""COCO: a file of annotations for each run, run-length masks and boxes on the pictures as the networks saw them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco

from xvcore.export.beside import write_rest
from xvcore.export.content import Content, Seen, has_boxes, masks_of, plain, plain_columns
from xvcore.export.exporting import Exporter, Written, exporters
from xvcore.export.images import Picture, write_pictures
from xvcore.keys import file_name
from xvcore.store import Table
from xvcore.store.encode import is_missing, rle_area

HOW = """\
```python
from pycocotools.coco import COCO
coco = COCO("annotations/<run>.json")       # pictures lie in images/
coco.annToMask(coco.anns[1])                # of a mask: the pixels that it removes
```

Categories are classes. `attributes` of an annotation has the other columns of its row, `table` says of which table it
is: rows of `masks` (sharp and smooth ones, see `kind`) have run lengths as segmentation, boxes their rectangle. A row
without a mask (`error` says why) is no annotation; it is listed under `rows_without_shape`.
pycocotools with numpy 2 answers `mask.area` for 255 masks a call at most; areas are in the file."""


def write(content: Content, out: Path) -> Written:
    """Write pictures and a file of annotations for each run."""
    names, lost = write_pictures(content, out / "images")
    tables = [each for each in content.on_images() if masks_of(each) or has_boxes(each)]
    (out / "annotations").mkdir(parents=True)
    for run_id in content.runs:
        rows = [row for schema in tables for row in _rows(content, schema, run_id)]
        if rows:
            text = json.dumps(_file(content, run_id, names, rows), ensure_ascii=False, allow_nan=False)
            (out / "annotations" / f"{file_name(run_id)}.json").write_text(text)
    held = {schema.name: frozenset({*plain_columns(schema), *masks_of(schema)[:1]}) for schema in tables}
    return Written(HOW, write_rest(content, out, held), lost)


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a table that is a shape on an image, or would be if its mask were not missing."""

    table: str
    seen: Seen
    class_id: str
    shape: dict[str, Any] | None
    attributes: dict[str, Any]


def _rows(content: Content, schema: Table, run_id: str) -> Iterator[_Row]:
    masks, names = masks_of(schema)[:1], plain_columns(schema)
    for rows in content.rows(schema, [*names, *masks], run_id=run_id):
        for row in rows.to_pylist():
            seen = content.image_of(row)
            shape = _mask(row[masks[0]]) if masks else _box([int(row[side]) for side in "xywh"])
            yield _Row(schema.name, seen, row.get("class_id", seen.class_id), shape, plain(row, names))


def _file(content: Content, run_id: str, names: Mapping[str, Picture], rows: Sequence[_Row]) -> dict[str, Any]:
    run, name_of = content.runs[run_id], content.class_names
    images = sorted({each.key: each for each in content.seen if run_id in each.run_ids}.items())
    numbers = {key: place for place, (key, _) in enumerate(images, 1)}
    classes = {each: place for place, each in enumerate(sorted({row.class_id for row in rows}), 1)}
    shown = [row for row in rows if row.shape is not None]
    return {
        "info": {
            "description": f"xv: {run['model']}, {run['method']}, {run['dataset']}",
            "version": str(run["version"] or ""),
            "date_created": str(run["created_at"]),
            "run_id": run_id,
        },
        "licenses": [],
        "images": [
            {
                "id": numbers[key],
                "file_name": names[key].path,
                "width": names[key].width,
                "height": names[key].height,
                "image_id": image.image_id,
                "class_id": image.class_id,
                "sha256": image.sha256,
            }
            for key, image in images
        ],
        "categories": [
            {"id": place, "name": name_of.get((run["dataset"], each), each), "class_id": each}
            for each, place in classes.items()
        ],
        "annotations": [
            {
                "id": place,
                "image_id": numbers[row.seen.key],
                "category_id": classes[row.class_id],
                **(row.shape or {}),
                "iscrowd": 0,
                "table": row.table,
                "attributes": row.attributes,
            }
            for place, row in enumerate(shown, 1)
        ],
        "rows_without_shape": [{"table": row.table, "attributes": row.attributes} for row in rows if row.shape is None],
    }


def _mask(cell: Any) -> dict[str, Any] | None:
    if is_missing(cell):
        return None
    code = {"size": [int(side) for side in cell["size"]], "counts": bytes(cell["counts"])}
    box = [float(side) for side in coco.toBbox([code])[0]]
    return {
        "segmentation": {"size": code["size"], "counts": cell["counts"].decode("ascii")},
        "area": int(rle_area([code])[0]),
        "bbox": box,
    }


def _box(box: list[int]) -> dict[str, Any]:
    x, y, w, h = box
    return {"segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]], "area": w * h, "bbox": box}


exporters.register("coco")(Exporter("COCO annotations: masks as run lengths, regions as boxes", write))
