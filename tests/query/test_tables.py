import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from xvcore.errors import ParameterError, StoreError, UnknownNameError
from xvcore.query import table
from xvcore.store import SCHEMAS, Store

ROBIN, OWL = "n01558993", "n01622779"
ALEXNET, VGG = "alexnet-visual-summaries-1", "vgg16-visual-summaries-2"


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_a_table_is_the_same_before_and_after_publishing(name, in_parts, published, half_published):
    before = table(in_parts, name)
    if name == "runs":
        before = before.drop(columns="published")
    for each in (published, half_published):
        pd.testing.assert_frame_equal(table(each, name)[before.columns], before)


def test_published_files_and_parts_are_never_both_read(own_store):
    rows = len(table(own_store, "regions"))
    own_store.publish(ALEXNET)
    assert len(table(own_store, "regions")) == rows
    own_store.write("class_runs", ALEXNET, ROBIN, [{"status": "running"}])
    own_store.write("regions", ALEXNET, ROBIN, [])
    assert len(table(own_store, "regions")) == rows - 6


def test_a_published_run_is_read_from_its_file_until_a_class_is_begun_again(own_store):
    own_store.publish(ALEXNET)
    own_store.write("regions", ALEXNET, ROBIN, [])
    assert len(table(own_store, "regions", run_id=ALEXNET, class_id=ROBIN)) == 6


# Filters

BRUTE = {
    "score": lambda frame: frame["score"] > 0.45,
    "either": lambda frame: (frame["region_i"] == 0) | (frame["region_j"] == 5),
    "both": lambda frame: (frame["region_i"] == 0) & (frame["class_id"] == ROBIN),
    "several": lambda frame: frame["region_i"].isin([0, 3]),
    "none": lambda frame: frame["region_i"] == 99,
}
FILTERS = {
    "score": [("score", ">", 0.45)],
    "either": [[("region_i", "==", 0)], [("region_j", "=", 5)]],
    "both": [("region_i", "==", 0), ("class_id", "in", [ROBIN])],
    "several": [("region_i", "in", {0, 3})],
    "none": {"region_i": 99},
}


@pytest.mark.parametrize("name", list(BRUTE))
def test_a_filter_keeps_what_the_same_condition_keeps_in_pandas(store, name):
    everything = table(store, "similarity")
    expected = everything[BRUTE[name](everything)].reset_index(drop=True)
    pd.testing.assert_frame_equal(table(store, "similarity", filters=FILTERS[name]), expected)
    narrow = table(store, "similarity", filters=FILTERS[name], columns=["region_j", "model"])
    pd.testing.assert_frame_equal(narrow, expected[["region_j", "model"]])


def test_a_mapping_filters_by_equality_lists_and_missing_values(store):
    assert set(table(store, "regions", filters={"is_exemplar": True})["region_id"]) == {2}
    assert set(table(store, "regions", filters={"region_id": [1, 4]})["region_id"]) == {1, 4}
    assert set(table(store, "regions", filters={"crop": None})["region_id"]) == {4}
    assert set(table(store, "regions", filters={"sim_exemplar": [None, 1.0]})["region_id"]) == {1, 2, 3, 5}
    assert table(store, "regions", filters={"region_id": []}).empty
    assert table(store, "regions", filters=[("crop", "in", [])]).empty


def test_a_filter_on_missing_values(store):
    frame = table(store, "class_runs", filters=[("error", "!=", None)])
    assert frame["error"].tolist() == ["out of memory"]
    assert len(table(store, "class_runs", filters=[("error", "==", None)])) == 3
    assert len(table(store, "class_runs", filters=[("class_id", "not in", [OWL])])) == 2


def test_keys_select_runs_networks_and_classes(store):
    assert set(table(store, "masks", model="vgg16")["run_id"]) == {VGG}
    assert set(table(store, "masks", model=["vgg16", "alexnet"])["run_id"]) == {VGG, ALEXNET}
    assert set(table(store, "masks", run_id=ALEXNET)["model"]) == {"alexnet"}
    assert set(table(store, "masks", class_id=OWL)["model"]) == {"alexnet"}
    assert table(store, "masks", model="vgg16", run_id=ALEXNET).empty
    assert table(store, "masks", model="alexnet", filters={"model": "vgg16"}).empty
    assert table(store, "masks", model="resnet50").empty
    assert table(store, "runs", model="vgg16")["run_id"].tolist() == [VGG]
    assert table(store, "classes", filters={"dataset": "imagenet:x?split=val"}, class_id=OWL)["class_idx"].tolist() == [
        1
    ]


def test_only_parts_that_can_have_wanted_rows_are_read(own_store):
    for path in Path(own_store.url, "parts/masks").rglob("*.parquet"):
        if path.parent.name != ALEXNET or path.stem != ROBIN:
            path.write_bytes(b"damaged")
    assert len(table(own_store, "masks", run_id=ALEXNET, class_id=ROBIN)) == 8
    assert len(table(own_store, "masks", filters={"model": "alexnet", "class_id": [ROBIN]})) == 8
    assert len(table(own_store, "masks", filters=[("model", "==", "alexnet"), ("class_id", "==", ROBIN)])) == 8
    with pytest.raises(StoreError, match=r"damaged: .*parts/masks/"):
        table(own_store, "masks", class_id=ROBIN)


def test_only_row_groups_that_can_have_wanted_rows_are_read(tmp_path):
    store = Store(tmp_path)
    store.write_run({"run_id": "r", "model": "m", "status": "complete", "method": "x", "dataset": "d"})
    for k in range(4):
        store.write("predictions", "r", f"c{k}", [{"image_id": str(i), "prob_target": k / 4} for i in range(8000)])
        store.write("class_runs", "r", f"c{k}", [{"status": "complete"}])
    store.publish("r")
    path = tmp_path / "tables/predictions/r.parquet"
    group = pq.ParquetFile(path).metadata.row_group(3)
    data = bytearray(path.read_bytes())
    for column in range(group.num_columns):
        start = group.column(column).data_page_offset
        data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert len(table(store, "predictions", class_id="c1")) == 8000
    with pytest.raises(StoreError, match=r"damaged: .*tables/predictions/r\.parquet.*publish the run again"):
        table(store, "predictions", class_id="c3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": {"region_id": "seventeen"}}, "region_id is int32"),
        ({"filters": [("region_id", "==", "x")]}, "region_id is int32"),
        ({"filters": [("region_id", "~", 1)]}, "unknown operator"),
        ({"filters": [["region_id", "==", 1]]}, r"\(column, operator, value\)"),
        ({"filters": {"crop": "x"}}, "only be asked whether there is one"),
    ],
)
def test_a_filter_that_does_not_fit_is_refused(in_parts, arguments, message):
    with pytest.raises(ParameterError, match=message):
        table(in_parts, "regions", **arguments)


def test_unknown_names_are_refused_with_the_nearest_ones(in_parts, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean clusters"):
        table(in_parts, "cluster")
    with pytest.raises(UnknownNameError, match="did you mean cluster_id"):
        table(in_parts, "clusters", columns=["clusterid"])
    with pytest.raises(UnknownNameError, match="did you mean cluster_id"):
        table(in_parts, "clusters", filters={"clusterid": 1})
    with pytest.raises(UnknownNameError, match="unknown column of classes 'run_id'"):
        table(in_parts, "classes", run_id="x")
    with pytest.raises(StoreError, match=r"nothing was ever written to .*typo"):
        table(Store(tmp_path / "typo"), "clusters")


def test_types_do_not_depend_on_what_is_found(store):
    for name in SCHEMAS:
        full, none = table(store, name), table(store, name, filters={SCHEMAS[name].grain[0]: "nobody"})
        assert none.empty
        assert full.dtypes.to_dict() == none.dtypes.to_dict()


def test_an_older_file_beside_a_newer_one_loses_no_column(own_store):
    path = Path(own_store.url, "parts/clusters", ALEXNET, f"{ROBIN}.parquet")
    old = pq.read_table(path)
    pq.write_table(old.drop_columns(["score", "montage", "rejected"]), path)
    frame = table(own_store, "clusters", class_id=ROBIN)
    assert np.isnan(frame["score"]).tolist() == [True, False, False, False]
    assert frame["rejected"].tolist() == [None] * 4


def test_foreign_files_do_not_matter(own_store):
    expected = table(own_store, "masks")
    for folder in ("parts", "parts/masks", f"parts/masks/{ALEXNET}", "parts/runs", "tables", "tables/masks"):
        Path(own_store.url, folder).mkdir(parents=True, exist_ok=True)
        for name in ("README.md", ".1.tmp", "_manifest.json", "_x.parquet"):
            Path(own_store.url, folder, name).write_bytes(b"x")
    pd.testing.assert_frame_equal(table(own_store, "masks"), expected)
    own_store.publish(ALEXNET)
    pd.testing.assert_frame_equal(table(own_store, "masks"), expected)


def test_a_class_id_with_any_signs_is_found(own_store):
    for class_id in ("001.Black_footed_Albatross", "a/b*[1]? ü'%", ".hidden"):
        own_store.write("clusters", ALEXNET, class_id, [])
        row = {"cluster_id": 0, "position": 1, "n_regions": 1, "n_images": 1, "accepted": True}
        own_store.write("clusters", ALEXNET, class_id, [row])
        assert table(own_store, "clusters", class_id=class_id)["class_id"].tolist() == [class_id]


def test_the_import_brings_no_network_library():
    program = (
        "import sys, xvcore.query; sys.exit('torch' in sys.modules or 'cv2' in sys.modules or 'duckdb' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, env=dict(os.environ), check=False).returncode == 0
