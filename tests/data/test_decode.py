"""Bad and odd files: decoded right or refused as ImageError, never anything else."""

import contextlib
import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from xvcore.data import MAX_PIXELS, decode
from xvcore.errors import ImageError

ORIENTATION = 0x0112


def gradient(height: int = 24, width: int = 32) -> np.ndarray:
    """A picture whose three channels and two axes differ."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=2).astype(np.uint8)


PICTURE = Image.fromarray(gradient())


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(data: bytes, **options: object) -> np.ndarray:
    image = decode(data, **options)
    assert image.mode == "RGB"
    assert type(image) is Image.Image
    return np.asarray(image).astype(int)


def outcome(data: bytes, **options: object) -> str:
    """What became of a file: RGB, or the reason why not."""
    try:
        return decode(data, max_pixels=1_000_000, **options).mode
    except ImageError as error:
        return str(error)


def png(width: int, height: int, depth: int = 8, colour: int = 2, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG written by hand, with any header."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)


def exif_with_broken_tag() -> bytes:
    """EXIF whose x resolution points behind the end: Pillow warns of it."""
    entry = struct.pack("<HHII", 0x011A, 5, 1, 5000)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0)


def tiff_with_broken_tag() -> bytes:
    data = encoded(PICTURE, "TIFF", software="x" * 40)
    return data.replace(struct.pack("<HHI", 305, 2, 41), struct.pack("<HHI", 305, 2, 4_000_000))


ALIKE: dict[str, tuple[bytes, int]] = {  # file, allowed difference from PICTURE
    "png": (encoded(PICTURE, "PNG"), 0),
    "bmp": (encoded(PICTURE, "BMP"), 0),
    "ppm": (encoded(PICTURE, "PPM"), 0),
    "tiff": (encoded(PICTURE, "TIFF"), 0),
    "tiff lzw": (encoded(PICTURE, "TIFF", compression="tiff_lzw"), 0),
    "webp lossless": (encoded(PICTURE, "WEBP", lossless=True), 0),
    "webp": (encoded(PICTURE, "WEBP", quality=95), 24),
    "jpeg": (encoded(PICTURE, "JPEG", quality=95), 24),
    "jpeg progressive": (encoded(PICTURE, "JPEG", quality=95, progressive=True), 24),
    "jpeg with garbage behind": (encoded(PICTURE, "JPEG", quality=95) + b"garbage" * 99, 24),
    "jpeg CMYK, inverted as Adobe does": (encoded(PICTURE.convert("CMYK"), "JPEG", quality=95), 24),
    "tiff CMYK": (encoded(PICTURE.convert("CMYK"), "TIFF"), 2),
    "png opaque": (encoded(PICTURE.convert("RGBA"), "PNG"), 0),
    "tiff YCbCr in JPEG": (encoded(PICTURE, "TIFF", compression="jpeg", quality=95), 24),
    "png animated": (encoded(PICTURE, "PNG", save_all=True, append_images=[Image.new("RGB", PICTURE.size)]), 0),
    "webp animated": (
        encoded(PICTURE, "WEBP", save_all=True, lossless=True, append_images=[Image.new("RGB", PICTURE.size)]),
        0,
    ),
    "tiff of two pages": (encoded(PICTURE, "TIFF", save_all=True, append_images=[Image.new("RGB", (3, 3))]), 0),
    "jpeg with damaged EXIF": (encoded(PICTURE, "JPEG", quality=95, exif=exif_with_broken_tag()), 24),
    "tiff with damaged tag": (tiff_with_broken_tag(), 0),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_kinds_of_files_show_the_same_picture(kind: str) -> None:
    data, tolerance = ALIKE[kind]
    assert np.abs(pixels(data) - gradient()).max() <= tolerance


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty file"),
    "one byte": (b"\xff", "not an image"),
    "text": (b"<html>404 not found</html>", "not an image: 26 bytes"),
    "zeros": (bytes(4096), "not an image"),
    "pdf": (b"%PDF-1.4\n" + bytes(99), "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "jpeg magic only": (b"\xff\xd8\xff", "truncated or damaged: begins like JPEG"),
    "png magic only": (b"\x89PNG\r\n\x1a\n", "truncated or damaged"),
    "jpeg truncated": (encoded(PICTURE, "JPEG", quality=95)[:-300], "truncated"),
    "jpeg progressive truncated": (encoded(PICTURE, "JPEG", progressive=True, quality=95)[:-300], "truncated"),
    "png truncated": (encoded(PICTURE, "PNG")[:-60], "truncated"),
    "gif truncated": (encoded(PICTURE.convert("P"), "GIF")[:-200], "truncated"),
    "bmp truncated": (encoded(PICTURE, "BMP")[:-200], "truncated"),
    "tiff truncated": (encoded(PICTURE, "TIFF")[:1500], "truncated"),
    "tiff lzw truncated": (encoded(PICTURE, "TIFF", compression="tiff_lzw")[:300], "truncated"),
    "webp truncated": (encoded(PICTURE, "WEBP", lossless=True)[:-40], "truncated"),
    "png of no width": (png(0, 9), "truncated or damaged|no pixels"),
    "png of no height": (png(9, 0), "truncated or damaged|no pixels"),
    "bmp of no width": (bmp_header(0, 9) + bytes(99), "truncated or damaged|no pixels"),
    "png bomb": (png(20_000, 20_000), f"too many pixels: the limit is {MAX_PIXELS}"),
    "png between our limit and Pillow's": (
        png(9_500, 9_500),
        f"too many pixels: 9500 × 9500 = 90250000, the limit is {MAX_PIXELS}",
    ),
    "bmp bomb": (bmp_header(60_000, 60_000) + bytes(99), "too many pixels"),
    "png of a long side": (png(65_536, 2), r"too long: 65536 × 2 pixels, the limit of a side is 65535"),
    "png of huge dimensions": (png(2**31 - 1, 2**31 - 1), "too many pixels"),
    "png without rows": (png(9, 9), "truncated or damaged"),
    "png with damaged data": (encoded(PICTURE, "PNG").replace(b"IDAT", b"IDAT\xff"), "truncated or damaged"),
    "png text bomb": (
        png(9, 9, extra=b"".join(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(900_000))) for _ in range(99))),
        "truncated or damaged",
    ),
    "tiff of floats": (encoded(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF"), "floating point samples"),
    "tiff of 32-bit integers": (encoded(Image.fromarray(np.ones((9, 9), np.int32)), "TIFF"), "32-bit integer"),
    "ico": (encoded(PICTURE, "ICO"), "not an image"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_bad_files_are_refused_with_the_reason(kind: str) -> None:
    data, reason = REFUSED[kind]
    with pytest.raises(ImageError, match=reason):
        decode(data)


def test_pixel_limit_is_inclusive_and_can_be_set() -> None:
    data = encoded(PICTURE, "PNG")
    assert decode(data, max_pixels=24 * 32).size == (32, 24)
    with pytest.raises(ImageError, match="32 × 24 = 768, the limit is 767"):
        decode(data, max_pixels=767)


def test_pictures_above_pillows_warning_are_decoded_where_the_limit_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert decode(encoded(PICTURE, "PNG")).size == (32, 24)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"])
def test_grey_pictures_have_three_equal_channels(kind: str) -> None:
    grey = Image.fromarray(gradient()[..., 0])
    found = pixels(encoded(grey, kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert np.abs(found - gradient()[..., :1]).max() <= (3 if kind == "JPEG" else 0)


def test_black_and_white_pictures_are_0_and_255() -> None:
    image = Image.fromarray(gradient()[..., 0] > 99)
    assert set(np.unique(pixels(encoded(image, "PNG")))) == {0, 255}


SIXTEEN = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)


def sixteen_bit(kind: str) -> bytes:
    big = SIXTEEN.astype(">u2")
    if kind == "png grey":
        return encoded(Image.fromarray(SIXTEEN), "PNG")
    if kind == "png colour":
        rows = b"".join(b"\0" + np.repeat(row, 3).tobytes() for row in big)
        return png(32, 32, 16, 2, rows)
    if kind == "png grey with alpha":
        rows = b"".join(b"\0" + np.stack([row, np.full_like(row, 65535)], 1).astype(">u2").tobytes() for row in big)
        return png(32, 32, 16, 4, rows)
    if kind == "pgm":
        return b"P5 32 32 65535\n" + big.tobytes()
    if kind == "tiff big-endian":
        return encoded(Image.frombytes("I;16B", (32, 32), big.tobytes()), "TIFF")
    return encoded(Image.fromarray(SIXTEEN), "TIFF")


@pytest.mark.parametrize("kind", ["png grey", "png colour", "png grey with alpha", "pgm", "tiff", "tiff big-endian"])
def test_16_bits_are_scaled_not_clipped(kind: str) -> None:
    found = pixels(sixteen_bit(kind))
    assert np.abs(found - SIXTEEN[..., None] / 257).max() <= 1
    assert found.min() == 0
    assert found.max() == 255


def test_16_bit_tiff_whose_zero_is_white_is_not_a_negative() -> None:
    data = encoded(Image.fromarray(SIXTEEN), "TIFF")
    entry = struct.pack("<HHI", 262, 3, 1)
    assert entry + b"\1" in data
    found = pixels(data.replace(entry + b"\1", entry + b"\0"))
    assert np.abs(found - (255 - SIXTEEN[..., None] / 257)).max() <= 1


def test_transparent_pixels_show_white() -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0, :, 3] = [0, 128, 255]
    rgba[..., 0] = 200
    expected = [[[255, 255, 255], [227, 127, 127], [200, 0, 0]]]
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        assert np.abs(pixels(encoded(Image.fromarray(rgba), kind, **options))[:1] - expected).max() <= 1


@pytest.mark.parametrize("transparency", [0, b"\0\x80\xff"])
def test_transparent_palette_entries_show_white(transparency: object) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 0, 0, 0, 7, 8, 9])
    image.putdata([0, 1, 2])
    found = pixels(encoded(image, "PNG", transparency=transparency))[0]
    assert found[0].tolist() == [255, 255, 255]
    assert found[1].tolist() == ([0, 0, 0] if transparency == 0 else [127, 127, 127])
    assert found[2].tolist() == [7, 8, 9]


def test_colour_key_of_an_rgb_png_shows_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (9, 9, 9))
    assert pixels(encoded(image, "PNG", transparency=(1, 2, 3)))[0].tolist() == [[255, 255, 255], [9, 9, 9]]


def test_first_frame_of_an_animation_is_shown() -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (pixels(data) == [255, 0, 0]).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_only_when_asked_for(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    data = encoded(PICTURE, kind, exif=exif, **options)
    stored = gradient().astype(int)
    turned = {  # EXIF 2.3, tag 0x0112: where the stored first row and first column belong
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: stored[::-1].swapaxes(0, 1),
        7: stored[::-1, ::-1].swapaxes(0, 1),
        8: stored[:, ::-1].swapaxes(0, 1),
    }
    tolerance = 24 if kind == "JPEG" else 0
    assert np.abs(pixels(data) - stored).max() <= tolerance
    upright = pixels(data, upright=True)
    assert upright.shape == turned[orientation].shape
    assert np.abs(upright - turned[orientation]).max() <= tolerance


FILES = [
    encoded(PICTURE, "PNG"),
    encoded(PICTURE, "JPEG"),
    encoded(PICTURE, "JPEG", progressive=True),
    encoded(PICTURE.convert("CMYK"), "JPEG"),
    encoded(PICTURE, "JPEG", exif=exif_with_broken_tag()),
    encoded(PICTURE.convert("P"), "GIF"),
    encoded(PICTURE, "TIFF"),
    encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    encoded(PICTURE, "WEBP"),
    encoded(PICTURE, "BMP"),
    encoded(PICTURE, "PPM"),
    ALIKE["png animated"][0],
    ALIKE["webp animated"][0],
]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_files_give_a_picture_or_an_image_error(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from(FILES)))
    for _ in range(data.draw(st.integers(0, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(file[: data.draw(st.integers(0, len(file)))])
    for upright in (False, True):
        assert outcome(cut, upright=upright)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", *(file[:12] for file in FILES)]))
def test_noise_is_an_image_error(noise: bytes, magic: bytes) -> None:
    assert outcome(magic + noise)


WARNS = {
    "damaged EXIF": ALIKE["jpeg with damaged EXIF"][0],
    "damaged tag": ALIKE["tiff with damaged tag"][0],
    "impossible animation": png(9, 9, rows=bytes(9 * 28), extra=chunk(b"acTL", struct.pack(">II", 0, 0))),
}


@pytest.mark.parametrize("kind", WARNS)
def test_pillows_warnings_do_not_escape_and_filters_are_found_as_they_were(kind: str) -> None:
    with warnings.catch_warnings(record=True) as raw:
        warnings.simplefilter("always")
        with Image.open(io.BytesIO(WARNS[kind])) as image:
            image.load()
    assert raw, "the file should make Pillow warn, or this test shows nothing"
    before = list(warnings.filters)
    for action in ("always", "error"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            decode(WARNS[kind])
        assert not caught
    assert warnings.filters == before


def test_warnings_of_other_threads_are_still_seen_while_one_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, done = threading.Event(), threading.Event()
    load = ImageFile.ImageFile.load

    def slow(image: ImageFile.ImageFile) -> object:
        inside.set()
        done.wait(10)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", slow)
    with ThreadPoolExecutor(1) as pool, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        future = pool.submit(decode, encoded(PICTURE, "PNG"))
        assert inside.wait(10)
        warnings.warn("mine", UserWarning, stacklevel=1)
        done.set()
        assert future.result().size == (32, 24)
    assert [str(each.message) for each in caught] == ["mine"]


def test_threads_decode_the_same_pixels() -> None:
    files = [data for data, _ in ALIKE.values()] * 8
    one_by_one = [pixels(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(pixels, files))
    assert all(np.array_equal(a, b) for a, b in zip(one_by_one, together, strict=True))


def test_pillows_globals_are_left_alone() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    for data, _ in [*ALIKE.values(), *REFUSED.values()]:
        with contextlib.suppress(ImageError):
            decode(data)
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert after == before
