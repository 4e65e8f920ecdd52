"""What is laid over a picture: the veil over all that the mask keeps, heat of the smooth mask, evidence, outlines."""

import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from xvcore.store.encode import map_array

VEIL_ALPHA = 208
"""Opacity of the veil, 0 … 255: what lies under it can still be guessed."""
_COOL, _HOT = np.array([255, 196, 61], dtype=np.float32), np.array([190, 18, 60], dtype=np.float32)
_HEAT_ALPHA = 0.9
FOR, AGAINST = (214, 47, 22), (23, 105, 194)
"""Colours of evidence for and against an output, RGB."""


def veil(salient: np.ndarray) -> bytes:
    """Return a PNG that is clear where ``salient`` (h, w) is true and veiled black elsewhere; one bit a pixel."""
    image = Image.fromarray((~salient).astype(np.uint8))
    image.putpalette([0, 0, 0, 0, 0, 0])
    return _png(image, transparency=bytes([0, VEIL_ALPHA]), bits=1)


def heat(soft_map: Any, height: int, width: int) -> bytes:
    """Return a PNG of ``height`` × ``width``: from clear where a smooth mask keeps (1) over yellow to red (0).

    It is left at the mask's own resolution; the browser smooths it when it is drawn larger.
    """
    removed = np.clip(1 - map_array(soft_map, height, width), 0, 1)[..., None]
    colour = _COOL + (_HOT - _COOL) * removed
    alpha = 255 * _HEAT_ALPHA * removed
    return _png(Image.fromarray(np.concatenate([colour, alpha], axis=2).round().astype(np.uint8)))


def signed(values: np.ndarray, limit: float) -> bytes:
    """Return a PNG of evidence, a pixel an element: red speaks for, blue against, clear is nothing.

    The opacity is ``|value| / limit``, so that the ground, light or dark, is the middle of the scale.

    Parameters
    ----------
    values : (h, w)
    limit : value at full opacity
    """
    colour = np.where(values[..., None] > 0, np.array(FOR), np.array(AGAINST))
    alpha = 255 * np.clip(np.abs(values) / (limit or 1.0), 0, 1)[..., None]
    return _png(Image.fromarray(np.concatenate([colour, alpha], axis=2).round().astype(np.uint8)))


def outline(salient: np.ndarray | None, box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """Return the corners of the convex hull of the salient pixels in a box; of the box itself if there are none.

    Parameters
    ----------
    salient : (h, w), true where the crisp mask removes the pixel
    box : x, y, w, h in pixels
    """
    x, y, w, h = box
    if salient is not None:
        rows, columns = np.nonzero(salient[y : y + h, x : x + w])
        if len(rows):
            points = np.stack([columns + x, rows + y], axis=1).astype(np.int32)
            hull = np.asarray(cv2.convexHull(points)).reshape(-1, 2)
            if len(hull) > 2:
                return [(int(a), int(b)) for a, b in hull]
    return [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]


@dataclass(frozen=True, slots=True)
class Layer:
    """A map as a file, and its place over the picture in per cent."""

    file: str
    left: float
    top: float
    width: float
    height: float


def placed(file: str, box: tuple[float, float, float, float], size: tuple[int, int]) -> Layer:
    """Return a map that covers a box (x, y, w, h in pixels) of a picture of this height and width."""
    (x, y, w, h), (height, width) = box, size
    return Layer(file, 100 * x / width, 100 * y / height, 100 * w / width, 100 * h / height)


def _png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **options)
    return buffer.getvalue()
