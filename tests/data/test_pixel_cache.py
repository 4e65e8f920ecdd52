"""A cache of pixels gives what decoding gives, to the last bit, or nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xvcore.data import Batch, manifest, open_dataset
from xvcore.data.loader import load_batches
from xvcore.data.manifest import ManifestRow
from xvcore.data.pixel_cache import SWITCH, Cached, PixelCache, Pixels, cached_bytes, pixel_cache
from xvcore.models import Preprocessing

SHAPE = Preprocessing((24, 32), 30)
SHA = "ab" * 32


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    noise = np.random.default_rng(0)
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    for index in range(5):
        pixels = noise.integers(0, 255, (40 + index, 36, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / "a" / f"{index}.{'jpg' if index % 2 else 'png'}")
    (tmp_path / "pictures" / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    return f"imagefolder:{tmp_path}/pictures"


def made_by(shape: Preprocessing, cache: PixelCache | None) -> Callable[[Image.Image], torch.Tensor]:
    return shape.pixels if cache is None else Cached(shape.pixels, cache)


def loaded(pictures: str, cache: PixelCache | None, shape: Preprocessing = SHAPE) -> list[Batch]:
    dataset = open_dataset(pictures)
    rows = manifest(dataset, "a", max_images=None)
    return list(load_batches(dataset, rows, made_by(shape, cache), batch_size=2))


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    for one, other in zip(some, others, strict=True):
        assert torch.equal(one.images, other.images)
        assert (one.image_ids, one.widths, one.heights) == (other.image_ids, other.widths, other.heights)
        assert one.failures == other.failures


def test_what_is_cached_is_what_is_decoded_and_is_not_decoded_again(pictures: str, tmp_path: Path, decoded) -> None:
    plain = loaded(pictures, None)
    n_files = len(decoded)
    cache = PixelCache(tmp_path / "cache", SHAPE.key())
    assert_same(loaded(pictures, cache), plain)
    assert len(decoded) == 2 * n_files
    decoded.clear()
    assert_same(loaded(pictures, PixelCache(tmp_path / "cache", SHAPE.key())), plain)
    assert len(decoded) == 1, "the broken one, of which nothing is kept"
    sizes = [path.stat().st_size for path in cache.folder.rglob("*.pixels")]
    assert sizes == [cached_bytes(SHAPE.input_px)] * 5
    assert not [*cache.folder.rglob(".*")]


def test_another_preprocessing_has_pictures_of_its_own(pictures: str, tmp_path: Path, decoded) -> None:
    wider = Preprocessing((24, 32), 34)
    loaded(pictures, PixelCache(tmp_path, SHAPE.key()))
    decoded.clear()
    assert_same(loaded(pictures, PixelCache(tmp_path, wider.key()), wider), loaded(pictures, None, wider))
    assert len(decoded) == 2 * 6


def test_a_file_that_changed_is_another_picture(pictures: str, tmp_path: Path) -> None:
    cache = PixelCache(tmp_path / "cache", SHAPE.key())
    loaded(pictures, cache)
    path = tmp_path / "pictures" / "a" / "0.png"
    Image.new("RGB", (50, 40), "red").save(path)
    assert_same(loaded(pictures, cache), loaded(pictures, None))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:3], lambda _: b"", lambda _: b"x" * 99])
def test_what_is_damaged_is_decoded_again(pictures: str, tmp_path: Path, decoded, damage, caplog) -> None:
    cache = PixelCache(tmp_path / "cache", SHAPE.key())
    plain = loaded(pictures, cache)
    path = next(cache.folder.rglob("*.pixels"))
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    decoded.clear()
    assert_same(loaded(pictures, cache), plain)
    assert len(decoded) == 2
    assert "is damaged; the picture is decoded again" in caplog.text
    assert path.read_bytes() == whole


def test_a_flipped_bit_is_damage(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, {})
    cache.keep(SHA, Pixels(torch.zeros(3, 4, 5), 7, 6))
    path = next(tmp_path.rglob("*.pixels"))
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(bytes(data))
    assert cache.find(SHA) is None


def test_what_no_byte_holds_is_not_kept(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, {})
    cache.keep(SHA, Pixels(torch.full((3, 4, 5), 0.3), 7, 6))
    assert cache.find(SHA) is None


def test_a_folder_that_cannot_be_written_is_said_once(pictures: str, tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = PixelCache(tmp_path / "file", SHAPE.key())
    assert_same(loaded(pictures, cache), loaded(pictures, None))
    assert caplog.text.count("nothing more is kept") == 1


def test_the_environment_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    assert pixel_cache({}) is None
    monkeypatch.setenv(SWITCH, " ")
    assert pixel_cache({}) is None
    monkeypatch.setenv(SWITCH, str(tmp_path))
    found = pixel_cache({})
    assert found is not None
    assert found.folder.parent == tmp_path


def test_a_row_without_digest_is_read(pictures: str, tmp_path: Path, decoded) -> None:
    dataset = open_dataset(pictures)
    rows = [ManifestRow(each.image_id, each.path, "a", None, None) for each in dataset.images("a")]
    cache = PixelCache(tmp_path / "cache", SHAPE.key())
    for _ in range(2):
        list(load_batches(dataset, rows, made_by(SHAPE, cache), batch_size=4))
    assert len(decoded) == 2 * 6
    assert not cache.folder.exists()
