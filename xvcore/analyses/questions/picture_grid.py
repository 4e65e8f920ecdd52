"""Pictures in rows and columns with headings and captions, as SVG text that needs no other file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float, Int, UInt8

from xvcore.analyses.questions.figures import COLOURS
from xvcore.errors import ParameterError

SIDE, GAP, LEFT, TOP, LINE = 170, 14, 8, 66, 16
RAMP = ((13, 8, 60), (110, 20, 110), (200, 60, 80), (250, 150, 50), (252, 250, 190))
"""Colours from low to high, of rising lightness."""
COLUMN_LETTERS = 25
"""Letters of a caption that fit under a picture."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture and what stands under it.

    Parameters
    ----------
    encoded : PNG or JPEG
    captions : lines under the picture; longer ones are cut, and whole where the mouse rests
    is_map : drawn with hard pixels, not smoothed
    keys : colours of the squares before the captions, which then are the legend of the map
    """

    encoded: bytes
    captions: tuple[str, ...] = ()
    is_map: bool = False
    keys: tuple[str, ...] = ()


def picture_grid(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, side: tuple[int, int] = (SIDE, SIDE)
) -> str:
    """Return pictures in rows under headings as SVG, each as large as ``side`` (width, height) allows.

    Raises
    ------
    ParameterError
        No picture at all.
    """
    if not any(rows):
        raise ParameterError(f"{title}: no picture to show")
    n_lines = max(len(cell.captions) for row in rows for cell in row)
    n_columns = max(len(row) for row in rows)
    across, down = side[0] + GAP, side[1] + GAP + n_lines * LINE
    width, height = 2 * LEFT + n_columns * across - GAP, TOP + len(rows) * down
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" width="{width}" '
        'style="max-width:100%;height:auto" font-family="system-ui, sans-serif" font-size="12" fill="currentColor">',
        f"<title>{escape(title)}</title>",
        f'<text x="{LEFT}" y="22" font-size="16" font-weight="600">{escape(title)}</text>',
    ]
    for column, heading in enumerate(headings):
        parts.append(f'<text x="{LEFT + column * across}" y="{TOP - 12}">{escape(heading)}</text>')
    for index, row in enumerate(rows):
        for column, cell in enumerate(row):
            parts += _cell(cell, LEFT + column * across, TOP + index * down, side)
    return "\n".join([*parts, "</svg>"])


def coloured(
    values: Float[np.ndarray, "rows columns"], low: float | None = None, high: float | None = None
) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return a map in colours of rising lightness; what is not a number is grey.

    Parameters
    ----------
    values : the map
    low, high : ends of the colours; None takes those of the map
    """
    known = values[np.isfinite(values)]
    least = low if low is not None else float(known.min()) if len(known) else 0.0
    most = high if high is not None else float(known.max()) if len(known) else 1.0
    place = ((np.nan_to_num(values, nan=least) - least) / ((most - least) or 1.0)).clip(0, 1) * (len(RAMP) - 1)
    ends = np.array(RAMP, float)
    before = np.minimum(place.astype(int), len(RAMP) - 2)
    share = (place - before)[..., None]
    mixed = (1 - share) * ends[before] + share * ends[before + 1]
    return np.asarray(np.where(np.isfinite(values)[..., None], mixed.round(), 128), np.uint8)


def named(indices: Int[np.ndarray, "rows columns"], order: Sequence[int]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Return a map of kinds in the colours of the curves, the first of ``order`` first; all beyond are grey."""
    palette = [tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5)) for colour in COLOURS]
    found = np.full((*indices.shape, 3), 190, np.uint8)
    for kind, colour in zip(order, palette, strict=False):
        found[indices == kind] = colour
    return found


def _cell(cell: Cell, x: int, y: int, side: tuple[int, int]) -> list[str]:
    kind = "png" if cell.encoded.startswith(b"\x89PNG") else "jpeg"
    style = ' style="image-rendering:pixelated"' if cell.is_map else ""
    data = base64.b64encode(cell.encoded).decode()
    parts = [
        f'<image x="{x}" y="{y}" width="{side[0]}" height="{side[1]}" preserveAspectRatio="xMidYMid meet"{style} '
        f'href="data:image/{kind};base64,{data}"/>'
    ]
    for line, caption in enumerate(cell.captions):
        short = caption if len(caption) <= COLUMN_LETTERS else caption[: COLUMN_LETTERS - 1] + "…"
        bottom, indent = y + side[1] + (line + 1) * LINE - 2, 0
        if line < len(cell.keys):
            indent = 14
            parts.append(f'<rect x="{x}" y="{bottom - 10}" width="10" height="10" fill="{cell.keys[line]}"/>')
        place = f'x="{x + indent}" y="{bottom}"'
        parts.append(f"<text {place}>{escape(short)}<title>{escape(caption)}</title></text>")
    return parts
