"""What is laid over a picture."""

import io

import numpy as np
import pytest
from PIL import Image

from xvcore.report.pictures import (
    AGAINST,
    FOR,
    VEIL_ALPHA,
    heat,
    outline,
    signed,
    veil,
)
from xvcore.runs.thumbnails import FINE_PX, TILE_PX, extension, sheet, thumbnail
from xvcore.store.encode import map_cell, picture


def opened(data: bytes, mode: str = "RGBA") -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert(mode))


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (224, 224), (225, 225)])
def test_the_veil_is_clear_exactly_where_the_mask_removes(shape):
    salient = np.random.default_rng(0).random(shape) < 0.3
    alpha = opened(veil(salient))[..., 3]
    np.testing.assert_array_equal(alpha, np.where(salient, 0, VEIL_ALPHA))


@pytest.mark.parametrize("value", [True, False])
def test_a_mask_of_one_value_has_a_veil(value):
    assert np.unique(opened(veil(np.full((8, 8), value)))[..., 3]).tolist() == [0 if value else VEIL_ALPHA]


def test_heat_is_clear_where_the_mask_keeps_and_grows_as_it_removes():
    soft = np.linspace(1, 0, 12).reshape(3, 4)
    alpha = opened(heat(map_cell(soft), 3, 4))[..., 3].ravel().astype(int)
    assert alpha[0] == 0
    assert (np.diff(alpha) > 0).all()


def test_the_outline_holds_every_salient_pixel_of_the_box_and_no_other_box():
    y, x = np.mgrid[:64, :64]
    salient = (x - 30) ** 2 + (y - 30) ** 2 < 200
    corners = np.array(outline(salient, (20, 20, 15, 30)))
    assert corners[:, 0].min() >= 20
    assert corners[:, 0].max() < 35
    assert corners[:, 1].min() >= 20
    assert corners[:, 1].max() < 50
    rows, columns = np.nonzero(salient[20:50, 20:35])
    edges = np.roll(corners, -1, axis=0) - corners
    for px, py in zip(columns + 20, rows + 20, strict=True):  # on the same side of each edge
        side = edges[:, 0] * (py - corners[:, 1]) - edges[:, 1] * (px - corners[:, 0])
        assert (side >= 0).all() or (side <= 0).all()


def test_without_salient_pixels_the_outline_is_the_box():
    box = [(2, 3), (6, 3), (6, 8), (2, 8)]
    assert outline(None, (2, 3, 4, 5)) == box
    assert outline(np.zeros((20, 20), dtype=bool), (2, 3, 4, 5)) == box


@pytest.mark.parametrize("box", [(0, 0, 10, 10), (50, 30, 14, 10), (0, 0, 64, 40), (63, 39, 1, 1)])
def test_a_thumbnail_is_square_whatever_the_box(box):
    image = np.full((40, 64, 3), 90, dtype=np.uint8)
    assert opened(thumbnail(picture(image)["bytes"], box), "RGB").shape == (96, 96, 3)


def test_a_picture_is_named_by_its_format():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    assert extension(picture(image, "png")["bytes"]) == "png"
    assert extension(picture(image, "jpeg")["bytes"]) == "jpg"


def test_evidence_is_clear_at_nothing_and_equally_strong_to_both_sides():
    values = np.array([[-8.0, -4.0, 0.0], [4.0, 8.0, 80.0]])
    shown = opened(signed(values, 8.0))
    np.testing.assert_array_equal(shown[..., 3], [[255, 128, 0], [128, 255, 255]])
    assert (shown[0, :2, :3] == AGAINST).all()
    assert (shown[1, :, :3] == FOR).all()


def test_a_map_of_nothing_is_clear():
    assert not opened(signed(np.zeros((3, 3)), 0.0))[..., 3].any()


@pytest.mark.parametrize("side", [1, 7, FINE_PX])
def test_small_pictures_keep_every_pixel_in_a_sheet(side):
    tiles = np.random.default_rng(0).integers(0, 256, (4, side, side, 3)).astype(np.uint8)
    found = opened(sheet([picture(tile, "png")["bytes"] for tile in tiles[:3]] + [None], columns=2), "RGB")
    np.testing.assert_array_equal(found[:side, side:], tiles[1])
    np.testing.assert_array_equal(found[side:, :side], tiles[2])
    assert (found[side:, side:] == 128).all()


@pytest.mark.parametrize("shape", [(200, 100), (33, 33), (300, 301)])
def test_large_pictures_are_made_smaller_in_a_sheet_and_keep_their_ratio(shape):
    data = sheet([picture(np.full((*shape, 3), 200, dtype=np.uint8))["bytes"]], columns=3)
    height, width, _ = opened(data, "RGB").shape
    assert max(height, width) <= 3 * TILE_PX
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.02)
    assert extension(data) == "jpg"


def test_a_stretched_picture_keeps_grey_and_order_and_uses_the_whole_range():
    tile = np.full((20, 20, 3), 128, dtype=np.uint8)
    tile[5:9, 5:9], tile[10:14, 10:14] = 133, 122
    found = opened(sheet([picture(tile, "png")["bytes"]], columns=1, is_stretched=True), "L").astype(int)
    assert found[6, 6] == 255
    assert found[11, 11] <= 2
    assert abs(found[0, 0] - 128) < 16
