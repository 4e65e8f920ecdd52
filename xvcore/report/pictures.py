"""What is laid over a picture: the veil over all that the mask keeps, the heat of the smooth mask, outlines."""

import io
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from PIL import Image

from xvcore.store.encode import map_array

VEIL_ALPHA = 208
"""Opacity of the veil, 0 … 255: what lies under it can still be guessed."""
_COOL, _HOT = np.array([255, 196, 61], dtype=np.float32), np.array([190, 18, 60], dtype=np.float32)
_HEAT_ALPHA = 0.9


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


def thumbnail(picture: bytes, box: tuple[int, int, int, int], *, side: int = 96, context: float = 1.6) -> bytes:
    """Return a JPEG of ``side`` × ``side``: a square around a region, ``context`` times its longer side.

    Parameters
    ----------
    picture : encoded
    box : x, y, w, h in pixels
    """
    with Image.open(io.BytesIO(picture)) as image:
        x, y, w, h = box
        span = min(context * max(w, h), *image.size)
        left = min(max(0.0, x + w / 2 - span / 2), image.width - span)
        top = min(max(0.0, y + h / 2 - span / 2), image.height - span)
        square = image.convert("RGB").resize(
            (side, side), Image.Resampling.LANCZOS, (left, top, left + span, top + span)
        )
    buffer = io.BytesIO()
    square.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def encoded(cell: Mapping[str, Any] | None) -> bytes | None:
    """Return the bytes of a table's picture; ``None`` where it was left out."""
    data = cell["bytes"] if cell is not None else None
    return bytes(data) if data else None


def extension(data: bytes) -> str:
    """Return ``png`` or ``jpg``, by the first bytes of an encoded picture."""
    return "png" if data.startswith(b"\x89PNG") else "jpg"


def _png(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **options)
    return buffer.getvalue()
