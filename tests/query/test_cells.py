"""Laws of answers as text: nothing of a cell is lost, and what it was can be read back."""

import io
import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xvcore.query import answer
from xvcore.query.cells import as_text
from xvcore.store.encode import picture, rle_decode, rle_encode

FLOATS = st.floats(width=32)


def column(values, kind, **options):
    return list(as_text(pa.table({"cell": pa.array(values, kind)}), **options)["cell"])


@given(st.lists(st.none() | st.lists(st.none() | FLOATS), max_size=4))
def test_a_list_of_numbers_comes_back_whole_from_its_json(lists) -> None:
    for values, text in zip(lists, column(lists, pa.list_(pa.float32())), strict=True):
        if values is None:
            assert text is None
            continue
        expected = [None if each is None or math.isnan(each) else np.float32(each) for each in values]
        found = [None if each is None else np.float32(each) for each in json.loads(text)]
        assert found == expected
        assert "\n" not in text


def test_a_long_list_is_whole_in_csv_and_short_in_a_table() -> None:
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    (whole,) = column([values], pa.list_(pa.float32()))
    np.testing.assert_array_equal(np.array(json.loads(whole), dtype=np.float32), values)
    (short,) = column([values], pa.list_(pa.float32()), letters=60)
    assert len(short) == 60
    assert short.endswith("…")


@given(
    st.recursive(st.none() | st.integers(-9, 9), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=6)
)
def test_structures_maps_and_lists_of_them_are_json(value) -> None:
    kind = pa.struct([("a", pa.list_(pa.struct([("b", pa.string()), ("c", pa.bool_())]))), ("n", pa.int64())])
    cell = {"a": [{"b": f'"{value}"\n', "c": True}, None], "n": 3}
    (text, none) = column([cell, None], kind)
    assert json.loads(text) == cell
    assert none is None
    pairs = [("x", 1), ("y", None)]
    found = column([pairs, None, []], pa.map_(pa.string(), pa.int32()))
    assert [each if each is None else json.loads(each) for each in found] == [dict(pairs), None, {}]


def test_infinity_and_nan_are_valid_json() -> None:
    (text,) = column([[float("inf"), float("-inf"), float("nan")]], pa.list_(pa.float64()))
    found = json.loads(text, parse_constant=pytest.fail)
    assert found == [float("inf"), float("-inf"), None]


def test_pictures_are_words_or_paths_and_masks_are_cocos() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    jpeg = picture(image)
    words = column([jpeg, picture(image, "png"), picture(image, path="a b.jpg"), None], kind)
    assert words[0] == f"<jpeg {len(jpeg['bytes']) / 1000:.1f} kB>"
    assert words[1].startswith("<png ")
    assert words[2:] == ["a b.jpg", None]
    assert column([jpeg["bytes"], b"\xff\x00", b"text"], pa.binary()) == [words[0], r"\xff\x00", "text"]
    assert json.loads(column([[jpeg, None]], pa.list_(kind))[0]) == [words[0], None]
    mask = image[..., 0] > 99
    cell = rle_encode(mask)
    (text,) = column([cell], pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.binary())]))
    read = json.loads(text)
    np.testing.assert_array_equal(rle_decode({**read, "counts": read["counts"].encode()}), mask)


def test_scalars_keep_their_types_also_where_some_are_missing() -> None:
    rows = pa.table(
        {"i": pa.array([1, None]), "f": pa.array([0.5, None], pa.float32()), "b": [True, None], "s": ["x", None]}
    )
    assert as_text(rows).to_csv(index=False) == "i,f,b,s\n1,0.5,True,x\n,,,\n"
    big = pa.table({"i": pa.array([2**63 - 1, None])})
    assert str(2**63 - 1) in as_text(big).to_csv(index=False)
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert as_text(twice).to_csv(index=False) == "a,a\n1,2\n"


def test_an_answer_as_csv_has_a_line_for_each_row(store) -> None:
    rows = answer(store, "select region_id, crop, class_id, list_value(x, y, w, h) as box from regions")
    frame = pd.read_csv(io.StringIO(as_text(rows).to_csv(index=False)))
    assert len(frame) == rows.num_rows
    assert [json.loads(each) for each in frame["box"]] == rows.column("box").to_pylist()
    assert set(frame["crop"].dropna().str.startswith("<png")) == {True}
    assert frame["crop"].isna().sum() == sum(each is None for each in rows.column("crop").to_pylist())
