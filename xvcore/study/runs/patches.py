"""A patch of an image as a study shows it: cut from the image where that can be had, else from the table."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from xvcore.runs.thumbnails import GREY
from xvcore.store.encode import encoded

Box = tuple[int, int, int, int]
PictureOf = Callable[[Mapping[str, Any], str, str], np.ndarray | None]
QUALITY = 82
KEPT = 256
"""Images that are held in memory."""
FINE_PX = 32
"""Up to this side a patch is enlarged pixel by pixel: a network of small patches sees no more."""
LINE = (255, 214, 0)


@dataclass(frozen=True, slots=True)
class Cutter:
    """Makes pictures of patches.

    Parameters
    ----------
    run : row of ``runs``
    picture_of : gives an image as the network saw it; ``None`` where there is no such source
    side : longest side of a picture in pixels; smaller patches are enlarged to it
    context : side of what is shown over the longer side of the patch, at least 1
    """

    run: Mapping[str, Any]
    picture_of: PictureOf | None
    side: int
    context: float
    _images: dict[tuple[str, str], np.ndarray | None] = field(default_factory=dict, repr=False)

    def patch(self, class_id: str, image_id: str, box: Box, crop: Any) -> bytes | None:
        """Return a patch, encoded; ``None`` where neither the image nor a crop is there."""
        if self.context > 1:
            pixels = self.image(class_id, image_id)
            return None if pixels is None else _around(pixels, box, self.context, self.side)
        data = encoded(crop)
        if data is None:
            pixels = self.image(class_id, image_id)
            return None if pixels is None else encode(_cut(pixels, box), self.side)
        with Image.open(io.BytesIO(data)) as image:
            return encode(image.convert("RGB"), self.side)

    def image(self, class_id: str, image_id: str) -> np.ndarray | None:
        """Return an image, (height, width, 3), or ``None``; the last ones asked for are not read again."""
        key = (class_id, image_id)
        if key not in self._images:
            while len(self._images) >= KEPT:
                del self._images[next(iter(self._images))]
            self._images[key] = self.picture_of(self.run, image_id, class_id) if self.picture_of else None
        return self._images[key]

    def projection(self, cell: Any) -> bytes | None:
        """Return a projection at the size of a patch, its contrast raised."""
        data = encoded(cell)
        if data is None:
            return None
        with Image.open(io.BytesIO(data)) as image:
            deviation = np.asarray(image.convert("RGB"), dtype=np.float32) - 127.5
        gain = max(1.0, 127.5 / max(1.0, float(np.percentile(np.abs(deviation), 99.5))))
        shown = (127.5 + gain * deviation).clip(0, 255).round().astype(np.uint8)
        return encode(Image.fromarray(shown), self.side)


def encode(image: Image.Image, side: int) -> bytes:
    """Return an image as a JPEG whose longer side has so many pixels."""
    scale = side / max(image.size)
    smooth = Image.Resampling.NEAREST if max(image.size) <= FINE_PX else Image.Resampling.LANCZOS
    size = tuple(max(1, round(scale * each)) for each in image.size)
    buffer = io.BytesIO()
    image.resize((size[0], size[1]), smooth).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def strip(pictures: Sequence[bytes], *, columns: int, side: int) -> bytes:
    """Return pictures of any shape in squares of ``side`` pixels, row by row, as one JPEG."""
    rows = -(-len(pictures) // columns)
    found = Image.new("RGB", (min(columns, len(pictures)) * side, rows * side), GREY)
    for place, data in enumerate(pictures):
        with Image.open(io.BytesIO(data)) as image:
            image.thumbnail((side - 2, side - 2), Image.Resampling.LANCZOS)
            left = place % columns * side + (side - image.width) // 2
            found.paste(image.convert("RGB"), (left, place // columns * side + (side - image.height) // 2))
    buffer = io.BytesIO()
    found.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def _cut(pixels: np.ndarray, box: Box) -> Image.Image:
    """Return the pixels of a box, grey where it leaves the image."""
    x, y, w, h = box
    found = Image.new("RGB", (max(1, w), max(1, h)), GREY)
    found.paste(Image.fromarray(pixels), (-x, -y))
    return found


def _around(pixels: np.ndarray, box: Box, context: float, side: int) -> bytes:
    x, y, w, h = box
    span = max(1, round(context * max(w, h)))
    corner = (round(x + w / 2 - span / 2), round(y + h / 2 - span / 2))
    image = _cut(pixels, (*corner, span, span))
    scale = side / span
    image = image.resize((side, side), Image.Resampling.LANCZOS)
    left, top = ((each - start) * scale for each, start in zip((x, y), corner, strict=True))
    outline = (left, top, left + w * scale - 1, top + h * scale - 1)
    ImageDraw.Draw(image).rectangle(outline, outline=LINE, width=2)
    return encode(image, side)
