"""Cells: binary masks as COCO run lengths, pictures as JPEG or PNG, maps as 16-bit floats; and back."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from xvcore.errors import StoreError
from xvcore.store.rows import half

_AT_ONCE = 255  # pycocotools 2.0.11 with numpy 2 overflows an 8-bit number beyond


def rle_encode(mask: np.ndarray) -> dict[str, Any]:
    """Return a binary mask (h, w) as COCO run lengths: ``size`` [h, w] and ``counts`` (bytes)."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise StoreError(f"a mask is a boolean array (h, w), not {mask.dtype} {mask.shape}")
    cell = coco.encode(np.asfortranarray(mask.view(np.uint8)))
    return {"size": [int(side) for side in cell["size"]], "counts": bytes(cell["counts"])}


def rle_decode(cell: Mapping[str, Any]) -> np.ndarray:
    """Return the mask (h, w), boolean, of a cell as written or as read from a table."""
    return np.ascontiguousarray(coco.decode(_plain(cell))).astype(bool)


def rle_area(cells: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return the number of pixels of each mask (64-bit)."""
    areas = [coco.area([_plain(cell) for cell in cells[k : k + _AT_ONCE]]) for k in range(0, len(cells), _AT_ONCE)]
    return np.concatenate(areas).astype(np.int64) if areas else np.zeros(0, dtype=np.int64)


def rle_overlap(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Return intersection over union of two masks of equal size, in [0, 1]; 0 if both are empty."""
    if list(first["size"]) != list(second["size"]):
        raise StoreError(f"masks of different sizes: {list(first['size'])} and {list(second['size'])}")
    overlap = float(coco.iou([_plain(first)], [_plain(second)], [0])[0, 0])
    return overlap if np.isfinite(overlap) else 0.0


def picture(array: np.ndarray, kind: Literal["jpeg", "png"] = "jpeg", *, path: str | None = None) -> dict[str, Any]:
    """Return an encoded picture: JPEG of quality 90 for photographs, PNG for drawn and saturated colours.

    Parameters
    ----------
    array : (h, w, 3) RGB or (h, w) grey, 0 … 255
    kind : "jpeg" or "png"
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
    else:
        Image.fromarray(array).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": path}


def picture_array(cell: Mapping[str, Any]) -> np.ndarray:
    """Return the pixels of an encoded picture: (h, w, 3) RGB or (h, w) grey, 0 … 255."""
    with Image.open(io.BytesIO(cell["bytes"])) as image:
        return np.array(image)


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
    """Return the map (height, width), 32-bit floats, of a cell."""
    return np.asarray(cell, dtype=np.float32).reshape(height, width)


def _plain(cell: Mapping[str, Any]) -> dict[str, Any]:
    return {"size": [int(side) for side in cell["size"]], "counts": cell["counts"]}
