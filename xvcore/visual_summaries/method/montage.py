"""Montage: a summary as one picture, its regions outlined in images that are grey but for what the network used."""

import math

import cv2
import numpy as np
from jaxtyping import Bool, Real, UInt8

from xvcore.errors import XvError
from xvcore.visual_summaries.method.dense_flow import Window, window

Pictures = UInt8[np.ndarray, "images height width 3"]
Picture = UInt8[np.ndarray, "height width 3"]
FrameBoxes = Real[np.ndarray, "images 4"]

GREY = 64
RED = (255, 0, 0)
CYAN = (0, 255, 255)
REFERENCE_PX = 224
"""Side of the picture at which outlines have their published widths: 3 px red, 2 px cyan."""


def montage(
    images: Pictures, salient: Bool[np.ndarray, "images height width"], boxes: FrameBoxes, *, gap_px: int = 4
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the members of a summary in a grid of ceil(sqrt(n)) columns, row by row.

    Each image is dark grey but for the salient components that touch its box (outlined cyan) and the convex hull of
    the salient pixels inside of the box (outlined red): see :func:`highlighted`.

    Parameters
    ----------
    images : RGB, members of a summary in the order to be shown
    salient : true where the crisp mask removes the pixel
    boxes : region of each image: x, y, w, h in pixels
    gap_px : between pictures

    Raises
    ------
    XvError
        There are no images.
    """
    cells = [highlighted(*each) for each in zip(images, salient, boxes, strict=True)]
    return _grid(cells, math.ceil(math.sqrt(len(cells))), gap_px)


def crop_sheet(
    images: Pictures, boxes: FrameBoxes, *, side_px: int = 96, columns: int = 7, gap_px: int = 4
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return the plain crops of a cluster in a grid, each scaled to fit a square, its aspect kept.

    Parameters
    ----------
    images : RGB; the exemplar first (the authors show it with up to 20 members)
    boxes : region of each image
    side_px : of the square
    columns : pictures in a row
    gap_px : between pictures

    Raises
    ------
    XvError
        There are no images.
    """
    cells = [_fitted(image[window(box.astype(np.float64))], side_px) for image, box in zip(images, boxes, strict=True)]
    return _grid(cells, min(columns, len(cells)), gap_px)


def highlighted(image: Picture, salient: Bool[np.ndarray, "height width"], box: Real[np.ndarray, " 4"]) -> Picture:
    """Return one image of a montage.

    Outlines are drawn as wide as 3 and 2 pixels are at a side of 224 pixels, at least 1.

    Parameters
    ----------
    image : RGB
    salient : true where the crisp mask removes the pixel
    box : x, y, w, h in pixels
    """
    inside = window(box.astype(np.float64))
    touching = _components_touching(salient, inside)
    hull = _hull(salient, inside)
    shown = touching | _painted(hull, salient.shape)
    result = np.where(shown[..., None], image, np.uint8(GREY))
    scale = min(image.shape[:2]) / REFERENCE_PX
    outlines, _ = cv2.findContours(touching.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(result, outlines, -1, CYAN, max(1, round(2 * scale)))
    if len(hull):
        cv2.drawContours(result, [hull], -1, RED, max(1, round(3 * scale)))
    return result


def _components_touching(salient: np.ndarray, inside: Window) -> np.ndarray:
    _, labels = cv2.connectedComponents(salient.astype(np.uint8), connectivity=8)
    touching = np.unique(labels[inside])
    return np.isin(labels, touching[touching > 0])


def _hull(salient: np.ndarray, inside: Window) -> np.ndarray:
    rows, columns = np.nonzero(salient[inside])
    points = np.stack([columns + inside[1].start, rows + inside[0].start], axis=1).astype(np.int32)
    return np.asarray(cv2.convexHull(points)) if len(points) else np.zeros((0, 1, 2), np.int32)


def _painted(hull: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    canvas = np.zeros(size, np.uint8)
    if len(hull):
        cv2.fillConvexPoly(canvas, hull, 1)
    return canvas.astype(bool)


def _fitted(crop: np.ndarray, side: int) -> np.ndarray:
    cell = np.full((side, side, 3), GREY, np.uint8)
    if crop.size:
        height, width = crop.shape[:2]
        scale = side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        resized = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        top, left = (side - size[1]) // 2, (side - size[0]) // 2
        cell[top : top + size[1], left : left + size[0]] = resized
    return cell


def _grid(cells: list[np.ndarray], columns: int, gap: int) -> np.ndarray:
    if not cells:
        raise XvError("a montage of no images was asked for; at least one is needed")
    height, width = cells[0].shape[:2]
    rows = math.ceil(len(cells) / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = cell
    return sheet
