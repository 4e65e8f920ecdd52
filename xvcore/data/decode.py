"""From the bytes of an image file to RGB pixels, or to an ImageError that says what is wrong with them."""

import contextlib
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, Final, cast

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from xvcore.errors import ImageError, MemoryShortError

MAX_PIXELS: Final = 64_000_000
"""Largest width × height that is decoded: 192 MB as RGB; a phone's or camera's picture of 60 megapixels passes."""
MAX_SIDE: Final = 65_535
"""Longest side that is decoded: the longest that a JPEG can have."""
MAX_BYTES: Final = 8 * MAX_PIXELS + 16_000_000
"""Largest file of an image that is taken out of an archive: such a picture without compression, of 16 bits a sample."""
_PLUGINS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    GifImagePlugin.GifImageFile,
    WebPImagePlugin.WebPImageFile,
    TiffImagePlugin.TiffImageFile,
    BmpImagePlugin.BmpImageFile,
    PpmImagePlugin.PpmImageFile,
)
FORMATS: Final = tuple(plugin.format for plugin in _PLUGINS)
"""Pillow's names of the formats that are read; no others, since some of Pillow's plugins start programs."""
_BYTES_A_PIXEL, _BYTES_BESIDE = 24, 16_000_000
"""Memory that decoding takes at most: six pictures of 4 bytes a pixel at once, and what decoders keep beside."""
WHITE: Final = (255, 255, 255, 255)

UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture upright, by its orientation tag."""
INVERSE: Final = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}
"""What undoes a turn; all others undo themselves."""

# What Pillow's plugins raise on damaged files; Warning stands for warnings that the process turned into errors.
_PILLOW_RAISES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zlib.error,
)


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, upright: bool = False) -> Image.Image:
    """Return the picture in a file as RGB with 8 bits a channel.

    Pixels are those that are stored: colour profiles are ignored and, unless ``upright``, so is the orientation in
    EXIF and TIFF tags, since annotations and published accuracies refer to stored pixels. Of an animation or a file
    with pages, the first picture. What is transparent shows white. CMYK is converted without a profile, JPEG's CMYK
    as inverted (Adobe's convention, the only one in use). Of 16-bit samples the high byte is kept.

    Parameters
    ----------
    data : a file in one of :data:`FORMATS`
    max_pixels : largest width × height; a header that announces more is refused before anything is decoded. Pillow's
        own limit, twice ``PIL.Image.MAX_IMAGE_PIXELS``, holds as well
    upright : turn the picture as its orientation tag says

    Raises
    ------
    ImageError
        Empty, not an image, truncated or damaged, more than ``max_pixels``, a side above :data:`MAX_SIDE`, without
        pixels, or with samples that have no agreed range (32-bit integers, floating point). No warning is given.
    MemoryShortError
        The machine has not the memory that a picture of this size takes: the file may be good.

    Examples
    --------
    >>> from xvcore.data import decode, open_dataset
    >>> birds = open_dataset("partbirds?classes=2&images=1")
    >>> decode(birds.read(birds.images(birds.classes[0].class_id)[0])).mode
    'RGB'
    """
    if not data:
        raise ImageError("empty file (0 bytes)")
    n_pixels = 0
    with _silence():
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image.width, image.height, max_pixels)
                n_pixels = image.width * image.height
                return _rgb(image, _turn(image, upright=upright))
        except UnidentifiedImageError as error:
            raise ImageError(_unidentified(data)) from error
        except Image.DecompressionBombError as error:
            raise ImageError(f"too many pixels: the limit is {max_pixels} ({error})") from error
        except MemoryError as error:
            raise _without_memory(n_pixels) from error
        except _PILLOW_RAISES as error:
            if isinstance(error, OSError) and "out of memory" in str(error):  # so Pillow's decoders say it
                raise _without_memory(n_pixels) from error
            raise ImageError(f"truncated or damaged: {str(error) or type(error).__name__}") from error


def _without_memory(n_pixels: int) -> ImageError | MemoryShortError:
    """Return whose fault it is that the memory did not suffice: the machine's if it has not what the picture takes.

    A damaged file may ask for any amount.
    """
    try:
        bytearray(_BYTES_A_PIXEL * n_pixels + _BYTES_BESIDE)
    except MemoryError:
        size = f"{n_pixels / 1e6:.1f} million pixels, about {_BYTES_A_PIXEL * n_pixels / 1e6:.0f} MB"
        return MemoryShortError(f"the memory of this machine does not suffice to decode a picture of {size}")
    return ImageError(f"truncated or damaged: it asks for more memory than a picture of {n_pixels} pixels takes")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if min(width, height) < 1:
        raise ImageError(f"no pixels: {width} × {height}")
    if width * height > max_pixels:
        raise ImageError(f"too many pixels: {width} × {height} = {width * height}, the limit is {max_pixels}")
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"too long: {width} × {height} pixels, the limit of a side is {MAX_SIDE}")


def _turn(image: Image.Image, *, upright: bool) -> Image.Transpose | None:
    """Return how the loaded picture must be turned; Pillow sets TIFF upright by itself and leaves the others."""
    is_turned = image.format == "TIFF"
    if upright == is_turned:
        return None
    turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return INVERSE.get(turn, turn) if turn is not None and is_turned else turn


def _rgb(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    image.load()
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        kind = "floating point" if image.mode == "F" else "32-bit integer"
        raise ImageError(f"{kind} samples have no agreed range (allowed: integers of up to 16 bits)")
    if image.mode.startswith("I"):
        rgb = Image.fromarray(_high_byte(image)).convert("RGB")
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", rgba.size, WHITE), rgba).convert("RGB")
    else:
        rgb = image.convert("RGB")
    return rgb if turn is None else rgb.transpose(turn)


def _high_byte(image: Image.Image) -> np.ndarray:
    """Return the 8 highest bits of grey samples of more than 8 bits; Pillow's own conversion clips some of them."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    high = np.asarray(image).astype(np.uint32) >> (bits - 8)
    is_white_zero = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    samples: np.ndarray = (255 - high if is_white_zero else high).astype(np.uint8)
    return samples


def _unidentified(data: bytes) -> str:
    magics = {
        b"\xff\xd8": "JPEG",
        b"\x89PNG": "PNG",
        b"GIF8": "GIF",
        b"BM": "BMP",
        b"RIFF": "WebP",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
    }
    for magic, name in magics.items():
        if data.startswith(magic):
            return f"truncated or damaged: begins like {name}, but its header cannot be read ({len(data)} bytes)"
    return f"not an image: {len(data)} bytes that begin with {data[:8]!r} (read are {', '.join(FORMATS)})"


class _InThread:
    """Stands for the module's name in a warning filter; matches any, but in one thread and for a while only."""

    def __init__(self) -> None:
        self.thread: int | None = threading.get_ident()

    def match(self, _module: str) -> bool:
        return threading.get_ident() == self.thread


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Ignore warnings of this thread for a while.

    ``warnings.catch_warnings`` changes what all threads see, and two threads that leave it in the wrong order change
    it for good. This filter is blind to other threads, and a copy that another thread keeps matches nothing later.
    """
    here = _InThread()
    entry = ("ignore", None, Warning, here, 0)
    filters = cast(list[Any], warnings.filters)
    filters.insert(0, entry)
    try:
        yield
    finally:
        here.thread = None
        with contextlib.suppress(ValueError):
            filters.remove(entry)
