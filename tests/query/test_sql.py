import re

import pyarrow.parquet as pq
import pytest

pytest.importorskip("duckdb")

from pathlib import Path

from xvcore.errors import QueryError, StoreError
from xvcore.query import answer, connect, table
from xvcore.store import SCHEMAS, Store

ROBIN = "n01558993"
ALEXNET = "alexnet-visual-summaries-1"


@pytest.fixture(scope="module")
def connected():
    """Gives the connection to a store that no test changes; each is opened once."""
    found = {}

    def connection_to(store):
        if store.url not in found:
            found[store.url] = connect(store)
        return found[store.url]

    return connection_to


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_a_view_has_the_rows_and_columns_of_its_table(store, name, connected):
    connection = connected(store)
    relation = connection.sql(f'from "{name}"')
    assert relation.columns == list(SCHEMAS[name].names)
    assert connection.sql(f'select count(*) from "{name}"').fetchall() == [(len(table(store, name)),)]


def test_a_question_in_sql_and_the_same_in_pandas_agree(store, connected):
    found = connected(store).sql("select model, count(*) as n from clusters where accepted group by all order by all")
    frame = table(store, "clusters", filters={"accepted": True})
    assert found.fetchall() == list(frame.groupby("model").size().items())


# DuckDB 2.0 converts times in a way that pandas 3.1 deprecates
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.drop")
def test_maps_masks_and_times_can_be_selected(store, connected):
    frame = connected(store).sql("select rle, soft_map, created_at from masks join runs using (run_id)").df()
    assert set(frame["rle"][0]) == {"size", "counts"}


def test_a_column_that_only_newer_files_have_is_there(own_store):
    for path in Path(own_store.url, "parts/clusters").rglob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["score", "converged"]), path)
    found = connect(own_store).sql("select count(*), count(score), count(converged) from clusters").fetchall()
    assert found == [(4, 0, 0)]


def test_names_with_any_signs_are_no_patterns(tmp_path):
    store = Store(tmp_path / "a[1]*? 'b'")
    for class_id in ("x*[y]?", "x'"):
        row = {"cluster_id": 0, "position": 1, "n_regions": 1, "n_images": 1, "accepted": True, "model": "m"}
        store.write("clusters", "r", class_id, [row])
    assert connect(store).sql("select class_id from clusters order by all").fetchall() == [("x'",), ("x*[y]?",)]


@pytest.mark.parametrize(
    "sql",
    [
        "with a as (select 1 as n), b(m) as not materialized (from a) select n, m from a, b",
        "with recursive t(n) as ((select 1) union all (select n + 1 from t where n < 3)) select n from t",
        "with a as (values (1)), b as (describe masks), c as (table a) from a, c",
        "select n, sum(n) over w as s, max(n) over v as \"as (copy\" from range(3) r(n) window w as (order by n), v as (w)",
        "select count(*) over (partition by n) as copy, 'as (copy' as t from range(2) r(n)",
        "with a as (select 1 as n, 'x' as k) pivot a on k using sum(n)",
        "select cast(n as decimal(9, 2)) as d, (n) as e from range(2) r(n)",
    ],
)  # fmt: skip
def test_what_reads_is_answered(sql, store):
    assert answer(store, sql).num_rows > 0


def test_an_empty_place_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="nothing was ever written"):
        connect(Store(tmp_path))


def test_a_page_that_is_damaged_is_named_when_a_query_meets_it(own_store):
    path = min(Path(own_store.url, "parts/predictions").rglob("*.parquet"))
    column = pq.read_metadata(path).row_group(0).column(list(SCHEMAS["predictions"].names).index("image_id"))
    start = column.dictionary_page_offset or column.data_page_offset
    data = path.read_bytes()
    path.write_bytes(data[:start] + bytes(8) + data[start + 8 :])
    with pytest.raises(QueryError, match=rf"damaged: {re.escape(str(path))}"):
        answer(own_store, "select max(image_id) from predictions")
    assert answer(own_store, "select count(*) from masks").num_rows == 1
