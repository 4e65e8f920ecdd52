"""Decoded pictures on a local disk: a second method, or another network of the same input, reads them instead of files.

One file a picture, named by the SHA-256 of what it was decoded from, in a folder that is named by what was done to it:
resize, crop, and the libraries that did it. It holds the input of the network as bytes, exactly, or is not there.
"""

import functools
import json
import logging
import os
import struct
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import PIL
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from xvcore.errors import in_one_line
from xvcore.keys import canonical, digest

logger = logging.getLogger(__name__)

SWITCH = "XV_PIXEL_CACHE"
"""Variable of the environment: the folder of the cache; without it there is none."""
VERSION = 1
"""Counted up whenever a change of the code moves a pixel, or how it is stored."""
_HEADER = struct.Struct("<4s5I")
_MAGIC = b"xvpx"


@dataclass(frozen=True, slots=True)
class Pixels:
    """A picture at the network's input size.

    Parameters
    ----------
    image : RGB in [0, 1]
    width, height : of the original, in pixels
    """

    image: Float[Tensor, "3 height width"]
    width: int
    height: int


class PixelCache:
    """Pictures by the SHA-256 of their files.

    What cannot be written (no room, no right) is logged once, and nothing more is kept from then on; what is damaged is
    decoded again. Nothing is ever removed: remove the folder.

    Parameters
    ----------
    folder : of all caches
    key : what was done to the pictures

    Examples
    --------
    >>> import torch
    >>> from xvcore.data.pixel_cache import PixelCache, Pixels
    >>> cache = PixelCache("pixels", {"input_px": [2, 2]})
    >>> cache.keep("ab" * 32, Pixels(torch.ones(3, 2, 2), 640, 480))
    >>> cache.find("ab" * 32).width
    640
    """

    def __init__(self, folder: str | Path, key: Mapping[str, Any]) -> None:
        done = {"version": VERSION, "pillow": PIL.__version__, **key}
        self.folder = Path(folder) / digest(done, 16)
        self._is_full = False
        self._lock = Lock()

    def find(self, sha256: str) -> Pixels | None:
        """Return a picture, None where it is not there or is damaged."""
        try:
            data = self._path(sha256).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.info("pixel cache: %s cannot be read: %s", self._path(sha256), error)
            return None
        pixels = _unpacked(data)
        if pixels is None:
            logger.warning("pixel cache: %s is damaged; the picture is decoded again", self._path(sha256))
        return pixels

    def keep(self, sha256: str, pixels: Pixels) -> None:
        """Write a picture, unless bytes do not hold it exactly."""
        if self._is_full:
            return
        stored = exact_bytes(pixels.image)
        if stored is None:
            return
        data = stored.contiguous().numpy().tobytes()
        header = _HEADER.pack(_MAGIC, pixels.width, pixels.height, *pixels.image.shape[1:], zlib.crc32(data))
        path = self._path(sha256)
        temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(header + data)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            with self._lock:
                is_first, self._is_full = not self._is_full, True
            if is_first:
                logger.warning("pixel cache: nothing more is kept in %s: %s", self.folder, in_one_line(error))

    def _path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}.pixels"


@dataclass(frozen=True, slots=True)
class Cached:
    """What makes tensors of pictures, and the cache of what it made."""

    transform: Callable[[Image.Image], Tensor]
    cache: PixelCache

    def __call__(self, picture: Image.Image) -> Tensor:
        """Return what the transform makes of a picture."""
        return self.transform(picture)


def pixel_cache(key: Mapping[str, Any]) -> PixelCache | None:
    """Return the cache that :data:`SWITCH` asks for, None where it asks for none; one a process."""
    folder = os.environ.get(SWITCH, "").strip()
    return _of_folder(folder, canonical(key)) if folder else None


@functools.cache
def _of_folder(folder: str, key: str) -> PixelCache:
    return PixelCache(folder, json.loads(key))


def cached_bytes(input_px: tuple[int, int]) -> int:
    """Return the bytes of a picture in a cache."""
    return _HEADER.size + 3 * input_px[0] * input_px[1]


def _unpacked(data: bytes) -> Pixels | None:
    """Return the picture that a file holds, None where it is damaged."""
    if len(data) < _HEADER.size:
        return None
    magic, width, height, rows, columns, checksum = _HEADER.unpack_from(data)
    pixels = memoryview(data)[_HEADER.size :]
    if magic != _MAGIC or len(pixels) != 3 * rows * columns or zlib.crc32(pixels) != checksum:
        return None
    stored = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(3, rows, columns)
    return Pixels(stored.float() / 255, width, height)


def exact_bytes(image: Float[Tensor, "3 height width"]) -> Tensor | None:
    """Return a picture in [0, 1] as bytes where these are the picture exactly, else None."""
    stored = image.mul(255).round_().to(torch.uint8)
    return stored if torch.equal(stored.float().div_(255), image) else None
