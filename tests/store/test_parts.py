import errno
import json
import os
import pickle
import re
import resource
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xvcore.errors import StoreError, UnknownNameError
from xvcore.keys import file_name
from xvcore.store import Store
from xvcore.store.encode import picture, rle_decode


def part(store, table, run_id="net-vs-1", class_id="a"):
    return Path(store.url, "parts", table, run_id, f"{class_id}.parquet")


def snapshot(store):
    return {path: path.read_bytes() for path in Path(store.url).rglob("*") if path.is_file()}


@pytest.mark.parametrize("class_id", ["n01558993", "001.Black_footed_Albatross", "a/b", "..", ".x", "_x", "50% ü?*[1]"])
def test_a_part_is_there_once_it_is_written_and_gone_once_it_is_removed(store, cluster_rows, class_id):
    assert not store.has("clusters", "net-vs-1", class_id)
    store.write("clusters", "net-vs-1", class_id, cluster_rows(2))
    assert store.has("clusters", "net-vs-1", class_id)
    assert store.classes_of("clusters", "net-vs-1") == [class_id]
    frame = store.read("clusters", "net-vs-1", class_id)
    assert frame[["run_id", "model", "class_id"]].drop_duplicates().values.tolist() == [["net-vs-1", "net", class_id]]
    store.remove("clusters", "net-vs-1", class_id)
    store.remove("clusters", "net-vs-1", class_id)
    assert not store.has("clusters", "net-vs-1", class_id)
    assert store.classes_of("clusters", "net-vs-1") == []


def test_everything_lies_under_the_store(store, cluster_rows, tmp_path):
    store.write("clusters", "net-vs-1", "../../../escape", cluster_rows(1))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_writing_again_replaces(store, cluster_rows):
    store.write("clusters", "net-vs-1", "a", cluster_rows(3))
    store.write("clusters", "net-vs-1", "a", cluster_rows(1))
    assert len(store.read("clusters", "net-vs-1", "a")) == 1


def test_a_part_without_rows_is_a_part(store):
    store.write("clusters", "net-vs-1", "a", [])
    assert store.has("clusters", "net-vs-1", "a")
    assert store.read("clusters", "net-vs-1", "a").empty


def test_columns_come_in_the_order_asked_for(store, mask_rows):
    store.write("masks", "net-vs-1", "a", mask_rows(2))
    assert list(store.read("masks", "net-vs-1", "a", ["rle", "kind"]).columns) == ["rle", "kind"]
    with pytest.raises(UnknownNameError, match="did you mean kind"):
        store.read("masks", "net-vs-1", "a", ["kinds"])


def test_a_part_that_is_not_there_is_an_error_that_names_it(store):
    with pytest.raises(StoreError, match="no masks of 'zebra' in 'net-vs-1'"):
        store.read("masks", "net-vs-1", "zebra")


def test_a_model_must_be_known_or_given(store, cluster_rows):
    with pytest.raises(StoreError, match=r"clusters.model: row 0 has no value"):
        store.write("clusters", "unknown-run", "a", cluster_rows(1))
    store.write("clusters", "unknown-run", "a", [{**row, "model": "other"} for row in cluster_rows(1)])


def test_equal_rows_give_equal_bytes(store, mask_rows, tmp_path):
    store.write("masks", "net-vs-1", "a", mask_rows(50))
    first = part(store, "masks").read_bytes()
    store.write("masks", "net-vs-1", "a", mask_rows(50))
    assert part(store, "masks").read_bytes() == first
    other = Store(tmp_path / "other")
    other.write_run(store.runs().drop(columns="published").to_dict("records")[0] | {"class_ids": ["a"]})
    other.write("masks", "net-vs-1", "a", mask_rows(50))
    assert part(other, "masks").read_bytes() == first


def test_a_file_says_what_it_is(store, mask_rows):
    store.write("masks", "net-vs-1", "a", mask_rows(2))
    store.write("regions", "net-vs-1", "a", [])
    metadata = pq.read_schema(part(store, "masks")).metadata
    facts = json.loads(metadata[b"xvcore"])
    version = facts.pop("xvcore_version")
    assert version
    assert facts == {"table": "masks", "schema_version": 1, "run_id": "net-vs-1", "params_hash": "abc"}
    assert b"huggingface" not in metadata
    pictures = json.loads(pq.read_schema(part(store, "regions")).metadata[b"huggingface"])
    assert pictures == {"info": {"features": {"crop": {"_type": "Image"}}}}


def encodings(path):
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(k) for k in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert all(column.has_column_index for column in columns)
    return {column.path_in_schema: column.encodings for column in columns}


def test_columns_are_encoded_as_measured(store, mask_rows):
    store.write("masks", "net-vs-1", "a", mask_rows(5))
    found = encodings(part(store, "masks"))
    assert set(found["soft_map.list.element"]) == {"RLE", "PLAIN"}  # DuckDB reads no other of 16-bit floats
    assert "BYTE_STREAM_SPLIT" in found["area_frac"]
    for key in ("run_id", "model", "class_id", "image_id", "kind"):
        assert "RLE_DICTIONARY" in found[key]
    assert "RLE_DICTIONARY" not in found["rle.counts"]
    assert pq.read_schema(part(store, "masks")).field("run_id").type == pa.string()
    pairs = {"region_i": [0], "region_j": [1], "score": [0.5]}
    store.write("similarity", "net-vs-1", "a", pa.table(pairs))
    found = encodings(part(store, "similarity"))
    assert "DELTA_BINARY_PACKED" in found["region_i"]
    assert "DELTA_BINARY_PACKED" in found["region_j"]
    assert "BYTE_STREAM_SPLIT" in found["score"]


def test_a_row_group_holds_ten_thousand_rows(store, prediction_rows):
    store.write("predictions", "net-vs-1", "a", prediction_rows(25_000))
    metadata = pq.ParquetFile(part(store, "predictions")).metadata
    assert [metadata.row_group(k).num_rows for k in range(3)] == [10_000, 10_000, 5_000]


def test_a_mask_takes_a_few_hundred_bytes(store):
    y, x = np.mgrid[:224, :224]
    disc = [(y - 100 - k) ** 2 + (x - 90) ** 2 < 50**2 for k in range(20)]
    from xvcore.store.encode import rle_encode

    rows = [{"image_id": str(k), "kind": "sharp", "rle": rle_encode(mask)} for k, mask in enumerate(disc)]
    store.write("masks", "net-vs-1", "a", rows)
    read = store.read("masks", "net-vs-1", "a")
    np.testing.assert_array_equal(rle_decode(read["rle"][7]), disc[7])
    group = pq.ParquetFile(part(store, "masks")).metadata.row_group(0)
    size = {group.column(k).path_in_schema: group.column(k).total_compressed_size for k in range(group.num_columns)}
    assert size["rle.counts"] / 20 < 400


# Schemas grow


def test_a_file_of_an_older_version_has_nulls_in_columns_it_lacks(store, cluster_rows):
    store.write("clusters", "net-vs-1", "a", cluster_rows(2))
    old = pq.read_table(part(store, "clusters")).drop_columns(["converged", "montage", "prob_drop", "tag"])
    old = old.set_column(old.schema.get_field_index("n_images"), "n_images", old["n_images"].cast(pa.int16()))
    pq.write_table(old.append_column("retired", pa.array([1, 2])), part(store, "clusters"))
    frame = store.read("clusters", "net-vs-1", "a")
    assert frame["converged"].isna().all()
    assert frame["montage"].tolist() == [None, None]
    assert frame["n_images"].dtype == np.int32
    assert "retired" not in frame
    assert store.read("clusters", "net-vs-1", "a", ["tag"])["tag"].tolist() == [None, None]


# What else lies around


def test_foreign_and_temporary_files_do_not_matter(store, cluster_rows):
    store.write("clusters", "net-vs-1", "a", cluster_rows(2))
    for folder in ("", "parts", "parts/runs", "parts/clusters", "parts/clusters/net-vs-1"):
        for name in ("README.md", ".0123.tmp", "_success", ".hidden.parquet", "_x.parquet"):
            Path(store.url, folder, name).write_bytes(b"not a table")
    assert store.classes_of("clusters", "net-vs-1") == ["a"]
    assert store.runs()["run_id"].tolist() == ["net-vs-1"]
    assert len(store.read("clusters", "net-vs-1", "a")) == 2
    assert store.status()["run_id"].tolist() == ["net-vs-1"]


@pytest.mark.parametrize("keep", [0, 3, 100, -20, -1])
def test_a_damaged_part_is_named(store, cluster_rows, keep):
    store.write("clusters", "net-vs-1", "a", cluster_rows(2))
    path = part(store, "clusters")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"damaged: .*parts/clusters/net-vs-1/a\.parquet"):
        store.read("clusters", "net-vs-1", "a")


def test_a_damaged_run_is_named(store):
    Path(store.url, "parts/runs/net-vs-1.parquet").write_bytes(b"PAR1")
    (row,) = Store(store.url).runs().to_dict("records")
    assert (row["run_id"], row["status"], row["published"]) == ("net-vs-1", "failed", False)
    assert re.search(r"damaged: .*parts/runs/net-vs-1\.parquet", row["error"])


def test_left_over_temporary_files_are_swept_after_a_day(store):
    old, young = (Path(store.url, "parts/runs", name) for name in (".old.tmp", ".young.tmp"))
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 90_000,) * 2)
    store.write_run(store.runs().to_dict("records")[0])
    assert not old.exists()
    assert young.exists()


# The store itself


def test_nothing_is_created_before_the_first_write(tmp_path):
    store = Store(tmp_path / "new")
    assert not store.exists()
    assert store.runs().empty
    assert store.status().empty
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_a_newer_format_is_refused(store):
    Path(store.url, "xvstore.json").write_text('{"format": 2}')
    with pytest.raises(StoreError, match=r"format 2.*reads formats up to 1.*update xvcore"):
        Store(store.url)


def test_a_marker_that_is_none_is_refused(store):
    Path(store.url, "xvstore.json").write_text("[]")
    with pytest.raises(StoreError, match="not a store's marker"):
        Store(store.url)


@pytest.mark.parametrize("url", ["ftp://me:secret@host/store", "sftp://me:a@secret@host/store"])
def test_a_password_in_an_address_is_refused_and_not_repeated(url):
    with pytest.raises(StoreError, match="with a password") as error:
        Store(url)
    assert "secret" not in str(error.value)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(StoreError, match="cannot open nowhere://x"):
        Store("nowhere://x")


def test_a_store_can_be_sent_to_another_process(store, cluster_rows):
    store.write("clusters", "net-vs-1", "a", cluster_rows(2))
    copy = pickle.loads(pickle.dumps(store))
    assert len(copy.read("clusters", "net-vs-1", "a")) == 2


def test_a_url_in_memory_works_like_a_folder(cluster_rows):
    store = Store("memory://xv-test")
    store.write("clusters", "r", "a/b", [{**row, "model": "m"} for row in cluster_rows(2)])
    assert Store("memory://xv-test").classes_of("clusters", "r") == ["a/b"]
    assert len(store.read("clusters", "r", "a/b")) == 2
    store.remove("clusters", "r", "a/b")
    assert not store.has("clusters", "r", "a/b")


def test_a_run_is_one_row_that_can_be_replaced(store):
    assert store.runs()["class_ids"][0].tolist() == ["a", "b", "c"]
    store.write_run({**store.runs().to_dict("records")[0], "status": "complete", "params": {"steps": 3}})
    runs = store.runs()
    assert runs["status"].tolist() == ["complete"]
    assert runs["params"].tolist() == ['{"steps":3}']
    store.write_run({"run_id": "b", "model": "m", "status": "running", "method": "x", "dataset": "d"})
    assert store.runs()["run_id"].tolist() == ["b", "net-vs-1"]
    with pytest.raises(StoreError, match=r"runs.status: 'done' is not among"):
        store.write_run({**store.runs().to_dict("records")[0], "status": "done"})


# What a disk can do


def test_rows_that_do_not_fit_leave_the_old_part(store, cluster_rows):
    store.write("clusters", "net-vs-1", "a", cluster_rows(2))
    before = snapshot(store)
    with pytest.raises(StoreError):
        store.write("clusters", "net-vs-1", "a", [*cluster_rows(3), *cluster_rows(1)])
    assert snapshot(store) == before


def test_a_full_disk_leaves_the_old_part_and_no_temporary_file(store):
    noise = np.random.default_rng(0)

    def rows(n):
        crops = [picture(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8), "png") for _ in range(n)]
        box = {"x": 0, "y": 0, "w": 1, "h": 1, "cluster_id": -1, "is_exemplar": False}
        return [{"region_id": k, "image_id": "i", **box, "crop": crops[k]} for k in range(n)]

    store.write("regions", "net-vs-1", "a", rows(2))
    before = snapshot(store)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"cannot write .*regions/net-vs-1/a\.parquet: OSError: .*File too large"):
            store.write("regions", "net-vs-1", "a", rows(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert snapshot(store) == before


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_no_room_is_an_error_that_names_file_and_cause(store, cluster_rows, monkeypatch, call):
    store.write("clusters", "net-vs-1", "a", cluster_rows(2))
    before = snapshot(store)

    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "write": (Path, "write_bytes")}[call], full)
    with pytest.raises(StoreError, match=r"cannot write .*clusters/net-vs-1/a\.parquet: OSError: .*No space left"):
        store.write("clusters", "net-vs-1", "a", cluster_rows(3))
    monkeypatch.undo()
    assert snapshot(store) == before


def test_a_store_below_a_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot read .*file/store/xvstore\.json: NotADirectoryError"):
        Store(tmp_path / "file" / "store")


@pytest.mark.parametrize(
    "url", ["reference:///x", "dir:///x", "data:///x", "http2://x", "zip::/dev/null", "tar::/dev/null"]
)
def test_an_address_that_no_folder_has_is_an_error_that_names_it(url):
    with pytest.raises(StoreError, match=re.escape(url.rstrip("/"))):
        Store(url).exists()


@pytest.mark.parametrize("keys", [("net-vs-1", "\udcff"), ("\udcff", "a")])
def test_a_name_that_is_no_text_is_refused(store, keys):
    with pytest.raises(StoreError, match=r"predictions\..*\(type string\): .*surrogates not allowed"):
        store.write("predictions", *keys, [{"image_id": "x", "model": "m"}])


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="no file system that is read-only for everybody: /sys")
def test_a_read_only_store_is_an_error_that_names_it():
    with pytest.raises(StoreError, match=r"cannot write /sys/xv-store/xvstore.json: (PermissionError|OSError)"):
        Store("/sys/xv-store").write_run(
            {"run_id": "r", "model": "m", "status": "running", "method": "x", "dataset": "d"}
        )


def test_of_two_writers_of_one_class_one_wins_and_readers_see_either(store, prediction_rows):
    store.write("predictions", "net-vs-1", "a", prediction_rows(300, 0.0))
    stop, bad = threading.Event(), []

    def write(k):
        mine = Store(store.url)
        for _ in range(8):
            mine.write("predictions", "net-vs-1", "a", prediction_rows(300 + k, float(k)))

    def read():
        while not stop.is_set():
            frame = store.read("predictions", "net-vs-1", "a")
            value = frame["prob_target"].unique().tolist()
            if len(value) != 1 or len(frame) != 300 + value[0]:
                bad.append((value, len(frame)))

    reader = threading.Thread(target=read)
    reader.start()
    writers = [threading.Thread(target=write, args=(k,)) for k in (1, 2)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    stop.set()
    reader.join()
    assert bad == []
    assert len(store.read("predictions", "net-vs-1", "a")) in (301, 302)


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_sizes_are_those_of_the_parts(where, tmp_path, prediction_rows):
    store = Store(tmp_path / "s" if where == "disk" else f"memory://{uuid.uuid4().hex}")
    assert store.sizes("predictions", "net/1") == {}
    assert store.owners_of("predictions") == []
    for class_id, n in (("a b", 3), ("c", 400)):
        store.write("predictions", "net/1", class_id, [{"model": "net", **row} for row in prediction_rows(n)])
    sizes = store.sizes("predictions", "net/1")
    path = "parts/predictions/{}/{}.parquet"
    assert sizes == {
        each: len(store.place.read(path.format(file_name("net/1"), file_name(each))) or b"") for each in ("a b", "c")
    }
    assert sizes["c"] > sizes["a b"] > 0
    assert store.owners_of("predictions") == ["net/1"]
