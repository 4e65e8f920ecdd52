"""FiftyOne: a sample for each image, with masks, evidence as heat maps, regions and predictions of every run as labels.

The layout is that of FiftyOne's own exports of type ``FiftyOneDataset``: ``metadata.json`` (the document of the data
set with its fields), ``samples.json``, pictures in ``data/`` and masks in ``fields/``. FiftyOne itself is not needed.
"""

import base64
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xvcore.export.beside import write_rest
from xvcore.export.content import Content, Seen, has_boxes, map_sides, masks_of, plain, plain_columns
from xvcore.export.exporting import Exporter, Written, exporters
from xvcore.export.images import Picture, write_pictures
from xvcore.keys import digest
from xvcore.store import Table
from xvcore.store.encode import is_missing, map_array, picture, rle_decode

VERSION = "1.13.0"
"""Of FiftyOne: the last one that changed what is written here."""
SALIENT = 255
"""Of a pixel of a mask that is true."""
LOST = "picture lost"
"""Tag of samples whose picture cannot be had any more."""
HOW = """\
```python
import fiftyone as fo
dataset = fo.Dataset.from_dir("path/of/this/folder", dataset_type=fo.types.FiftyOneDataset)
fo.launch_app(dataset)
```

FiftyOne 1.13 or newer. A sample is an image as networks saw it; its labels are fields `TABLE_KIND__RUN`: masks as
segmentation (255 is true), maps as heat maps with the numbers of the table, boxes as detections, predictions as
classifications. The other columns of a row are attributes of its label (`dataset.add_dynamic_sample_fields()` puts them
into the sidebar). Samples whose picture could not be had any more have the tag `picture lost`."""
_TAKEN = frozenset(
    {"id", "tags", "label", "mask", "mask_path", "map", "map_path", "range", "bounding_box", "confidence", "logits"}
    | {"index", "instance", "attributes"}
)
"""Names of FiftyOne's own in labels."""


def write(content: Content, out: Path) -> Written:
    """Write samples, pictures and the document of the data set."""
    pictures, lost = write_pictures(content, out / "data")
    draft = _Draft(
        content, out, pictures, {each.key: _sample(content, each, pictures[each.key]) for each in content.seen}
    )
    held: dict[str, frozenset[str]] = {}
    for schema in content.on_images():
        if schema.name == "predictions":
            draft.add(schema, _predictions)
            held[schema.name] = frozenset(plain_columns(schema))
        elif masks_of(schema) or map_sides(schema):
            draft.add(schema, _layers)
            held[schema.name] = frozenset({*plain_columns(schema), *masks_of(schema)[:1], *list(map_sides(schema))[:1]})
        elif has_boxes(schema):
            draft.add(schema, _boxes)
            held[schema.name] = frozenset(plain_columns(schema))
    (out / "metadata.json").write_text(_json(_document(content, draft)))
    (out / "samples.json").write_text(_json({"samples": list(draft.samples.values())}))
    return Written(HOW, write_rest(content, out, held), lost)


@dataclass
class _Draft:
    """The samples as they come about.

    Parameters
    ----------
    content, out, pictures : what is written, where, and the pictures by key
    samples : documents by key of the image
    fields : the class of the label and the description of each field
    """

    content: Content
    out: Path
    pictures: Mapping[str, Picture]
    samples: dict[str, dict[str, Any]]
    fields: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, schema: Table, labels: Any) -> None:
        """Add the rows of a table as labels; ``labels`` gives name, document and whether it is one of several boxes."""
        for run_id, run in self.content.runs.items():
            names = [*plain_columns(schema), *masks_of(schema)[:1], *list(map_sides(schema))[:1]]
            words = f"{schema.description} {run['model']}, {run['method']}"
            for rows in self.content.rows(schema, names, run_id=run_id):
                for place, row in enumerate(rows.to_pylist()):
                    seen = self.content.image_of(row)
                    for name, label in labels(self, schema, row, seen, f"{run_id}-{place}"):
                        self._put(self.samples[seen.key], f"{name}__{_safe(run_id)}", label, words)

    def _put(self, sample: dict[str, Any], name: str, label: dict[str, Any], words: str) -> None:
        if label["_cls"] == "Detection":
            self.fields[name] = ("Detections", words)
            sample.setdefault(name, {"_cls": "Detections", "detections": []})["detections"].append(label)
            return
        self.fields[name] = (label["_cls"], words)
        sample[name] = label

    def free(self, seen: Seen, name: str, run_id: str) -> str:
        """Return the first of ``name``, ``name_2`` … that the sample of an image has no field of."""
        sample, found, number = self.samples[seen.key], name, 1
        while f"{found}__{_safe(run_id)}" in sample:
            number += 1
            found = f"{name}_{number}"
        return found


def _sample(content: Content, image: Seen, shown: Picture) -> dict[str, Any]:
    name = content.class_names.get((image.dataset, image.class_id), image.class_id)
    return {
        "_id": _object_id(image.key),
        "filepath": f"data/{shown.path}",
        "tags": [] if shown.is_there else [LOST],
        "metadata": {"_cls": "ImageMetadata", "width": shown.width, "height": shown.height, "num_channels": 3},
        "_media_type": "image",
        "_rand": int(digest(image.key, 8), 16) / 16**8,
        "image_id": image.image_id,
        "class_id": image.class_id,
        "dataset": image.dataset,
        "split": image.split,
        "sha256": image.sha256,
        "ground_truth": _label("Classification", image.key, {}, label=name),
    }


def _label(kind: str, key: str, row: Mapping[str, Any], **cells: Any) -> dict[str, Any]:
    """Return the document of a label; columns of names that FiftyOne has taken are called ``column_NAME``."""
    attributes = {f"column_{name}" if name in _TAKEN else name: value for name, value in row.items()}
    return {"_id": _object_id([kind, key]), "_cls": kind, "tags": [], **cells, **attributes}


def _predictions(
    _draft: _Draft, schema: Table, row: Mapping[str, Any], seen: Seen, key: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    output, cells = row["pred_idx"], plain(row, plain_columns(schema))
    if output is None:
        yield schema.name, _label("Classification", key, cells)
        return
    name = seen.class_id if output == row["target_idx"] else f"output {output}"
    yield schema.name, _label("Classification", key, cells, label=name, confidence=row["prob_pred"])


def _layers(
    draft: _Draft, schema: Table, row: Mapping[str, Any], seen: Seen, key: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a row's mask, and its map; the first of them has the other columns."""
    cells = plain(row, plain_columns(schema))
    kinds = [str(row[name]) for name in schema.grain if schema[name].choices]
    name = draft.free(seen, _safe("_".join([schema.name, *kinds])), str(row["run_id"]))
    masks, maps = masks_of(schema)[:1], list(map_sides(schema).items())[:1]
    for column in masks:
        path = f"fields/{name}__{_safe(row['run_id'])}/{digest([seen.key, key], 20)}.png"
        if is_missing(row[column]):
            yield name, _label("Segmentation", key, cells)
        else:
            (draft.out / path).parent.mkdir(parents=True, exist_ok=True)
            pixels = rle_decode(row[column]).astype(np.uint8) * SALIENT
            (draft.out / path).write_bytes(picture(pixels, "png")["bytes"])
            yield name, _label("Segmentation", key, cells, mask_path=path)
    for column, (height, width) in maps:
        rest = {} if masks else cells
        if not is_missing(row[column]):
            values = map_array(row[column], int(row[height]), int(row[width]))
            shown = _label("Heatmap", key, rest, map=_array(values), range=_range(values))
            yield (f"{name}_map" if masks else name), shown
        elif not masks:
            yield name, _label("Heatmap", key, rest)


def _boxes(
    draft: _Draft, schema: Table, row: Mapping[str, Any], seen: Seen, key: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    shown = draft.pictures[seen.key]
    sides = [max(1, shown.width), max(1, shown.height)] * 2
    box = [row[name] / side for name, side in zip("xywh", sides, strict=True)]
    yield (
        schema.name,
        _label("Detection", key, plain(row, plain_columns(schema)), label=_name(schema, row), bounding_box=box),
    )


def _name(schema: Table, row: Mapping[str, Any]) -> str:
    """Return what a box is called: its cluster, or what tells rows apart beside image and place."""
    if "cluster_id" in row:
        return f"cluster {row['cluster_id']}"
    names = [each for each in schema.grain if each not in ("run_id", "class_id", "image_id", "position", "target_idx")]
    return " ".join(str(row[each]) for each in names) or schema.name


def _range(values: np.ndarray) -> list[float]:
    """Return the ends of a map's scale: 0 in the middle where there is something below 0."""
    largest = float(np.abs(values).max(initial=0)) or 1.0
    return [-largest, largest] if (values < 0).any() else [0.0, max(1.0, largest)]


def _array(values: np.ndarray) -> dict[str, Any]:
    """Return an array as FiftyOne stores it: what ``numpy.save`` writes, compressed."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return {"$binary": {"base64": base64.b64encode(zlib.compress(buffer.getvalue())).decode("ascii"), "subType": "00"}}


def _document(content: Content, draft: _Draft) -> dict[str, Any]:
    kinds = {"id": "ObjectIdField", "filepath": "StringField", "_media_type": "StringField", "_rand": "FloatField"}
    kinds |= {"_dataset_id": "ObjectIdField", "created_at": "DateTimeField", "last_modified_at": "DateTimeField"}
    kinds |= dict.fromkeys(("image_id", "class_id", "dataset", "split", "sha256"), "StringField")
    fields = [_field(name, kind, db_field={"id": "_id"}.get(name, name)) for name, kind in kinds.items()]
    fields.append(_field("tags", "ListField", subfield="fiftyone.core.fields.StringField"))
    inside = [
        _field("size_bytes", "IntField"),
        _field("mime_type", "StringField"),
        *(_field(name, "IntField") for name in ("width", "height", "num_channels")),
    ]
    fields.append(
        _field("metadata", "EmbeddedDocumentField", embedded="fiftyone.core.metadata.ImageMetadata", fields=inside)
    )
    labels = {"ground_truth": ("Classification", "The class that the data set says."), **draft.fields}
    for name, (kind, words) in labels.items():
        embedded = f"fiftyone.core.labels.{kind}"
        fields.append(_field(name, "EmbeddedDocumentField", embedded=embedded, fields=_PARTS[kind], description=words))
    targets = {name: {str(SALIENT): "true"} for name, (kind, _) in draft.fields.items() if kind == "Segmentation"}
    return {
        "name": "xv-results",
        "version": VERSION,
        "media_type": "image",
        "tags": [],
        "info": {run_id: f"{run['model']}, {run['method']}, {run['dataset']}" for run_id, run in content.runs.items()},
        "classes": {},
        "default_classes": [],
        "mask_targets": targets,
        "default_mask_targets": {},
        "sample_fields": fields,
        "frame_fields": [],
        "saved_views": [],
        "workspaces": [],
        "annotation_runs": {},
        "brain_methods": {},
        "evaluations": {},
        "runs": {},
    }


def _field(
    name: str, kind: str, *, embedded: str | None = None, subfield: str | None = None, **others: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "ftype": f"fiftyone.core.fields.{kind}",
        "embedded_doc_type": embedded,
        "subfield": subfield,
        "fields": [],
        "db_field": name,
        "description": None,
        "info": None,
        "read_only": False,
        "created_at": None,
        **others,
    }


_LABEL = [
    _field("id", "ObjectIdField", db_field="_id"),
    _field("tags", "ListField", subfield="fiftyone.core.fields.StringField"),
]
_NAMED = [*_LABEL, _field("label", "StringField"), _field("confidence", "FloatField")]
_DETECTION = [*_NAMED, _field("bounding_box", "ListField", subfield="fiftyone.core.fields.FloatField")]
_PARTS: dict[str, list[dict[str, Any]]] = {
    "Classification": [*_NAMED, _field("logits", "VectorField")],
    "Segmentation": [*_LABEL, _field("mask", "ArrayField"), _field("mask_path", "StringField")],
    "Heatmap": [
        *_LABEL,
        _field("map", "ArrayField"),
        _field("map_path", "StringField"),
        _field("range", "HeatmapRangeField"),
    ],
    "Detections": [
        _field(
            "detections",
            "ListField",
            embedded="fiftyone.core.labels.Detection",
            subfield="fiftyone.core.fields.EmbeddedDocumentField",
            fields=_DETECTION,
        )
    ],
}
"""Fields of each kind of label."""


def _object_id(value: Any) -> dict[str, str]:
    return {"$oid": digest(value, 24)}


def _safe(text: str) -> str:
    """Return a name as fields may have it."""
    return re.sub(r"\W+", "_", text, flags=re.ASCII)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


exporters.register("fiftyone")(Exporter("FiftyOne samples with masks, heat maps, regions and predictions", write))
