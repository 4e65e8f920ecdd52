"""Laws of every export: nothing is lost, other tools open it, and a folder appears whole or not at all."""

import base64
import datetime
import io
import json
import math
import re
import shutil
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from bird_store import HOSTILE, HOSTILE_MODEL, drawn, seed_of
from export_store import EVIDENCE, LOST, picture_of, write_export_store
from exported_rows import beside, joined, keyed, of_store
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from xvcore.errors import ExportError, StoreError, UnknownNameError
from xvcore.export import export, exporters
from xvcore.store import SCHEMAS, Store
from xvcore.store.encode import rle_decode, rle_encode
from xvcore.store.schema import RLE, TIME
from xvcore.store.write import put

KINDS = [
    pytest.param(kind, marks=[pytest.mark.skipif(find_spec("h5py") is None, reason="h5py is not installed")])
    if kind == "virelay"
    else kind
    for kind in exporters
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_says_how_it_is_opened_what_lies_beside_and_which_pictures_are_lost(kind: str, folder_of) -> None:
    folder: Path = folder_of(kind)
    text = (folder / "README.md").read_text()
    assert EVIDENCE in text
    assert f"{HOSTILE}/{LOST}" in text or kind == "csv", "csv writes no pictures of images"
    for path in (folder / "beside").glob("*.parquet"):
        assert f"* `{path.stem}`: " in text


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_heads_go_along_and_lost_ones_are_said(kind: str, tmp_path: Path, caplog) -> None:
    store = write_export_store(tmp_path / "store")
    row = {"kind": "head", "n_train": 3, "n_held_out": 0, "n_tested": 0, "made_from": "0"}
    for training, content in (("seed-0", b"weights"), ("seed-1", None)):
        name = f"heads/{EVIDENCE}/{training}.pt"
        keys = {"run_id": EVIDENCE, "model": "m", "training": training}
        store.write("heads", EVIDENCE, training, [{**row, **keys, "file": name}, {**row, **keys, "kind": "probe"}])
        if content:
            put(store.place, name, content)
    folder = export(store, tmp_path / "export", kind, pictures=picture_of)
    assert (folder / f"beside/heads/{EVIDENCE}/seed-0.pt").read_bytes() == b"weights"
    assert f"* `heads/{EVIDENCE}/seed-0.pt`" in (folder / "README.md").read_text()
    assert f"heads/{EVIDENCE}/seed-1.pt of" in caplog.text
    store.write("heads", EVIDENCE, "seed-0", [{**row, **keys, "training": "seed-0", "file": "../evil"}])
    with pytest.raises(ExportError, match=r"names '../evil'"):
        export(store, tmp_path / "again", kind, pictures=picture_of)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_with_something_in_it_is_refused_and_left(kind: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="not empty"):
        export(store, tmp_path, kind, pictures=picture_of)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_export_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    def fails(*_: Any) -> None:
        raise OSError("disk on fire")

    with pytest.raises(OSError, match="fire"):
        export(store, tmp_path / "out", "coco", pictures=fails)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="coco, csv"):
        export(store, tmp_path / "out", "cocoo")
    with pytest.raises(UnknownNameError, match="wide-runn"):
        export(store, tmp_path / "out", "csv", run_ids=["wide-runn"])
    with pytest.raises(StoreError, match="nothing was ever written"):
        export(Store(tmp_path / "none"), tmp_path / "out", "csv")


def test_one_run_is_exported_alone(store: Store, tmp_path: Path) -> None:
    folder = export(store, tmp_path / "out", "csv", run_ids=[EVIDENCE], pictures=picture_of)
    assert set(pacsv.read_csv(folder / "predictions.csv").column("run_id").to_pylist()) == {EVIDENCE}
    assert not (folder / "masks.csv").exists()
    assert (folder / "classes.csv").exists(), "of its data set"


def test_the_command_line_exports_and_lists_the_formats(store: Store, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", "csv", "--store", store.url, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "out" / "README.md") in result.output
    listed = CliRunner().invoke(app, ["list", "exports"]).output
    assert [line.split("\t")[0] for line in listed.splitlines()] == list(exporters)


# Comma-separated values


def test_csv_gives_every_cell_back(store: Store, folder_of) -> None:
    folder, found = folder_of("csv"), {}
    for path in folder.glob("*.csv"):
        found[path.stem] = keyed(path.stem, _of_csv(folder, path).to_pylist())
    assert found == of_store(store)


def _of_csv(folder: Path, path: Path) -> pa.Table:
    schema = SCHEMAS[path.stem]
    types = {c.name: pa.string() if _is_text(c.type) else c.type for c in schema.columns}
    options = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False)
    parse = pacsv.ParseOptions(newlines_in_values=True)
    rows = pacsv.read_csv(path, convert_options=options, parse_options=parse)
    columns = [
        pa.array(
            [None if cell is None else _cell(folder, column, cell) for cell in rows.column(column.name).to_pylist()],
            column.type,
        )
        for column in schema.columns
    ]
    return pa.Table.from_arrays(columns, schema=schema.arrow)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_nested(kind) or pa.types.is_binary(kind) or kind == TIME


def _cell(folder: Path, column: Any, cell: Any) -> Any:
    if column.type == TIME:
        return datetime.datetime.fromisoformat(cell)
    if column.kind == "picture":
        return {"bytes": (folder / cell).read_bytes(), "path": None}
    if column.type == RLE:
        found = json.loads(cell)
        return {"size": found["size"], "counts": found["counts"].encode()}
    if pa.types.is_binary(column.type):
        return base64.b64decode(cell)
    if pa.types.is_list(column.type):
        numbers = json.loads(cell)
        return [np.float16(each) for each in numbers] if column.type.value_type == pa.float16() else numbers
    return cell


def test_the_data_package_describes_every_file_and_column(folder_of) -> None:
    folder = folder_of("csv")
    package = json.loads((folder / "datapackage.json").read_text())
    assert {each["path"] for each in package["resources"]} == {path.name for path in folder.glob("*.csv")}
    for resource in package["resources"]:
        head = pacsv.read_csv(folder / resource["path"], parse_options=pacsv.ParseOptions(newlines_in_values=True))
        assert [field["name"] for field in resource["schema"]["fields"]] == head.column_names


# COCO


def test_coco_and_what_lies_beside_give_every_cell_back(store: Store, folder_of) -> None:
    folder, held = folder_of("coco"), {}
    for path in (folder / "annotations").glob("*.json"):
        whole = json.loads(path.read_text())
        assert [each["id"] for each in whole["annotations"]] == list(range(1, len(whole["annotations"]) + 1))
        for each in (*whole["annotations"], *whole["rows_without_shape"]):
            row = dict(each["attributes"])
            segmentation = each.get("segmentation")
            if isinstance(segmentation, dict):
                row["rle"] = {"size": segmentation["size"], "counts": segmentation["counts"].encode()}
            key = tuple(row[name] for name in SCHEMAS[each["table"]].grain)
            held.setdefault(each["table"], {})[key] = row
    assert set(held) == {"masks", "regions", "patches"}
    assert joined(held, beside(folder)) == of_store(store)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11, numpy 2
def test_pycocotools_opens_masks_and_boxes_on_their_pictures(store: Store, folder_of) -> None:
    from pycocotools.coco import COCO

    folder = folder_of("coco")
    masks = of_store(store)["masks"]
    opened = 0
    for path in (folder / "annotations").glob("*.json"):
        coco = COCO(str(path))
        run_id = coco.dataset["info"]["run_id"]
        for annotation in coco.loadAnns(coco.getAnnIds()):
            (image,) = coco.loadImgs(annotation["image_id"])
            (category,) = coco.loadCats(annotation["category_id"])
            if annotation["table"] == "masks":
                row = masks[run_id, category["class_id"], image["image_id"], annotation["attributes"]["kind"]]
                expected = rle_decode(row["rle"])
                assert np.array_equal(coco.annToMask(annotation).astype(bool), expected)
                assert annotation["area"] == expected.sum()
            else:
                assert annotation["bbox"] == [annotation["attributes"][side] for side in "xywh"]
            with Image.open(folder / "images" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
                assert np.array_equal(np.asarray(picture), drawn(seed_of(image["image_id"])))
            opened += 1
    assert opened > 80


def test_a_mask_that_is_missing_is_no_annotation(tmp_path: Path, store: Store) -> None:
    changed = Store(shutil.copytree(store.url, tmp_path / "store"))
    rows = [{"image_id": "plain_1.JPEG", "kind": "sharp", "error": "no mask"}]
    changed.write("masks", "wide-run", HOSTILE, rows)
    folder = export(changed, tmp_path / "out", "coco", run_ids=["wide-run"], pictures=picture_of)
    whole = json.loads((folder / "annotations" / "wide-run.json").read_text())
    ours = [each["attributes"]["error"] for each in whole["rows_without_shape"]]
    assert ours == ["no mask"]
    assert not [each for each in whole["annotations"] if each["table"] == "masks" and each["attributes"].get("error")]


# Hugging Face


def test_the_files_for_hugging_face_hold_every_cell(store: Store, folder_of) -> None:
    folder, found = folder_of("hf"), {}
    for path in (folder / "data").glob("*.parquet"):
        if path.stem != "images":
            rows = pq.read_table(path, columns=list(SCHEMAS[path.stem].names)).to_pylist()
            found[path.stem] = keyed(path.stem, rows)
    assert found == of_store(store)


def test_datasets_opens_every_table_and_the_pictures_are_those_that_networks_saw(store, folder_of, tmp_path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets of Hugging Face is not installed")
    folder, expected = str(folder_of("hf")), of_store(store)
    names = datasets.get_dataset_config_names(folder)
    assert set(names) == {"images", *expected}
    for name in expected:
        rows = datasets.load_dataset(folder, name, split="results", cache_dir=str(tmp_path)).with_format("arrow")[:]
        assert keyed(name, rows.select(list(SCHEMAS[name].names)).to_pylist()) == expected[name]
    images = datasets.load_dataset(folder, split="results", cache_dir=str(tmp_path))
    shown = [row for row in images if row["image"] is not None]
    assert {row["image_id"] for row in images if row["image"] is None} == {LOST}
    for row in shown:
        assert np.array_equal(np.asarray(row["image"]), drawn(seed_of(row["image_id"])))
    masks = datasets.load_dataset(folder, "masks", split="results", cache_dir=str(tmp_path))
    for row in masks:
        assert np.array_equal(np.asarray(row["rle_picture"]), rle_decode(row["rle"]))


@pytest.mark.filterwarnings("ignore")  # mlcroissant and rdflib use what their own libraries have deprecated
def test_mlcroissant_finds_nothing_wrong_and_reads_the_records(store: Store, folder_of) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    opened = mlcroissant.Dataset(jsonld=folder_of("hf") / "croissant.json")
    issues = opened.metadata.ctx.issues
    assert not issues.errors
    assert not issues.warnings
    expected = of_store(store)
    assert {each.id for each in opened.metadata.record_sets} == {"images", *expected}
    for name in ("clusters", "masks"):
        rows = list(opened.records(name))
        assert len(rows) == len(expected[name])
        found = sum(row[f"{name}/prob_drop"] or 0 for row in rows)
        assert math.isclose(found, sum(row.get("prob_drop", 0) for row in expected[name].values()), rel_tol=1e-6)
    for row in opened.records("images"):
        if row["images/image"] is not None:
            image_id = row["images/image_id"].decode()
            assert np.array_equal(np.asarray(row["images/image"]), drawn(seed_of(image_id)))


def test_networks_that_see_the_same_pixels_share_their_pictures(store: Store, folder_of) -> None:
    rows = pq.read_table(folder_of("hf") / "data" / "images.parquet").to_pylist()
    of_robins = [row for row in rows if row["class_id"] == "robin" and row["image_id"] != LOST]
    assert len(of_robins) == 6
    assert all(row["run_ids"] == ["narrow-run", "wide-run"] for row in of_robins)
    assert HOSTILE_MODEL in {row["model"] for row in of_store(store)["runs"].values()}


# ViRelAy


def test_virelay_and_what_lies_beside_give_every_cell_back(store: Store, folder_of) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    folder, held = folder_of("virelay"), {}
    for path in folder.rglob("attribution.h5"):
        name = path.parent.name
        column = {"masks": "soft_map", "evidence": "evidence_map"}[name]
        with h5py.File(path) as file:
            for text, values in zip(file["row"].asstr(), file["attribution"].values(), strict=True):
                row = json.loads(text)
                row[column] = values[0].astype(np.float16).ravel().tolist()
                held.setdefault(name, {})[tuple(row[key] for key in SCHEMAS[name].grain)] = row
    for path in folder.rglob("rows_without_map.json"):
        for row in json.loads(path.read_text()):
            held[path.parent.name][tuple(row[key] for key in SCHEMAS[path.parent.name].grain)] = row
    assert set(held) == {"masks", "evidence"}
    assert joined(held, beside(folder)) == of_store(store)


def test_virelay_opens_its_projects_and_draws_pictures_maps_and_clusters(store: Store, folder_of) -> None:
    model = pytest.importorskip("virelay.model", reason="virelay is not installed")
    projects = [model.Project(str(path)) for path in sorted(folder_of("virelay").rglob("project.yaml"))]
    assert len(projects) == 3
    for project in projects:
        (method,) = project.get_analysis_methods()
        for category in project.get_analysis_categories(method):
            clustering = project.get_analysis_clustering_names(method)[0]
            embedding = project.get_analysis_embedding_names(method)[0]
            analysis = project.get_analysis(method, category.name, clustering, embedding)
            assert analysis.embedding.shape == (len(analysis.attribution_indices), 2)
            assert np.isfinite(analysis.embedding).all()
            for place in analysis.attribution_indices:
                attribution = project.get_attribution(int(place))
                sample = project.get_sample(int(place))
                assert attribution.labels[0].name == sample.labels[0].name
                assert np.array_equal(sample.data.shape, (96, 96, 3))
                for colours in ("seismic", "black-fire-red"):
                    assert attribution.render_heatmap(colours).shape[:2] == attribution.data.shape[:2]
        project.close()


# FiftyOne


def test_fiftyone_and_what_lies_beside_give_every_cell_back(store: Store, folder_of) -> None:
    folder, held = folder_of("fiftyone"), {}
    run_of = {re.sub(r"\W+", "_", run_id, flags=re.ASCII): run_id for (run_id,) in of_store(store)["runs"]}
    for sample in json.loads((folder / "samples.json").read_text())["samples"]:
        for name, value in sample.items():
            for label in value.get("detections", [value]) if "__" in name else []:
                column, cell = _layer(folder, label)
                table, run_id = name.split("__")[0].split("_")[0], run_of[name.split("__")[1]]
                row = {key: cell for key, cell in label.items() if key in SCHEMAS[table]}
                if name.split("__")[0].endswith("_map"):
                    kind = name.split("__")[0].split("_")[1]
                    row = {
                        "run_id": run_id,
                        "class_id": sample["class_id"],
                        "image_id": sample["image_id"],
                        "kind": kind,
                    }
                row |= {column: cell} if column else {}
                held.setdefault(table, {}).setdefault(tuple(row[key] for key in SCHEMAS[table].grain), {}).update(row)
    assert set(held) == {"masks", "regions", "patches", "predictions", "evidence"}
    assert joined(held, beside(folder)) == of_store(store)


def _layer(folder: Path, label: dict[str, Any]) -> tuple[str | None, Any]:
    """The column that a label's mask or map is, and the cell."""
    if "mask_path" in label:
        with Image.open(folder / label["mask_path"]) as image:
            assert set(np.unique(np.asarray(image))) <= {0, 255}
            return "rle", rle_encode(np.asarray(image) == 255)
    if "map" in label:
        values = np.load(io.BytesIO(zlib.decompress(base64.b64decode(label["map"]["$binary"]["base64"]))))
        low, high = label["range"]
        assert low <= values.min() <= values.max() <= high
        return ("soft_map" if "run_id" not in label else "evidence_map"), values.astype(np.float16).ravel().tolist()
    return None, None


@pytest.mark.filterwarnings("ignore")  # of FiftyOne's own libraries
def test_fiftyone_opens_the_samples_with_their_pictures_masks_maps_and_boxes(store: Store, folder_of) -> None:
    fo = pytest.importorskip("fiftyone", reason="fiftyone is not installed")
    folder = folder_of("fiftyone")
    dataset = fo.Dataset.from_dir(str(folder), dataset_type=fo.types.FiftyOneDataset, name="xv-test", overwrite=True)
    rows = of_store(store)
    schema = dataset.get_field_schema()
    counts = dict.fromkeys(("Segmentation", "Heatmap", "Detections", "Classification"), 0)
    for sample in dataset:
        is_lost = sample.image_id == LOST
        assert is_lost == ("picture lost" in sample.tags) == (not Path(sample.filepath).exists())
        if not is_lost:
            with Image.open(sample.filepath) as picture:
                assert np.array_equal(np.asarray(picture), drawn(seed_of(sample.image_id)))
        for name in schema:
            label = sample[name]
            if "__" not in name or label is None:
                continue
            counts[type(label).__name__] += 1
            if isinstance(label, fo.Segmentation):
                row = rows["masks"][label.run_id, label.class_id, label.image_id, label.kind]
                assert np.array_equal(label.get_mask() == 255, rle_decode(row["rle"]))
                assert label.area_frac == row["area_frac"]
            if isinstance(label, fo.Heatmap) and label.has_map:
                assert label.get_map().ndim == 2
            if isinstance(label, fo.Detections):
                for box in label.detections:
                    assert np.allclose(np.array(box.bounding_box) * 96, [box.x, box.y, box.w, box.h])
    boxes = {
        (name, run_id, row["image_id"]) for name in ("regions", "patches") for (run_id, *_), row in rows[name].items()
    }
    smooth = [row for row in rows["masks"].values() if "soft_map" in row]
    assert counts == {
        "Segmentation": len(rows["masks"]),
        "Heatmap": len(smooth) + len(rows["evidence"]),
        "Detections": len(boxes),
        "Classification": len(rows["predictions"]),
    }
