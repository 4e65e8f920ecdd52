"""Small pictures of what a run found, for a page that shows many: squares around a region, sheets of equal tiles."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

import numpy as np
from PIL import Image

TILE_PX = 112
"""Longest side of a picture in a sheet."""
FINE_PX = 32
"""Up to this side a sheet is a PNG, to be enlarged without smoothing: every pixel can be told apart."""
COLUMNS = 3
GREY, WHITE = (128, 128, 128), (255, 255, 255)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture of one result and the line that says which.

    Parameters
    ----------
    title : what is shown, in words
    data : encoded: JPEG, PNG, or the text of an SVG
    class_id : whose result it is; ``None`` where it is of the whole run
    """

    title: str
    data: bytes
    class_id: str | None = None

    @property
    def media_type(self) -> str:
        """Type of the data, as an address of kind ``data:`` names it."""
        return {"png": "image/png", "jpg": "image/jpeg", "svg": "image/svg+xml"}[extension(self.data)]


def spread(items: Sequence[Item], number: int) -> list[Item]:
    """Return at most so many items, evenly from all of them, the first among them."""
    if len(items) <= number:
        return list(items)
    return [items[index * len(items) // number] for index in range(number)]


def sheet(  # noqa: PLR0913  one for each way in which sheets differ
    pictures: Sequence[bytes | None],
    *,
    columns: int = COLUMNS,
    rows: int | None = None,
    tile_px: int = TILE_PX,
    is_stretched: bool = False,
    is_enlarged: bool = False,
) -> bytes:
    """Return pictures of one size side by side, row by row, as one file; grey where there is none.

    Small pictures are a PNG, so that single pixels can be told apart; others are a JPEG.

    Parameters
    ----------
    pictures : encoded, at least one of them there
    columns : pictures in a row
    rows : of pictures; ``None``: as many as columns
    tile_px : longest side of a picture in the sheet
    is_stretched : whether each picture's contrast about grey is raised until one value in 200 is saturated; for
        projections, of which single pixels tower over the rest
    is_enlarged : whether pictures below ``tile_px`` are brought to it, those up to :data:`FINE_PX` pixel by pixel
    """
    tiles = [None if data is None else _opened(data) for data in pictures]
    first = next(tile for tile in tiles if tile is not None)
    side = max(first.size)
    scale = tile_px / side if is_enlarged else min(1.0, tile_px / side)
    width, height = (max(1, round(scale * each)) for each in first.size)
    smooth = Image.Resampling.NEAREST if scale > 1 and side <= FINE_PX else Image.Resampling.LANCZOS
    found = Image.new("RGB", (columns * width, (rows or columns) * height), GREY)
    for index, tile in enumerate(tiles):
        if tile is not None:
            place = (index % columns * width, index // columns * height)
            scaled = tile.resize((width, height), smooth)
            found.paste(_stretched(scaled) if is_stretched else scaled, place)
    return _png(found) if side <= FINE_PX else _jpeg(found, 82)


def beside(pictures: Sequence[bytes], *, gap_px: int = 8) -> bytes:
    """Return encoded pictures of one height beside each other as a JPEG, white between them."""
    opened = [_opened(data) for data in pictures]
    width = sum(each.width for each in opened) + gap_px * (len(opened) - 1)
    found = Image.new("RGB", (width, max(each.height for each in opened)), WHITE)
    left = 0
    for each in opened:
        found.paste(each, (left, 0))
        left += each.width + gap_px
    return _jpeg(found, 82)


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
    return _jpeg(square, 85, subsampling=-1)


def bars(shares: Mapping[str, float]) -> bytes:
    """Return a bar for each share, in [0, 1] and with its name, as the text of an SVG."""
    left = 24 + 8 * max(map(len, shares), default=0)
    size = f'width="{left + 340}" height="{len(shares) * 28}"'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">']
    for place, (name, share) in enumerate(shares.items()):
        middle = place * 28 + 14
        text = f'y="{middle + 5}" font-size="14" fill="#808080"'
        lines += [
            f'<text x="{left - 8}" {text} text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{middle - 9}" width="{260 * share:.1f}" height="18" fill="#3b7dd8"/>',
            f'<text x="{left + 8 + 260 * share:.1f}" {text}>{share:.1%}</text>',
        ]
    return "\n".join([*lines, "</svg>"]).encode()


def extension(data: bytes) -> str:
    """Return ``png``, ``jpg`` or ``svg``, by the first bytes of an encoded picture."""
    if data.startswith(b"\x89PNG"):
        return "png"
    return "svg" if data.lstrip().startswith(b"<") else "jpg"


def _stretched(image: Image.Image) -> Image.Image:
    deviation = np.asarray(image, dtype=np.float32) - 127.5
    gain = max(1.0, 127.5 / max(1.0, float(np.percentile(np.abs(deviation), 99.5))))
    return Image.fromarray((127.5 + gain * deviation).clip(0, 255).round().astype(np.uint8))


def _opened(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def _jpeg(image: Image.Image, quality: int, subsampling: int = 0) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
