"""What is laid over a picture: the veil over all that the mask keeps, the heat of the smooth mask, evidence, outlines.

And small pictures side by side in one file.
"""

import io
from collections.abc import Mapping, Sequence
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
TILE_PX = 112
"""Longer side of a picture in a sheet; small ones are enlarged by a whole number, so that their pixels stay pixels."""
COLUMNS = 3
_FINE_PX = 32


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


def sheet(pictures: Sequence[bytes | None], *, columns: int = COLUMNS, is_stretched: bool = False) -> bytes:
    """Return pictures of one size side by side, row by row, as one file; grey where there is none.

    Small pictures are a PNG, so that single pixels can be told apart; others are a JPEG.

    Parameters
    ----------
    pictures : encoded, at least one of them there
    columns : pictures in a row; there are as many rows as columns
    is_stretched : whether each picture's contrast about grey is raised until one value in 200 is saturated; for
        projections, of which single pixels tower over the rest
    """
    tiles = [_opened(data) for data in pictures]
    first = next(tile for tile in tiles if tile is not None)
    side = max(first.size)
    scale: float = max(1, round(TILE_PX / side)) if side < TILE_PX else TILE_PX / side
    width, height = (max(1, round(scale * each)) for each in first.size)
    found = Image.new("RGB", (columns * width, columns * height), (128, 128, 128))
    kernel = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    for index, tile in enumerate(tiles):
        if tile is not None:
            place = (index % columns * width, index // columns * height)
            scaled = tile.resize((width, height), kernel)
            found.paste(_stretched(scaled) if is_stretched else scaled, place)
    if side <= _FINE_PX:
        return _png(found)
    buffer = io.BytesIO()
    found.save(buffer, "JPEG", quality=82, subsampling=0)
    return buffer.getvalue()


def _stretched(image: Image.Image) -> Image.Image:
    deviation = np.asarray(image, dtype=np.float32) - 127.5
    gain = max(1.0, 127.5 / max(1.0, float(np.percentile(np.abs(deviation), 99.5))))
    return Image.fromarray((127.5 + gain * deviation).clip(0, 255).round().astype(np.uint8))


def _opened(data: bytes | None) -> Image.Image | None:
    if data is None:
        return None
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


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
