"""Cells: binary masks as COCO run lengths, pictures as JPEG, PNG or WebP, maps as 16-bit floats; and back."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image
from pycocotools import mask as coco

from xvcore.errors import StoreError
from xvcore.store.rows import half


def rle_encode(mask: np.ndarray) -> dict[str, Any]:
    """Return a binary mask (h, w) as COCO run lengths: ``size`` [h, w] and ``counts`` (bytes)."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise StoreError(f"a mask is a boolean array (h, w), not {mask.dtype} {mask.shape}")
    cell = coco.encode(np.asfortranarray(mask.view(np.uint8)))
    return {"size": [int(side) for side in cell["size"]], "counts": bytes(cell["counts"])}


def rle_decode(cell: Any) -> np.ndarray:
    """Return the mask (h, w), boolean, of a cell as written or as read from a table; StoreError where it is missing."""
    _refuse_missing(cell, "mask")
    height, width = (int(side) for side in cell["size"])
    runs = run_lengths(cell["counts"])
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if columns.size != height * width:
        raise StoreError(f"run lengths of {columns.size} pixels do not fill a mask of {height} x {width}")
    return np.ascontiguousarray(columns.reshape(width, height).T)


def run_lengths(counts: bytes) -> np.ndarray:
    """Return the lengths of runs, down the columns, of zeros and ones in turn (zeros first).

    In COCO's bytes a number is little-endian in groups of five bits plus 48, bit 5 says that more follow, bit 4 of the
    last group is the sign; from the fourth on, numbers are differences to the last but one. (pycocotools decodes too,
    but numpy 2 warns of it, and its ``area`` overflows beyond 255 masks.)
    """
    groups = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    is_last = (groups & 0x20) == 0
    first = np.flatnonzero(np.r_[True, is_last[:-1]]) if len(groups) else np.zeros(0, dtype=np.int64)
    lengths = np.diff(np.r_[first, len(groups)])
    shift = 5 * (np.arange(len(groups)) - np.repeat(first, lengths))
    numbers = np.add.reduceat((groups & 0x1F) << shift, first) if len(first) else first
    numbers = np.where(groups[is_last] & 0x10, numbers - (1 << (5 * lengths)), numbers)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def rle_area(cells: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the number of pixels of each mask (64-bit)."""
    return np.array([run_lengths(cell["counts"])[1::2].sum() for cell in cells], dtype=np.int64)


def rle_overlap(first: Any, second: Any) -> float:
    """Return intersection over union of two masks of equal size, in [0, 1]; 0 if both are empty."""
    for cell in (first, second):
        _refuse_missing(cell, "mask")
    if list(first["size"]) != list(second["size"]):
        raise StoreError(f"masks of different sizes: {list(first['size'])} and {list(second['size'])}")
    one, other = rle_decode(first), rle_decode(second)
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 0.0


Kind = Literal["jpeg", "png", "webp"]
"""Files of pictures that are written."""


def picture(array: np.ndarray, kind: Kind = "jpeg", *, path: str | None = None) -> dict[str, Any]:
    """Return an encoded picture: JPEG of quality 90 for photographs, PNG for drawn and saturated colours.

    WebP of quality 82 is half the size of a JPEG that shows as much: for small pictures of which there are very many.
    Made in half the time of the encoder's default search, which saves a fortieth of the bytes.

    Parameters
    ----------
    array : (h, w, 3) RGB or (h, w) grey, 0 … 255
    kind : "jpeg", "png" or "webp"
    path : a name for the picture, if it has one
    """
    if (
        array.dtype != np.uint8
        or array.ndim not in (2, 3)
        or (array.ndim == 3 and array.shape[2] != 3)
        or not array.size
    ):
        raise StoreError(f"a picture is a uint8 array (h, w, 3) or (h, w) with pixels, not {array.dtype} {array.shape}")
    buffer = io.BytesIO()
    if kind == "jpeg":
        Image.fromarray(array).save(buffer, "JPEG", quality=90)
    elif kind == "webp":
        Image.fromarray(array).save(buffer, "WEBP", quality=82, method=2)
    else:
        Image.fromarray(array).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": path}


def picture_array(cell: Any) -> np.ndarray:
    """Return the pixels of a picture: (h, w, 3) RGB or (h, w) grey, 0 … 255; StoreError where it is missing."""
    data = encoded(cell)
    _refuse_missing(data, "picture")
    with Image.open(io.BytesIO(data or b"")) as image:
        return np.array(image)


def encoded(cell: Any) -> bytes | None:
    """Return the bytes of a table's picture; ``None`` where it was left out (None, or as other readers: NA, NaN)."""
    data = None if is_missing(cell) else cell["bytes"]
    return None if is_missing(data) or not data else bytes(data)


def is_missing(cell: Any) -> bool:
    """Say whether a cell is missing, whoever read the table: None, pandas' NA or NaN, numpy's masked."""
    if any(cell is each for each in (None, pd.NA, pd.NaT, np.ma.masked)):
        return True
    return isinstance(cell, float | np.floating) and bool(np.isnan(cell))


def map_cell(array: Any) -> np.ndarray:
    """Return a map (h, w), row by row, as 16-bit floats; keep h and w in columns of their own.

    Raises
    ------
    StoreError
        A value beyond what 16 bits can hold (±65504).
    """
    try:
        return half(array)
    except ValueError as error:
        raise StoreError(str(error)) from None


def map_array(cell: Any, height: int, width: int) -> np.ndarray:
    """Return the map (height, width), 32-bit floats, of a cell; StoreError where it is missing."""
    _refuse_missing(cell, "map")
    return np.asarray(cell, dtype=np.float32).reshape(height, width)


def _refuse_missing(cell: Any, what: str) -> None:
    if is_missing(cell):
        raise StoreError(f"no {what} to decode: the cell is missing ({cell!r})")
