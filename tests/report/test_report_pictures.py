"""What is laid over a picture."""

import io

import numpy as np
import pytest
from PIL import Image

from xvcore.report.pictures import VEIL_ALPHA, extension, heat, outline, thumbnail, veil
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
