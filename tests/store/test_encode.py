import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from xvcore.errors import StoreError
from xvcore.store import SCHEMAS
from xvcore.store.encode import (
    map_array,
    map_cell,
    picture,
    picture_array,
    rle_area,
    rle_decode,
    rle_encode,
    rle_overlap,
)
from xvcore.store.parquet import options

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(masks)
@settings(max_examples=60, deadline=None)
def test_a_mask_comes_back_as_it_was(mask):
    cell = rle_encode(mask)
    assert cell["size"] == list(mask.shape)
    np.testing.assert_array_equal(rle_decode(cell), mask)
    assert rle_area([cell])[0] == mask.sum()


# pycocotools 2.0.11 still converts arrays in numpy 1's way
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@given(masks, st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_pycocotools_reads_our_masks_and_we_read_its(mask, scale):
    mask = np.kron(mask, np.ones((scale, scale), dtype=bool))
    cell = rle_encode(mask)
    np.testing.assert_array_equal(coco.decode(cell), mask)
    np.testing.assert_array_equal(rle_decode(coco.encode(np.asfortranarray(mask))), mask)
    assert coco.area([cell])[0] == rle_area([cell])[0]


def test_run_lengths_that_do_not_fill_the_mask_are_refused():
    cell = rle_encode(np.ones((3, 4), dtype=bool))
    with pytest.raises(StoreError, match="12 pixels do not fill a mask of 5 x 4"):
        rle_decode({**cell, "size": [5, 4]})


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("step", [1, 2, -1])
def test_the_memory_layout_of_a_mask_does_not_matter(order, step):
    mask = np.array(np.random.default_rng(0).random((12, 9)) < 0.4, order=order)[::step, ::step]
    np.testing.assert_array_equal(rle_decode(rle_encode(mask)), mask)


@pytest.mark.parametrize("mask", [np.zeros((3, 3)), np.zeros((3, 3), int), np.zeros((1, 3, 3), bool)])
def test_what_is_no_binary_mask_is_refused(mask):
    with pytest.raises(StoreError, match="boolean array"):
        rle_encode(mask)


@pytest.mark.parametrize("n", [0, 1, 255, 256, 600])
def test_areas_of_any_number_of_masks(n):
    cells = [rle_encode(np.arange(12).reshape(3, 4) < k % 13) for k in range(n)]
    assert rle_area(cells).tolist() == [k % 13 for k in range(n)]


@given(masks.flatmap(lambda a: st.tuples(st.just(a), hnp.arrays(np.bool_, a.shape))))
@settings(max_examples=60, deadline=None)
def test_overlap_is_intersection_over_union(pair):
    a, b = pair
    union = (a | b).sum()
    expected = (a & b).sum() / union if union else 0.0
    assert rle_overlap(rle_encode(a), rle_encode(b)) == pytest.approx(expected)


def test_masks_of_different_sizes_have_no_overlap():
    with pytest.raises(StoreError, match="different sizes"):
        rle_overlap(rle_encode(np.ones((2, 2), bool)), rle_encode(np.ones((2, 3), bool)))


@pytest.mark.parametrize("shape", [(1, 1, 3), (9, 14, 3), (9, 14)])
def test_a_png_is_lossless_and_a_jpeg_is_near(shape):
    pixels = np.full(shape, 120, np.uint8)
    pixels[: shape[0] // 2] = 60
    cell = picture(pixels, "png", path="a.png")
    assert cell["bytes"].startswith(b"\x89PNG")
    assert cell["path"] == "a.png"
    np.testing.assert_array_equal(picture_array(cell), pixels)
    near = picture_array(picture(pixels, "jpeg"))
    assert near.shape == shape
    assert np.abs(near.astype(int) - pixels).mean() < 6


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 4, 4), (4,), (4, 4, 1)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(StoreError, match="a picture is"):
        picture(np.zeros(shape, np.uint8))


def test_a_map_keeps_three_digits():
    values = np.random.default_rng(0).random((26, 31), dtype=np.float32)
    back = map_array(map_cell(values), 26, 31)
    assert back.dtype == np.float32
    assert np.abs(back - values).max() < 5e-4


def test_a_map_beyond_16_bits_is_refused_not_made_infinite():
    with pytest.raises(StoreError, match="does not fit 16-bit floats"):
        map_cell(np.array([[1.0, 7e4]]))
    assert np.isinf(map_cell(np.array([[np.inf]]))).all()


@pytest.mark.parametrize("n_pictures", [4, 300])
def test_a_picture_that_many_rows_show_is_stored_once(n_pictures):
    pictures = [np.random.default_rng(i).bytes(5000) for i in range(n_pictures)]
    cells = [{"bytes": pictures[i % n_pictures], "path": None} for i in range(10 * n_pictures)]
    crops = pa.table({"crop": pa.array(cells, SCHEMAS["unit_top"]["crop"].type)})
    file = io.BytesIO()
    pq.write_table(crops, file, **options(SCHEMAS["unit_top"]))
    assert len(file.getvalue()) < 1.2 * sum(map(len, pictures))
    assert pq.read_table(file).equals(crops)
