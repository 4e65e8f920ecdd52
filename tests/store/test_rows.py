import datetime
import json
import math
import string

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xvcore.errors import StoreError
from xvcore.store import SCHEMAS, Store
from xvcore.store.encode import picture
from xvcore.store.frame import data_frame
from xvcore.store.parquet import serialise
from xvcore.store.place import Place
from xvcore.store.read import read_file
from xvcore.store.rows import arrow_table
from xvcore.store.write import put

KEYS = {"run_id": "r", "model": "m", "class_id": "c"}
GOOD = {"cluster_id": 1, "position": 1, "n_regions": 3, "n_images": 2, "accepted": True}


def refused(change, message, table="clusters", row=GOOD):
    with pytest.raises(StoreError, match=message):
        arrow_table(SCHEMAS[table], [{**row, **change}], KEYS)


def test_an_unknown_column_is_refused_with_the_nearest_one():
    refused({"acepted": True}, "did you mean accepted")


def test_a_missing_value_is_refused_where_one_is_needed():
    with pytest.raises(StoreError, match=r"clusters.n_regions: row 0 has no value"):
        arrow_table(SCHEMAS["clusters"], [{k: v for k, v in GOOD.items() if k != "n_regions"}], KEYS)
    refused({"n_regions": None}, r"clusters.n_regions: row 0 has no value")


def test_a_score_that_is_not_a_number_is_refused_where_one_is_needed():
    refused({}, r"similarity.score: row 0", "similarity", {"region_i": 0, "region_j": 1, "score": math.nan})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_regions": "three"}, "n_regions"),
        ({"n_regions": 2.5}, "not a whole number"),
        ({"n_regions": 2**40}, "n_regions"),
        ({"position": 40_000}, "position"),
        ({"accepted": "yes"}, "accepted"),
        ({"score": "high"}, "score"),
        ({"part": 3}, "part"),
        ({"part": "\udcff"}, "part"),
        ({"montage": b"bytes alone"}, "montage"),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_refused_by_column(change, message):
    refused(change, message)


def test_a_value_that_is_not_among_the_choices_is_refused():
    refused({}, "'blurry' is not among 'smooth', 'sharp'", "masks", {"image_id": "i", "kind": "blurry"})


def test_a_key_that_contradicts_the_file_is_refused():
    refused({"class_id": "another"}, r"clusters.class_id: 'another' is not among 'c'")


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_no_rows_are_a_table_of_the_right_types(name):
    empty = arrow_table(SCHEMAS[name], [], KEYS)
    assert empty.schema.equals(SCHEMAS[name].arrow, check_metadata=True)


def test_an_arrow_table_is_taken_like_rows():
    table = SCHEMAS["similarity"]
    rows = pa.table({"region_i": [0, 0], "region_j": [1, 2], "score": [0.5, math.inf]})
    assert arrow_table(table, rows, KEYS).equals(arrow_table(table, rows.to_pylist(), KEYS))
    with pytest.raises(StoreError, match="did you mean region_"):
        arrow_table(table, rows.rename_columns(["region_y", "region_j", "score"]), KEYS)
    with pytest.raises(StoreError, match=r"similarity.score: row 1"):
        arrow_table(table, rows.set_column(2, "score", pa.array([1.0, math.nan])), KEYS)
    with pytest.raises(StoreError, match=r"similarity.region_i"):
        arrow_table(table, rows.set_column(0, "region_i", pa.array(["a", "b"])), KEYS)


def test_mappings_become_canonical_json():
    run = {"run_id": "r", "model": "m", "status": "running", "method": "x", "dataset": "d"}
    row = {**run, "schema_version": 1, "published": False}
    made = arrow_table(SCHEMAS["runs"], [{**row, "params": {"b": 1, "a": [2]}}], {})
    assert made["params"].to_pylist() == ['{"a":[2],"b":1}']
    refused({"params": {"a": math.nan}}, r"runs.params", "runs", row)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_two_rows_with_one_grain_are_refused_and_no_others(pairs):
    rows = [{"region_i": i, "region_j": j, "score": 1.0} for i, j in pairs]
    if len(set(pairs)) == len(pairs):
        assert arrow_table(SCHEMAS["similarity"], rows, KEYS).num_rows == len(pairs)
    else:
        with pytest.raises(StoreError, match="one is allowed"):
            arrow_table(SCHEMAS["similarity"], rows, KEYS)


def test_a_text_that_is_no_json_is_refused_where_json_is_written():
    with pytest.raises(StoreError, match=r"class_runs.rows_by_table .*'\{torn' is no JSON"):
        arrow_table(SCHEMAS["class_runs"], [{"rows_by_table": "{torn", "status": "complete"}], KEYS)


# Round trip: what is written is what is read, for every type of column.

_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
_FLOATS = st.floats(width=32, allow_nan=False)
_PICTURE = st.just(picture(np.zeros((2, 3, 3), np.uint8))) | st.just({"bytes": b"", "path": "x"})
_RLE = st.builds(lambda h, w, b: {"size": [h, w], "counts": b}, st.integers(0, 9), st.integers(0, 9), st.binary())
_TIMES = st.datetimes(
    min_value=datetime.datetime(1900, 1, 1), max_value=datetime.datetime(2200, 1, 1), timezones=st.just(datetime.UTC)
)


def values_of(column):
    kind = column.type
    if column.choices:
        return st.sampled_from(column.choices)
    if column.kind == "picture":
        return _PICTURE
    if column.kind == "json":
        return st.dictionaries(_TEXT, st.integers() | _TEXT, max_size=2).map(json.dumps)
    if pa.types.is_struct(kind):
        return _RLE
    if pa.types.is_list(kind):
        inner = {
            pa.float16(): st.floats(width=16),
            pa.float32(): _FLOATS,
            pa.float64(): st.floats(allow_nan=False),
            pa.int16(): st.integers(-(2**15), 2**15 - 1),
            pa.int32(): st.integers(-(2**31), 2**31 - 1),
            pa.int64(): st.integers(-(2**63), 2**63 - 1),
            pa.string(): _TEXT,
        }[kind.value_type]
        return st.lists(inner, max_size=4)
    if pa.types.is_timestamp(kind):
        return _TIMES
    if pa.types.is_integer(kind):
        return st.integers(-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1)
    return {pa.string(): _TEXT, pa.float32(): _FLOATS, pa.bool_(): st.booleans(), pa.binary(): st.binary()}[kind]


def _nothing(column):
    return st.none() | st.just(math.nan) if column.type == pa.float32() else st.none()


def rows_of(table):
    columns = {
        column.name: values_of(column) | _nothing(column) if column.nullable else values_of(column)
        for column in table.columns
        if column.name not in KEYS
    }
    present = st.sampled_from([KEYS])
    row = st.tuples(present, st.fixed_dictionaries(columns)).map(
        lambda pair: {name: value for name, value in (*pair[0].items(), *pair[1].items()) if name in table}
    )
    return st.lists(row, max_size=4, unique_by=lambda row: tuple(row[name] for name in table.grain))


def same(given, read, column):
    missing = read is None or read is pd.NA or read is pd.NaT
    if given is None:
        return missing or (isinstance(read, float) and math.isnan(read))
    if missing:
        return False
    if pa.types.is_list(column.type):
        return len(given) == len(read) and all(a == b or (a != a and b != b) for a, b in zip(given, read, strict=True))
    if pa.types.is_struct(column.type):
        return all(list(read[k]) == v if isinstance(v, list) else read[k] == v for k, v in given.items())
    if isinstance(given, float) and math.isnan(given):
        return math.isnan(read)
    return given == read


@pytest.mark.parametrize("name", list(SCHEMAS))
@given(data=st.data())
@settings(max_examples=5, deadline=None)  # of each table; they are made of the same types
def test_what_is_written_is_what_is_read(name, data, tmp_path_factory):
    table = SCHEMAS[name]
    rows = data.draw(rows_of(table))
    place = Place(tmp_path_factory.getbasetemp() / "round")
    where = f"tables/{name}.parquet"  # of no owner: rows of any may lie there
    put(place, where, serialise(table, arrow_table(table, rows, {}), {}))
    frame = data_frame(table, read_file(place, table, where))
    assert list(frame.columns) == list(table.names)
    assert len(frame) == len(rows)
    for given_row, (_, read_row) in zip(rows, frame.iterrows(), strict=True):
        for column in table.columns:
            assert same(given_row[column.name], read_row[column.name], column), column.name


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_types_of_a_frame_do_not_depend_on_the_values(name):
    table = SCHEMAS[name]
    empty = data_frame(table, arrow_table(table, [], {}))
    nothing = pa.Table.from_arrays([pa.nulls(2, column.type) for column in table.columns], schema=table.arrow)
    nullable = [column.name for column in table.columns if column.nullable]
    assert empty[nullable].dtypes.to_dict() == data_frame(table, nothing.select(nullable)).dtypes.to_dict()


def test_missing_text_is_none_and_missing_numbers_are_not_floats(tmp_path):
    store = Store(tmp_path)
    rows = [{"image_id": "a", "error": "broken"}, {"image_id": "b", "width": 7, "correct": True, "prob_target": 0.5}]
    store.write("predictions", "r", "c", [{**row, "model": "m"} for row in rows])
    frame = store.read("predictions", "r", "c")
    assert frame["error"].tolist() == ["broken", None]
    assert frame["width"].dtype == "Int32"
    assert frame["correct"].dtype == "boolean"
    assert frame["prob_target"].dtype == np.float32
    assert frame["image_id"].dtype == object
    frame.loc[0, "prob_target"] = 0.25  # a frame is the caller's own


def test_text_with_any_letters_survives(tmp_path):
    name = "ärger " + string.punctuation + "\n\x00 鳥"
    store = Store(tmp_path)
    store.write("class_runs", name, name, [{"model": name, "status": "failed", "error": name}])
    assert store.classes_of("class_runs", name) == [name]
    row = store.read("class_runs", name, name).iloc[0]
    assert (row["run_id"], row["class_id"], row["error"]) == (name, name, name)
