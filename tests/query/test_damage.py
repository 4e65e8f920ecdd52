"""One damaged file, row or value is named and hides nothing else: from status, tables, SQL and the report."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from summary_store import OWL, ROBIN, RUNS

pytest.importorskip("duckdb")

from xvcore.errors import DamagedError, QueryError, StoreError
from xvcore.query import answer, connect, table
from xvcore.report import build as build_report
from xvcore.store import Store

ALEXNET, VGG = RUNS["alexnet"], RUNS["vgg16"]
WRITTEN = ("class_runs", "predictions", "masks", "similarity", "regions", "clusters")
"""What each class of the store has."""


def part(store: Store, name: str, run_id: str = ALEXNET, class_id: str = ROBIN) -> Path:
    folder = Path(store.url, "parts", name)
    return folder / f"{run_id}.parquet" if name == "runs" else folder / run_id / f"{class_id}.parquet"


def with_value(path: Path, column: str, value: object) -> None:
    """Write a file with one value in its first row, as a program of somebody else may."""
    rows = pq.read_table(path)
    at = rows.column_names.index(column)
    first = pa.array([value], rows.schema.field(at).type)
    array = pa.chunked_array([first, *rows.column(at).slice(1).chunks])
    pq.write_table(rows.set_column(at, rows.schema.field(at), array), path)


def torn(store: Store, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def foreign(store: Store, path: Path) -> None:
    shutil.copy(part(store, "clusters" if path.parts[-3] != "clusters" else "regions"), path)


DAMAGES_OF_RUNS: dict[str, Callable[[Store, Path], None]] = {
    "torn": torn,
    "foreign": lambda store, path: shutil.copy(part(store, "class_runs"), path),
    "of another run": lambda store, path: shutil.copy(part(store, "runs", VGG), path),
    "no value": lambda _, path: with_value(path, "published", None),
    "no choice": lambda _, path: with_value(path, "status", "completed"),
    "no JSON": lambda _, path: with_value(path, "params", "{"),
}


@pytest.mark.parametrize(
    ("damage", "has_tables"), [*((each, False) for each in DAMAGES_OF_RUNS), ("torn", True), ("no value", True)]
)
def test_a_damaged_row_of_a_run_is_a_failed_run_that_says_so(damage, has_tables, own_store):
    if has_tables:
        own_store.publish(ALEXNET)
    whole = {name: table(own_store, name, columns=["run_id"]) for name in ("class_runs", "masks", "clusters")}
    path = part(own_store, "runs")
    DAMAGES_OF_RUNS[damage](own_store, path)
    store = Store(own_store.url)
    status = store.status().set_index("run_id")
    assert status["status"].to_dict() == {ALEXNET: "failed", VGG: "complete"}
    assert str(path) in status["error"][ALEXNET]
    assert pd.isna(status["error"][VGG])
    assert status["model"].to_dict() == {ALEXNET: "alexnet", VGG: "vgg16"}
    assert status["dataset"][ALEXNET] == ("imagenet:x?split=val" if has_tables else "unknown")
    assert status["n_summaries"].to_dict() == {ALEXNET: 1, VGG: 2}
    for name, rows in whole.items():
        assert len(table(store, name, columns=["run_id"])) == len(rows), name
    (found,) = table(store, "runs", run_id=ALEXNET).to_dict("records")
    assert (found["status"], str(path) in found["error"]) == ("failed", True)
    sql = "select run_id, r.status, r.error, count(*) as n from runs r join clusters using (run_id) group by all"
    asked = {row["run_id"]: row for row in answer(store, sql).to_pylist()}
    assert str(path) in asked[ALEXNET]["error"]
    assert asked[VGG]["error"] is None
    assert sum(row["n"] for row in asked.values()) == len(whole["clusters"])
    with pytest.raises(DamagedError, match=re.escape(str(path))):
        store.publish(ALEXNET)
    assert store.publish(VGG)["clusters"] == 3


def test_the_report_shows_the_other_runs_and_names_the_damaged_row(own_store, tmp_path):
    torn(own_store, part(own_store, "runs"))
    site = build_report(Store(own_store.url), tmp_path / "site").parent
    assert str(part(own_store, "runs")) in (site / "about.html").read_text().replace("&#39;", "'")
    assert "vgg16" in (site / "index.html").read_text()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_of_another_table_is_named_by_a_query_and_hides_nothing_else(name, own_store):
    whole = {each: len(table(own_store, each, columns=["run_id"])) for each in WRITTEN}
    of_owl = len(table(own_store, name, class_id=OWL, columns=["run_id"]))
    path = part(own_store, name)
    foreign(own_store, path)
    store = Store(own_store.url)
    words = rf"damaged: {re.escape(str(path))} holds the table '\w+', expected the table '{name}'"
    if name == "class_runs":
        (row,) = answer(store, f"from class_runs where run_id = '{ALEXNET}' and class_id = '{ROBIN}'").to_pylist()
        assert row["status"] == "failed"
        assert re.search(words, row["error"])
    else:
        with pytest.raises(QueryError, match=words):
            answer(store, f"select count(*) from {name}")
        with pytest.raises(DamagedError, match=words):
            table(store, name)
    connection = connect(store)
    for other, n_rows in whole.items():
        if other != name:
            assert connection.sql(f'select count(*) from "{other}"').fetchall() == [(n_rows,)]
    assert len(table(store, name, class_id=OWL, columns=["run_id"])) == of_owl
    assert store.status()["n_summaries"].sum() in (2, 3)


def test_a_published_file_of_another_table_or_with_another_footer_is_named_by_a_query(own_store):
    own_store.publish(ALEXNET)
    tables = Path(own_store.url, "tables")
    path = tables / "clusters" / f"{ALEXNET}.parquet"
    whole = path.read_bytes()
    path.write_bytes((tables / "regions" / f"{ALEXNET}.parquet").read_bytes())
    with pytest.raises(QueryError, match=r"holds the table 'regions', expected the table 'clusters'.*publish the run"):
        answer(own_store, "from clusters")
    at = whole.rindex(b"cluster_id")
    path.write_bytes(whole[:at] + b"clustex_id" + whole[at + 10 :])
    with pytest.raises(QueryError, match=rf"damaged: {re.escape(str(path))}: its (footer|bytes)"):
        answer(own_store, "from clusters")
    assert answer(own_store, "select count(*) from regions").num_rows == 1


def test_a_file_of_a_newer_version_is_named_where_it_is_asked_for(own_store):
    path = part(own_store, "clusters")
    rows = pq.read_table(path)
    newer = rows.schema.metadata[b"xvcore"].replace(b'"schema_version":1', b'"schema_version":9')
    pq.write_table(rows.replace_schema_metadata({b"xvcore": newer}), path)
    with pytest.raises(QueryError, match=r"version 9 of the table clusters.*update xvcore"):
        answer(own_store, "from clusters")
    assert connect(own_store).sql("from masks").fetchall()


@pytest.mark.parametrize(
    ("name", "column", "value", "words"),
    [
        ("clusters", "accepted", None, "no accepted in row 0"),
        ("masks", "kind", "soft", "kind 'soft', expected one of smooth, sharp"),
        ("class_runs", "rows_by_table", "[1", r"rows_by_table '\[1', expected JSON"),
    ],
)
def test_a_value_that_the_writer_would_refuse_is_named_and_other_classes_are_read(
    name, column, value, words, own_store
):
    path = part(own_store, name)
    with_value(path, column, value)
    with pytest.raises(DamagedError, match=f"{re.escape(str(path))} holds {words}"):
        own_store.read(name, ALEXNET, ROBIN)
    assert own_store.read(name, ALEXNET, OWL) is not None
    assert own_store.n_rows(name, ALEXNET, ROBIN) is None


def test_such_a_value_in_a_published_file_is_named(own_store):
    own_store.publish(ALEXNET)
    path = Path(own_store.url, "tables", "masks", f"{ALEXNET}.parquet")
    rows = pq.read_table(path)
    kinds = pc.replace_substring(rows.column("kind"), "sharp", "soft")
    pq.write_table(rows.set_column(rows.column_names.index("kind"), "kind", kinds), path)
    with pytest.raises(StoreError, match="kind 'soft', expected one of smooth, sharp; publish the run again"):
        table(own_store, "masks", columns=["kind"])
