"""ViRelAy: a project for each table of maps of a run: pictures, attributions, and where each lies among the others.

The layout is that of ViRelAy 0.6 (Anders, Neumann, Samek, Müller, Lapuschkin, *Software for Dataset-wide XAI*, 2021):
``project.yaml`` beside ``label_map.json``, ``dataset.h5``, ``attribution.h5`` and ``analysis.h5``.
"""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from xvcore.errors import ExportError
from xvcore.export.beside import write_rest
from xvcore.export.content import Content, Seen, map_sides, plain, plain_columns
from xvcore.export.exporting import Exporter, Written, exporters
from xvcore.keys import file_name
from xvcore.query import table
from xvcore.store import Table
from xvcore.store.encode import is_missing, map_array

HOW = """\
```
pip install virelay
virelay <run>/<table>/project.yaml
```

A project is one table of maps of one run. An item is a row that has a map: its picture as the network saw it, and the
map as attribution: three channels, of which the first has the numbers of the table (of `soft_map` 1 keeps a pixel) and
the others are 0; ViRelAy draws their sum. `prediction` has the two probabilities that the store knows, of the class and
of the prediction, and 0 for every other output. In `analysis.h5` a category is a class, and an item's place says how
its map differs from the others of the class: the two principal components. The one clustering is by kind of row. `row`
of `attribution.h5` is the row as JSON, without its map; rows that have none are in `rows_without_map.json`."""
GREY = 128
"""Of a picture that cannot be had any more."""


def write(content: Content, out: Path) -> Written:
    """Write a project for every run and table that has maps of images."""
    _h5py()  # what is missing is said before anything is written
    tables = [each for each in content.on_images() if map_sides(each)]
    for schema in tables:
        for run_id in content.runs:
            items, rest = _items(content, schema, run_id)
            folder = out / file_name(run_id) / schema.name
            if items:
                folder.mkdir(parents=True)
                _write_project(content, run_id, schema, items, folder)
            if rest:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "rows_without_map.json").write_text(json.dumps(rest, ensure_ascii=False, allow_nan=False))
    lost = [f"{each.class_id}/{each.image_id}" for each in content.seen if content.pixels(each) is None]
    held = {each.name: frozenset({*plain_columns(each), next(iter(map_sides(each)))}) for each in tables}
    return Written(HOW, write_rest(content, out, held), lost)


@dataclass(frozen=True, slots=True)
class _Item:
    """A row with a map: the image, the map (h, w) and the other cells."""

    seen: Seen
    values: np.ndarray
    row: dict[str, Any]

    @property
    def class_id(self) -> str:
        """The class that is explained."""
        return str(self.row.get("class_id", self.seen.class_id))


def _items(content: Content, schema: Table, run_id: str) -> tuple[list[_Item], list[dict[str, Any]]]:
    """Return the rows of a run with their maps, and those without."""
    (name, (height, width)), *_ = map_sides(schema).items()
    names = plain_columns(schema)
    items, rest = [], []
    for rows in content.rows(schema, [*names, name], run_id=run_id):
        for row in rows.to_pylist():
            if is_missing(row[name]):
                rest.append(plain(row, names))
                continue
            values = map_array(row[name], int(row[height]), int(row[width]))
            items.append(_Item(content.image_of(row), values, plain(row, names)))
    return items, rest


def _write_project(content: Content, run_id: str, schema: Table, items: Sequence[_Item], folder: Path) -> None:
    h5py, run = _h5py(), content.runs[run_id]
    classes = sorted({each.class_id for each in items})
    known = table(content.store, "predictions", run_id=run_id)
    predicted = known.set_index(["class_id", "image_id"])
    outputs = known.dropna(subset="target_idx").to_dict("records")
    index = {str(row["class_id"]): int(row["target_idx"]) for row in outputs if row["class_id"] in classes}
    for class_id in classes:
        index.setdefault(class_id, max(index.values(), default=-1) + 1)
    labels = [
        {
            "index": index[each],
            "word_net_id": each,
            "name": content.class_names.get((run["dataset"], each), each),
        }
        for each in classes
    ]
    (folder / "label_map.json").write_text(json.dumps(labels, ensure_ascii=False))
    label = np.array([index[each.class_id] for each in items], dtype=np.uint16)
    _write_pictures(content, items, label, folder / "dataset.h5")
    with h5py.File(folder / "attribution.h5", "w") as file:
        maps = file.create_group("attribution")
        for place, each in enumerate(items):
            maps.create_dataset(f"{place:08d}", data=_channels(each.values), compression="gzip")
        file["label"] = label
        file["prediction"] = _predictions(items, predicted, max(index.values()) + 1)
        file["index"] = np.arange(len(items))
        file["row"] = [json.dumps(each.row, ensure_ascii=False, allow_nan=False) for each in items]
    with h5py.File(folder / "analysis.h5", "w") as file:
        for class_id in classes:
            places = [place for place, each in enumerate(items) if each.class_id == class_id]
            kinds = [" ".join(str(items[place].row.get(name, "")) for name in _kind(schema)) for place in places]
            category = file.create_group(file_name(class_id))
            category["index"] = np.array(places)
            category["embedding/principal components"] = _components([items[place].values for place in places])
            category[f"cluster/{', '.join(_kind(schema)) or 'all'}"] = np.unique(kinds, return_inverse=True)[1]
    project = {
        "name": f"{run['model']}: {schema.name}",
        "model": str(run["model"]),
        "label_map": "label_map.json",
        "dataset": {"name": str(run["dataset"]), "type": "hdf5", "path": "dataset.h5"},
        "attributions": {
            "attribution_method": str(run["method"]),
            "attribution_strategy": "true_label",
            "sources": ["attribution.h5"],
        },
        "analyses": [{"analysis_method": "maps", "sources": ["analysis.h5"]}],
    }
    (folder / "project.yaml").write_text(yaml.safe_dump({"project": project}, sort_keys=False, allow_unicode=True))


def _kind(schema: Table) -> list[str]:
    """Return the columns by which rows of one image differ."""
    return [name for name in schema.grain if name not in ("run_id", "class_id", "image_id", "target_idx")]


def _write_pictures(content: Content, items: Sequence[_Item], label: np.ndarray, path: Path) -> None:
    """Write an item's picture (3, h, w) under its number; one that several items share is there once."""
    with _h5py().File(path, "w") as file:
        data = file.create_group("data")
        first: dict[str, str] = {}
        for place, each in enumerate(items):
            name = f"{place:08d}"
            if each.seen.key in first:
                data[name] = data[first[each.seen.key]]
                continue
            pixels = content.pixels(each.seen)
            if pixels is None:
                side = int(content.runs[each.seen.run_ids[0]]["input_px"] or 1)
                pixels = np.full((side, side, 3), GREY, dtype=np.uint8)
            data.create_dataset(name, data=pixels.transpose(2, 0, 1), compression="gzip")
            first[each.seen.key] = name
        file["label"] = label


def _channels(values: np.ndarray) -> np.ndarray:
    """Return a map (h, w) as ViRelAy draws it: three channels (3, h, w) whose sum it is, the first of them itself."""
    return np.stack([values, np.zeros_like(values), np.zeros_like(values)])


def _predictions(items: Sequence[_Item], predicted: Any, n_outputs: int) -> np.ndarray:
    """Return probabilities (items, outputs): those that are known, 0 elsewhere."""
    highest = predicted[["target_idx", "pred_idx"]].max().max()
    found = np.zeros((len(items), max(n_outputs, 0 if is_missing(highest) else int(highest) + 1)), dtype=np.float32)
    for place, each in enumerate(items):
        row = predicted.loc[(each.seen.class_id, each.seen.image_id)]
        for output, probability in (("target_idx", "prob_target"), ("pred_idx", "prob_pred")):
            if not is_missing(row[output]) and not is_missing(row[probability]):
                found[place, int(row[output])] = row[probability]
    return found


def _components(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Return the two principal components (items, 2) of maps; 0 where there are fewer, or maps differ in size."""
    found = np.zeros((len(maps), 2))
    if len({each.shape for each in maps}) == 1 and len(maps) > 1:
        flat = np.stack([each.ravel() for each in maps]).astype(np.float64)
        left, values, _ = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
        found[:, : min(2, left.shape[1])] = (left * values)[:, :2]
    return found


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ExportError("an export for ViRelAy needs h5py: pip install 'xv[export]'") from error


exporters.register("virelay")(Exporter("ViRelAy projects: pictures, attributions and their embedding in HDF5", write))
