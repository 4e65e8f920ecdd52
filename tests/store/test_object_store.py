"""The store on an S3 server (moto's, on this machine)."""

import contextlib
import os
import pickle
import threading

import pandas as pd
import pyarrow as pa
import pytest

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

from xvcore.errors import StoreError  # noqa: E402
from xvcore.query import connect, table  # noqa: E402
from xvcore.store import Store  # noqa: E402
from xvcore.store.write import replacing  # noqa: E402

RUN = {"run_id": "net-vs-1", "model": "net", "status": "running", "method": "x", "dataset": "birds"}
IMPATIENT = {"connect_timeout": 1, "read_timeout": 5, "retries": {"max_attempts": 0}}


@pytest.fixture
def options(s3_server, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": s3_server}}


@pytest.fixture
def url(options, request):
    bucket = request.node.name.replace("_", "-").replace("[", "-").replace("]", "").lower()[:60].strip("-")
    s3fs.S3FileSystem(**options).mkdir(f"s3://{bucket}")
    return f"s3://{bucket}/some/store"


@pytest.fixture
def store(url, options):
    store = Store(url, **options)
    store.write_run(RUN)
    return store


def objects(store):
    fs = store.place.filesystem
    fs.invalidate_cache()
    return {path: fs.cat_file(path) for path in fs.find(store.place.root)}


def test_a_store_on_s3_does_what_one_on_a_disk_does(store, url, options, cluster_rows):
    for class_id in ("b/1", "a %*"):
        store.write("clusters", "net-vs-1", class_id, cluster_rows(2))
        store.write("class_runs", "net-vs-1", class_id, [{"status": "complete"}])
    again = Store(url, **options)
    assert again.exists()
    assert again.classes_of("clusters", "net-vs-1") == ["a %*", "b/1"]
    assert again.has("clusters", "net-vs-1", "b/1")
    assert not again.has("clusters", "net-vs-1", "c")
    assert again.classes_of("masks", "net-vs-1") == []
    assert len(again.read("clusters", "net-vs-1", "b/1")) == 2
    assert again.status()["n_complete"].tolist() == [2]
    parts = table(again, "clusters", class_id="b/1")
    assert store.publish("net-vs-1")["clusters"] == 4
    pd.testing.assert_frame_equal(table(again, "clusters", class_id="b/1"), parts)
    again.remove("clusters", "net-vs-1", "b/1")
    again.remove("clusters", "net-vs-1", "b/1")
    assert not store.has("clusters", "net-vs-1", "b/1")
    with pytest.raises(StoreError, match="no clusters of 'b/1'"):
        store.read("clusters", "net-vs-1", "b/1")


def test_one_client_sees_what_another_has_written_since(store, url, options, cluster_rows):
    other = Store(url, **{**options, "skip_instance_cache": True})
    assert other.classes_of("clusters", "net-vs-1") == []
    assert not other.has("clusters", "net-vs-1", "a")
    store.write("clusters", "net-vs-1", "a", cluster_rows(1))
    assert other.has("clusters", "net-vs-1", "a")
    assert other.classes_of("clusters", "net-vs-1") == ["a"]
    store.write("clusters", "net-vs-1", "a", cluster_rows(2))
    assert len(other.read("clusters", "net-vs-1", "a")) == 2


def test_an_exception_while_writing_leaves_no_object(store, cluster_rows):
    before = objects(store)
    with pytest.raises(StoreError):
        store.write("clusters", "net-vs-1", "a", [*cluster_rows(1), *cluster_rows(1)])
    with contextlib.suppress(RuntimeError), replacing(store.place, "tables/x.parquet") as temporary:
        temporary.write_bytes(b"half of it")
        raise RuntimeError
    assert objects(store) == before


def test_a_damaged_object_is_named(store, cluster_rows):
    store.write("clusters", "net-vs-1", "a", cluster_rows(1))
    path = f"{store.place.root}/parts/clusters/net-vs-1/a.parquet"
    store.place.filesystem.pipe_file(path, b"PAR1")
    with pytest.raises(StoreError, match=r"damaged: s3://.*/parts/clusters/net-vs-1/a\.parquet"):
        table(store, "clusters")


def test_credentials_may_come_from_the_environment(store, url, s3_server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    assert Store(url, skip_instance_cache=True).runs()["run_id"].tolist() == ["net-vs-1"]


def test_a_store_on_s3_can_be_sent_to_another_process(store):
    assert pickle.loads(pickle.dumps(store)).runs()["run_id"].tolist() == ["net-vs-1"]


def test_a_bucket_that_is_not_there_is_an_error_that_names_it(options):
    with pytest.raises(StoreError, match=r"cannot write s3://no-such-bucket/store/xvstore\.json: .*[Bb]ucket"):
        Store("s3://no-such-bucket/store", **options).write_run(RUN)


def test_a_server_that_does_not_answer_is_an_error_that_names_the_store():
    nobody = {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}, "config_kwargs": IMPATIENT}
    with pytest.raises(StoreError, match=r"cannot read s3://bucket/store/xvstore\.json: .*127\.0\.0\.1:9"):
        Store("s3://bucket/store", key="test", secret="test", **nobody)


def test_sql_reads_an_object_store(store, cluster_rows):
    pytest.importorskip("duckdb")
    store.write("clusters", "net-vs-1", "a", cluster_rows(3))
    assert connect(store).sql("select count(*) as n from clusters where accepted").fetchall() == [(2,)]


def test_readers_never_see_half_an_object(store, prediction_rows):
    store.write("predictions", "net-vs-1", "a", prediction_rows(200, 0.0))
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            frame = store.read("predictions", "net-vs-1", "a")
            seen.add((len(frame), *frame["prob_target"].unique().tolist()))

    reader = threading.Thread(target=read)
    reader.start()
    for k in (1, 2, 3, 4):
        store.write("predictions", "net-vs-1", "a", prediction_rows(200 + k, float(k)))
    stop.set()
    reader.join()
    assert seen <= {(200 + k, float(k)) for k in range(5)}


def test_large_files_go_up_whole(store):
    rows = pa.table({"region_i": range(60_000), "region_j": range(1, 60_001), "score": [0.5] * 60_000})
    for class_id in "ab":
        store.write("similarity", "net-vs-1", class_id, rows)
        store.write("class_runs", "net-vs-1", class_id, [{"status": "complete"}])
    assert store.publish("net-vs-1")["similarity"] == 120_000
    assert len(table(store, "similarity", class_id="b", columns=["score"])) == 60_000
