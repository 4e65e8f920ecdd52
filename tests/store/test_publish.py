import shutil
import weakref
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xvcore.errors import DamagedError, StoreError
from xvcore.query import table
from xvcore.store import SCHEMAS, Store
from xvcore.store.publish import join_parts

RUN_ID = "net-vs-1"


@pytest.fixture
def filled(store, prediction_rows, cluster_rows):
    for class_id in ("c", "a", "b"):
        store.write("predictions", RUN_ID, class_id, prediction_rows(3))
        store.write("clusters", RUN_ID, class_id, cluster_rows(2))
    for class_id, status in (("a", "complete"), ("b", "failed"), ("c", "running")):
        store.write("class_runs", RUN_ID, class_id, [{"status": status, "n_summaries": 1, "seconds": 2.0}])
    store.write("classes", "birds", "a", [{"class_idx": 0, "class_name": "Robin"}])
    store.write("candidates", RUN_ID, "a", [])
    return store


def published(store, table, owner=RUN_ID):
    return Path(store.url, "tables", table, f"{owner}.parquet")


def test_a_published_file_holds_the_parts_of_finished_classes_sorted_by_class(filled):
    counts = filled.publish(RUN_ID)
    assert counts["predictions"] == 6
    assert counts["clusters"] == 4
    frame = pd.read_parquet(published(filled, "predictions"))
    assert frame["class_id"].tolist() == ["a"] * 3 + ["b"] * 3
    assert pq.read_table(published(filled, "class_runs"))["status"].to_pylist() == ["complete", "failed"]
    assert pd.read_parquet(published(filled, "classes", "birds"))["class_name"].tolist() == ["Robin"]
    assert not published(filled, "candidates").exists()


def test_the_folder_of_a_table_opens_in_pandas(filled):
    filled.publish(RUN_ID)
    tables = Path(filled.url, "tables")
    names = {path.name for path in tables.iterdir()}
    assert names == {"runs", "class_runs", "predictions", "clusters", "classes"}
    for name in names:
        assert len(pd.read_parquet(tables / name))


def test_publishing_twice_gives_the_same_bytes(filled):
    first = filled.publish(RUN_ID)
    before = {path: path.read_bytes() for path in Path(filled.url, "tables").rglob("*.parquet")}
    assert filled.publish(RUN_ID) == first
    assert {path: path.read_bytes() for path in Path(filled.url, "tables").rglob("*.parquet")} == before


def test_the_row_of_the_run_is_set_last(filled):
    filled.publish(RUN_ID)
    row = Path(filled.url, "parts/runs", f"{RUN_ID}.parquet").stat().st_mtime_ns
    assert row >= max(path.stat().st_mtime_ns for path in Path(filled.url, "tables").rglob("*.parquet"))
    assert filled.runs()["published"].tolist() == [True]
    assert pq.read_table(published(filled, "runs"))["published"].to_pylist() == [True]


def test_a_run_with_a_new_record_is_no_longer_published(filled):
    filled.publish(RUN_ID)
    filled.write("predictions", RUN_ID, "a", [])
    assert filled.runs()["published"].tolist() == [True]
    Store(filled.url).write("class_runs", RUN_ID, "a", [{"status": "running"}])
    assert filled.runs()["published"].tolist() == [False]
    filled.publish(RUN_ID)
    filled.remove("class_runs", RUN_ID, "a")
    assert filled.runs()["published"].tolist() == [False]
    filled.publish(RUN_ID)
    filled.write_run({**filled.runs().drop(columns="published").to_dict("records")[0], "status": "running"})
    assert filled.runs()["published"].tolist() == [False]


def test_a_table_whose_parts_are_gone_is_gone_once_published_again(filled):
    filled.publish(RUN_ID)
    for class_id in "abc":
        filled.remove("clusters", RUN_ID, class_id)
    assert filled.publish(RUN_ID)["clusters"] == 0
    assert not published(filled, "clusters").exists()


def test_what_is_not_there_cannot_be_published(filled, tmp_path):
    with pytest.raises(StoreError, match=r"unknown run in .*'net-vs-2'; did you mean net-vs-1"):
        filled.publish("net-vs-2")
    empty = Store(tmp_path / "empty")
    empty.write_run({"run_id": "r", "model": "m", "status": "running", "method": "x", "dataset": "d"})
    with pytest.raises(StoreError, match="no finished class"):
        empty.publish("r")


def test_a_copy_of_the_published_tables_alone_is_a_store(filled, tmp_path):
    filled.publish(RUN_ID)
    shutil.copytree(Path(filled.url, "tables"), tmp_path / "copy" / "tables")
    shutil.copy(Path(filled.url, "xvstore.json"), tmp_path / "copy")
    copy = Store(tmp_path / "copy")
    assert copy.status()["n_complete"].tolist() == [1]
    with pytest.raises(StoreError, match="no finished class"):
        copy.publish(RUN_ID)
    assert published(copy, "clusters").exists()


def test_two_rows_that_should_be_one_are_refused_and_the_old_file_stays(filled):
    filled.publish(RUN_ID)
    before = published(filled, "clusters").read_bytes()
    path = Path(filled.url, "parts/clusters", RUN_ID, "b.parquet")
    rows = pq.read_table(path)
    pq.write_table(pa.concat_tables([rows, rows]), path)
    with pytest.raises(StoreError, match=r"table clusters, class 'b': 2 rows for .*'cluster_id': 0"):
        filled.publish(RUN_ID)
    assert published(filled, "clusters").read_bytes() == before
    assert [path.name for path in published(filled, "clusters").parent.iterdir()] == [f"{RUN_ID}.parquet"]


def test_a_damaged_part_is_named_and_the_old_file_stays(filled):
    filled.publish(RUN_ID)
    before = published(filled, "predictions").read_bytes()
    Path(filled.url, "parts/predictions", RUN_ID, "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"damaged: .*parts/predictions/net-vs-1/b\.parquet"):
        filled.publish(RUN_ID)
    assert published(filled, "predictions").read_bytes() == before


@pytest.mark.parametrize("region", ["footer", "pages"])
def test_a_flipped_bit_of_a_published_file_is_noticed_or_lies_where_no_data_are(filled, region):
    filled.publish(RUN_ID)
    path = published(filled, "predictions")
    whole, rows = path.read_bytes(), table(filled, "predictions")
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    places = range(start, len(whole), 13) if region == "footer" else range(4, start, 29)
    n_noticed = 0
    for at in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            found = table(filled, "predictions")
        except DamagedError as error:
            n_noticed += str(path) in str(error)
        else:
            pd.testing.assert_frame_equal(found, rows)
    assert n_noticed > len(places) / 3
    path.write_bytes(whole)
    pd.testing.assert_frame_equal(table(filled, "predictions"), rows)


def test_a_published_file_of_an_older_version_has_no_seal_and_is_read(filled):
    filled.publish(RUN_ID)
    path, rows = published(filled, "predictions"), table(filled, "predictions")
    old = pq.read_table(path)
    pq.write_table(old, path)
    pd.testing.assert_frame_equal(table(filled, "predictions"), rows)


def pairs(class_id, n):
    keys = {"run_id": ["r"] * n, "model": ["m"] * n, "class_id": [class_id] * n}
    rows = pa.table({**keys, "image_id": [f"{class_id}{k}" for k in range(n)]})
    table = SCHEMAS["manifest"]
    columns = [rows[name] if name in rows.column_names else pa.nulls(n, table[name].type) for name in table.names]
    return pa.Table.from_arrays(columns, schema=table.arrow)


def test_row_groups_end_with_a_class_and_hold_about_ten_thousand_rows(store):
    sizes = {"a": 1300, "b": 4000, "c": 4000, "d": 1300, "e": 25_000, "f": 10}
    parts = ((name, pairs(name, n)) for name, n in sizes.items())
    assert join_parts(store.place, SCHEMAS["manifest"], "out.parquet", parts, {}) == sum(sizes.values())
    metadata = pq.ParquetFile(Path(store.url, "out.parquet")).metadata
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [9300, 1300, 10_000, 10_000, 5_000, 10]
    of_class = [group.column(2).statistics for group in groups]
    assert [(s.min, s.max) for s in of_class] == [("a", "c"), ("d", "d"), *[("e", "e")] * 3, ("f", "f")]


def test_publishing_holds_one_row_group_in_memory_not_the_run(store):
    alive = weakref.WeakValueDictionary()
    most = 0

    def parts():
        nonlocal most
        for k in range(40):
            part = pairs(f"{k:03}", 2500)
            alive[k] = part
            most = max(most, sum(each.num_rows for each in alive.values()))
            yield f"{k:03}", part
            del part

    join_parts(store.place, SCHEMAS["manifest"], "out.parquet", parts(), {})
    assert most <= 10_000 + 2 * 2500


def test_status_counts_the_classes_of_a_run(filled):
    row = filled.status().iloc[0].to_dict()
    counts = {name: row[name] for name in row if name.startswith("n_") and row[name]}
    assert counts == {"n_running": 1, "n_complete": 1, "n_failed": 1, "n_summaries": 3}
    assert (row["run_id"], row["model"], row["seconds"]) == (RUN_ID, "net", 6.0)
    filled.remove("class_runs", RUN_ID, "b")
    assert filled.status(RUN_ID)["n_pending"].tolist() == [1]
    with pytest.raises(StoreError, match="unknown run"):
        filled.status("net-vs-2")
