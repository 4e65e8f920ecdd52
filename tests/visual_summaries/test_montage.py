import cv2
import numpy as np
import pytest

from xvcore.errors import XvError
from xvcore.visual_summaries.method.montage import CYAN, GREY, RED, crop_sheet, highlighted, montage


def image_of(height=224, width=224):
    return np.random.default_rng(0).integers(100, 200, (height, width, 3), dtype=np.uint8)


def blobs():
    salient = np.zeros((224, 224), dtype=bool)
    salient[20:80, 20:80] = True  # touches the box
    salient[80:90, 80:90] = True  # touches it through a corner
    salient[150:200, 150:200] = True  # does not
    return salient


BOX = np.array([40.0, 40.0, 60.0, 30.0])


def is_colour(picture, colour):
    return (picture == np.array(colour)).all(axis=-1)


def test_only_components_that_touch_the_box_are_shown():
    image = image_of()
    shown = highlighted(image, blobs(), BOX)
    assert np.array_equal(shown[25:35, 25:35], image[25:35, 25:35])
    assert np.array_equal(shown[84:86, 84:86], image[84:86, 84:86])
    assert (shown[155:195, 155:195] == GREY).all()
    assert (shown[100:140] == GREY).all()


def test_the_hull_of_the_mask_inside_the_box_is_outlined_red_and_shown():
    salient = np.zeros((224, 224), dtype=bool)
    salient[50:60, 50:60] = salient[100:110, 100:110] = True
    image = image_of()
    shown = highlighted(image, salient, np.array([40.0, 40.0, 80.0, 80.0]))
    assert np.array_equal(shown[78:82, 78:82], image[78:82, 78:82])  # between the two squares: in the hull only
    canvas = np.zeros((224, 224), np.uint8)
    corners = np.array([[50, 50], [59, 50], [109, 100], [109, 109], [100, 109], [50, 59]])
    cv2.polylines(canvas, [corners], isClosed=True, color=1, thickness=3)
    assert np.array_equal(is_colour(shown, RED), canvas > 0)
    assert is_colour(shown, CYAN).any()


@pytest.mark.parametrize(("side", "wide"), [(224, 3), (64, 1), (448, 6)])
def test_outlines_are_as_wide_as_the_picture_asks(side, wide):
    salient = np.zeros((side, side), dtype=bool)
    salient[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = True
    shown = highlighted(image_of(side, side), salient, np.array([0.0, 0.0, side, side]))
    # OpenCV draws some widths up to two pixels wider than asked.
    assert 0 <= is_colour(shown, RED)[side // 2, : side // 2].sum() - wide <= 2


def test_an_image_without_a_salient_pixel_in_its_box_is_grey():
    assert (highlighted(image_of(), np.zeros((224, 224), dtype=bool), BOX) == GREY).all()


@pytest.mark.parametrize(("n", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (10, 4, 3)])
def test_the_grid_has_as_many_columns_as_the_root_of_the_number(n, columns, rows):
    images = np.stack([image_of(40, 50)] * n)
    sheet = montage(images, np.ones((n, 40, 50), dtype=bool), np.tile([5.0, 5.0, 20.0, 20.0], (n, 1)), gap_px=4)
    assert sheet.shape == (rows * 44 - 4, columns * 54 - 4, 3)
    assert sheet.dtype == np.uint8


def test_images_and_masks_stay_as_they_were():
    image, salient = image_of(), blobs()
    before = image.copy(), salient.copy()
    highlighted(image, salient, BOX)
    assert np.array_equal(image, before[0])
    assert np.array_equal(salient, before[1])


def test_crops_keep_their_aspect():
    image = np.full((1, 60, 80, 3), 200, np.uint8)
    sheet = crop_sheet(image, np.array([[10.0, 10.0, 40.0, 20.0]]), side_px=32)
    assert sheet.shape == (32, 32, 3)
    assert (sheet[8:24] == 200).all()
    assert (sheet[:8] == GREY).all()
    assert (sheet[24:] == GREY).all()


def test_no_image_is_refused():
    nothing = np.zeros((0, 8, 8, 3), np.uint8)
    with pytest.raises(XvError, match="no images"):
        montage(nothing, np.zeros((0, 8, 8), dtype=bool), np.zeros((0, 4)))
    with pytest.raises(XvError, match="no images"):
        crop_sheet(nothing, np.zeros((0, 4)))
